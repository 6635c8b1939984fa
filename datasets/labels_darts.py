"""Labels of NAS-Bench-301 (Zela et al., ICLR 2022): DARTS genotypes trained for 100 epochs on CIFAR-10.

Read are the trainings that the surrogates were fitted to, not the surrogates. The official archive unpacks to a folder
with one sub-folder for each optimiser that chose the genotypes (`rs`, `de`, `bananas` ...), and in them one
`results_*.json` for each training:

    {"optimized_hyperparamater_config": {"NetworkSelectorDatasetInfo:darts:edge_normal_0": "skip_connect", ...},
     "info": [{"val_accuracy": 94.1, "model_parameters": 1234567, "epochs": 98, ...}], "test_accuracy": 93.9, ...}
"""

from __future__ import annotations

import json
import logging
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from archcast.datasets.darts import CONFIGURATION_PREFIX, Darts
from archcast.datasets.home import data_folders
from archcast.datasets.labels import LabelSource, LabelTable, Measurement
from archcast.errors import DataError, MissingDataError, SpecError

FOLDERS = ("nb_301_v13", "nb_301_v13_lc_iclr_final")
"""What the archive without and with learning curves unpacks to."""

EPOCHS = 100
_SPACE = Darts()
_LOG = logging.getLogger(__name__)


class Training(NamedTuple):
    """One training; parameters as the authors counted them, with the auxiliary classifier."""

    val: float
    test: float
    params: int


def read(_task: str, measurement: Measurement) -> LabelTable:
    return read_folder(find_folder(), measurement.kind)


def find_folder() -> Path:
    """The unpacked archive.

    Raises:
        MissingDataError: there is none.
    """
    folders = [folder / name for folder in data_folders() for name in FOLDERS]
    for folder in folders:
        if folder.is_dir():
            return folder
    raise MissingDataError(
        f"darts: none of the folders {', '.join(map(str, folders))} exists. Download NAS-Bench-301's data set (see "
        "`archcast datasets info darts`), unpack it and set ARCHCAST_DATA to the folder that holds it."
    )


def read_folder(folder: Path, kind: str) -> LabelTable:
    """The trainings below `folder`, several of one genotype as several seeds. Columns: `params`.

    Trainings of networks with other channels or depth than the benchmark's 32 and 8 are left out; their number is
    logged.

    Raises:
        DataError: there are no results, or one of them is damaged.
    """
    found: defaultdict[str, list[Training]] = defaultdict(list)
    others = 0
    for path in sorted(folder.rglob("results_*.json")):
        result = _read_result(path)
        if result is None:
            others += 1
        else:
            found[result[0]].append(result[1])
    if others:
        _LOG.info("%s: %d trainings of networks of another size are left out", folder, others)
    if not found:
        raise DataError(f"{folder} holds no results_*.json of networks with 32 channels and 8 cells; unpack it again")
    specs = sorted(found)
    params = np.array([found[spec][0].params for spec in specs], dtype=np.int64)
    return LabelTable(tuple(specs), _columns([found[spec] for spec in specs], kind), {"params": params})


def _columns(trainings: Sequence[Sequence[Training]], kind: str) -> np.ndarray[Any, np.dtype[np.float64]]:
    """`[n, S]` accuracies, one column per training, NaN where a genotype was trained fewer times."""
    table = np.full((len(trainings), max(map(len, trainings))), np.nan)
    for row, runs in enumerate(trainings):
        table[row, : len(runs)] = [run.val if kind == "val" else run.test for run in runs]
    return table


def _read_result(path: Path) -> tuple[str, Training] | None:
    """Spec and training; None for a network of another size than the benchmark's."""
    try:
        with path.open(encoding="utf-8") as file:
            result: dict[str, Any] = json.load(file)
        configuration: Mapping[str, Any] = result["optimized_hyperparamater_config"]
        sizes = tuple(int(configuration[CONFIGURATION_PREFIX + key]) for key in ("init_channels", "layers"))
        if sizes != (_SPACE.channels, _SPACE.layers):
            return None
        info = result["info"][0]
        training = Training(float(info["val_accuracy"]), float(result["test_accuracy"]), int(info["model_parameters"]))
        return _SPACE.from_configuration(configuration), training
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, SpecError) as error:
        reason = f"{type(error).__name__}: {str(error)[:300]}"
        raise DataError(f"{path} is not a result of NAS-Bench-301 ({reason}); unpack the archive again") from error


SOURCE = LabelSource(
    tasks=("cifar10",), measurements=(Measurement("val", EPOCHS), Measurement("test", EPOCHS)), read=read
)
