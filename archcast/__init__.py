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
    "GraphBatch": "archcast.graphs.graph",
    "Node": "archcast.graphs.graph",
    "capture": "archcast.graphs.capture",
}
"""Public name -> the module that holds it; imported on first use, so that `import archcast` stays light."""

__all__ = ["__version__", *_PUBLIC]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'archcast' has no attribute {name!r}")
    value = getattr(importlib.import_module(_PUBLIC[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_PUBLIC})
