"""The features of a whole benchmark, kept in the graph cache: encoding 15,625 cells once is enough."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from archcast.datasets.benchmark import Benchmark
from archcast.datasets.cache import GraphCache, graph_recipe, source_recipe
from archcast.encoders import features
from archcast.graphs import paths
from archcast.graphs.graph import GraphBatch


def benchmark_features(benchmark: Benchmark, graphs: GraphBatch) -> NDArray[np.float32]:
    """`[n, F]` what `encode(graphs)` gives, where `graphs` are all graphs of `benchmark`.

    Kept under the same key as the graphs, and made anew when the code behind features or graphs changes.
    """
    sources = [*sorted(Path(features.__file__).parent.glob("*.py")), Path(paths.__file__)]
    recipe = f"{graph_recipe()}/{source_recipe(sources)}"
    kept = GraphCache().matrix(benchmark.graph_key, "features", lambda: features.encode(graphs), recipe=recipe)
    return np.asarray(kept, dtype=np.float32)
