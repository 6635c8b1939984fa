"""Features of a whole benchmark, computed once and then read from the graph cache."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from archcast.datasets.benchmark import Benchmark
from archcast.datasets.cache import GraphCache, source_recipe
from archcast.encoders.features import encode

_HERE = Path(__file__).resolve().parent
_SOURCES = [*sorted(_HERE.glob("*.py")), _HERE.parent / "graphs" / "paths.py"]


def benchmark_features(benchmark: Benchmark) -> NDArray[np.float32]:
    """`[len(benchmark), F]` features of all its networks; the cache is rebuilt when the encoder's sources change."""
    matrix = GraphCache().matrix(
        benchmark.graph_key, "features", lambda: encode(benchmark.graphs()), recipe=source_recipe(_SOURCES)
    )
    return np.asarray(matrix, dtype=np.float32)
