"""ImageNet accuracy of sub-networks of three once-for-all supernets, measured for MOOFA (Girard et al., 2024).

The sub-networks were not trained: they have the weights of their supernet, with the statistics of batch normalisation
taken anew, and were tested on all 50,000 validation images. A supernet is a benchmark of its own, for the same
sub-network has another accuracy in another supernet. The authors chose the sub-networks so that their peak memory is
spread evenly, which makes small ones more frequent than uniform sampling would.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from archcast.datasets.home import find_table
from archcast.datasets.labels import LabelSource, LabelTable, Measurement
from archcast.datasets.labels_parquet import read_parquet
from archcast.datasets.ofa_mobilenetv3 import DEPTHS, STAGES, MemoryOptimizedOFA, OFAMobileNetV3, SubNetwork
from archcast.errors import DataError

TABLE = "ofa_mobilenetv3_subnets.parquet"
COLUMNS = ("supernet", "ks", "e", "d", "image_size", "accuracy")


def read(_task: str, _measurement: Measurement, *, supernet: str, space: OFAMobileNetV3) -> LabelTable:
    """The rows of one supernet: `ks` and `e` of all 20 blocks, `d` per stage, `image_size`, `accuracy` (fraction of 1).

    Columns: `image_size`. No sub-network of the table occurs twice, also after the blocks beyond the depth are dropped.
    """
    return read_file(find_table(space.name, [TABLE]), supernet, space)


def read_file(path: Path, supernet: str, space: OFAMobileNetV3) -> LabelTable:
    """`read` for a given file. Networks come in the order of their specs.

    Raises:
        DataError: the table is damaged, lacks the supernet, or holds a sub-network that the supernet cannot have.
    """
    frame = read_parquet(path, COLUMNS)
    frame = frame[frame["supernet"] == supernet]
    if frame.empty:
        raise DataError(f"{path} has no row of the supernet {supernet!r}; get the table again")
    try:
        specs = [
            _spec(space, *row) for row in zip(frame["ks"], frame["e"], frame["d"], frame["image_size"], strict=True)
        ]
        accuracy = frame["accuracy"].to_numpy(np.float64) * 100.0
    except (ValueError, TypeError, IndexError) as error:
        raise DataError(f"{path} is not a table of sub-networks ({type(error).__name__}: {error})") from error
    strange = next((spec for spec in specs if not space.contains(spec)), None)
    if strange is not None:
        raise DataError(f"{path} names {strange!r}, which is not in {space.name}; get the table again")
    scores = pd.DataFrame({"score": accuracy, "size": frame["image_size"].to_numpy(np.int64)}, index=specs).sort_index()
    columns = {"image_size": scores["size"].to_numpy()}
    return LabelTable(tuple(scores.index), scores[["score"]].to_numpy(), columns)


def _spec(space: OFAMobileNetV3, kernels: Any, expansions: Any, depths: Any, image_size: Any) -> str:
    """The spec of a row; what it says of the blocks beyond the depth of their stage is left out."""
    most = DEPTHS[-1]
    if not len(kernels) == len(expansions) == STAGES * most or len(depths) != STAGES:
        raise ValueError(f"{len(kernels)} kernels, {len(expansions)} expansions and {len(depths)} depths")
    blocks = [(int(kernel), int(expansion)) for kernel, expansion in zip(kernels, expansions, strict=True)]
    stages = tuple(tuple(blocks[most * number : most * number + int(depth)]) for number, depth in enumerate(depths))
    return space.format(SubNetwork(int(image_size), stages))


def _source(supernet: str, space: OFAMobileNetV3) -> LabelSource:
    return LabelSource(
        tasks=("imagenet1k",),
        measurements=(Measurement("val", 0, "accuracy with inherited weights"),),
        read=partial(read, supernet=supernet, space=space),
        space=space.name,
    )


OFA = _source("MIT_OFA", OFAMobileNetV3())
COMPOFA = _source("CompOFA", OFAMobileNetV3())
MCOFA = _source("MC_OFA", MemoryOptimizedOFA())
