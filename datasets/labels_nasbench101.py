"""Labels of NAS-Bench-101 (Ying et al., ICML 2019): cells on CIFAR-10, three training runs at four lengths.

`nasbench101` is the table of the 23,142 cells that lie in the three NAS-Bench-1Shot1 sub-spaces; `nasbench101-full`
(see `labels_nasbench101_full`) are all 423,624 cells at 108 epochs. The two are
different populations, so they carry different names.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from archcast.datasets.home import find_table
from archcast.datasets.labels import LabelSource, LabelTable, Measurement
from archcast.datasets.labels_parquet import read_parquet
from archcast.errors import DataError

TABLE = "nasbench101_23142.parquet"
SEEDS = 3
EPOCHS = (108, 36, 12, 4)

_OPERATIONS = {"i": "i", "c1": "c1", "c3": "c3", "mp": "mp", "o": "o"} | {
    "input": "i",
    "conv1x1-bn-relu": "c1",
    "conv3x3-bn-relu": "c3",
    "maxpool3x3": "mp",
    "output": "o",
}


def cell_spec(matrix: str, operations: Sequence[str]) -> str:
    """`011001000:i-c1-o` from an adjacency matrix row by row and the (short or official) names of the operations.

    Raises:
        DataError: an operation is unknown or the matrix has another size.
    """
    try:
        names = [_OPERATIONS[operation] for operation in operations]
    except KeyError as error:
        raise DataError(
            f"unknown NAS-Bench-101 operation {error}; it must be one of {', '.join(_OPERATIONS)}"
        ) from None
    if len(matrix) != len(names) ** 2:
        raise DataError(
            f"a matrix of {len(matrix)} entries does not suit {len(names)} operations; fetch the table again"
        )
    return f"{matrix}:{'-'.join(names)}"


def read(_task: str, measurement: Measurement) -> LabelTable:
    return read_file(find_table("nasbench101", [TABLE]), measurement)


def read_file(path: Path, measurement: Measurement) -> LabelTable:
    """`read` for a given file: columns `matrix`, `ops` and `val108_0` ... `test4_2`, accuracies as fractions of 1."""
    scores = [f"{measurement.kind}{measurement.epochs}_{seed}" for seed in range(SEEDS)]
    frame = read_parquet(path, ["matrix", "ops", *scores])
    cells = zip(frame["matrix"], frame["ops"], strict=True)
    specs = tuple(cell_spec(matrix, operations.split()) for matrix, operations in cells)
    return LabelTable(specs, frame[scores].to_numpy(np.float64) * 100.0)


SOURCE = LabelSource(
    tasks=("cifar10",),
    measurements=tuple(Measurement(kind, epochs) for kind in ("test", "val") for epochs in EPOCHS),
    read=read,
)
