"""Labels of NAS-Bench-Macro (Su et al., CVPR 2021): 6,561 networks, CIFAR-10 test accuracy of three training runs.

The authors recorded the best epoch of each 50-epoch run, chosen on the test images themselves.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from archcast.datasets.home import find_table
from archcast.datasets.labels import LabelSource, LabelTable, Measurement
from archcast.errors import DataError

TABLE = "nas-bench-macro_cifar10.json"


def read(_task: str, _measurement: Measurement) -> LabelTable:
    """The official JSON: `{"02012100": {"test_acc": [a, b, c], "params": .., "flops": ..}, ...}`.

    Columns: `params` and `macs`, as the authors counted them (they call MACs FLOPs).
    """
    return read_file(find_table("nas-bench-macro", [TABLE]))


def read_file(path: Path) -> LabelTable:
    """`read` for a given file. Networks come in the order of their digits."""
    try:
        with path.open(encoding="utf-8") as file:
            entries: dict[str, dict[str, Any]] = json.load(file)
        specs = sorted(entries)
        per_seed = np.array([entries[spec]["test_acc"] for spec in specs], dtype=np.float64)
        params = np.array([entries[spec]["params"] for spec in specs], dtype=np.int64)
        macs = np.array([entries[spec]["flops"] for spec in specs], dtype=np.int64)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise DataError(f"{path} is not the official table of NAS-Bench-Macro ({reason}); fetch it again") from error
    return LabelTable(tuple(specs), per_seed, {"params": params, "macs": macs})


SOURCE = LabelSource(tasks=("cifar10",), measurements=(Measurement("test", 50),), read=read)
