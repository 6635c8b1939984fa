"""archcast forecasts how well a neural network will do before anyone trains it."""

from __future__ import annotations

import importlib
import os
from pathlib import Path as _Path
from typing import Any

_checkout = _Path(__file__).resolve().parent.parent
if (_checkout / "pyproject.toml").is_file():
    # A checkout keeps the folders beside this one, a wheel inside it.
    __path__ = [str(_checkout / "archcast"), str(_checkout)]

# Spinning OpenMP threads cost 4-7x on shared cores; this must be set before the first numeric import.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

__version__ = "0.1.0"

_PUBLIC: dict[str, str] = {
    "ArchcastError": "archcast.errors",
    "ComputationGraph": "archcast.graphs.graph",
    "Benchmark": "archcast.datasets.benchmark",
    "GraphBatch": "archcast.graphs.graph",
    "Node": "archcast.graphs.graph",
    "Prediction": "archcast.predictor.prediction",
    "Predictions": "archcast.predictor.prediction",
    "Predictor": "archcast.predictor.predictor",
    "SearchSpace": "archcast.datasets.space",
    "capture": "archcast.graphs.capture",
    "encode": "archcast.encoders.features",
    "get_space": "archcast.datasets.spaces",
    "Measurements": "archcast.proxies.measurement",
    "list_benchmarks": "archcast.datasets.benchmark",
    "list_tasks": "archcast.datasets.benchmark",
    "load_benchmark": "archcast.datasets.benchmark",
    "measure": "archcast.proxies.measurement",
    "predict": "archcast.predictor.api",
    "read_table": "archcast.datasets.tables",
    "run_search": "archcast.search.run",
    "Search": "archcast.search.core",
    "ChoiceSpace": "archcast.search.spaces",
}
"""Public name -> the module that holds it; imported on first use, so that `import archcast` stays light."""

_FOLDERS = ("graphs", "proxies", "encoders", "predictor", "search")

__all__ = ["__version__", *_PUBLIC]


def __getattr__(name: str) -> Any:
    if name in _FOLDERS:
        return importlib.import_module(f"archcast.{name}")
    if name not in _PUBLIC:
        raise AttributeError(f"module 'archcast' has no attribute {name!r}")
    value = getattr(importlib.import_module(_PUBLIC[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_PUBLIC})
