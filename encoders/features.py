"""The tabular encoder: any graph -> one row of numbers, thousands of graphs a second.

Groups of features, all computed on any network (names in `FEATURE_NAMES`):

- `total/*`: logarithms of parameters, MACs, activation memory, and counts and shares by role.
- `path/*`: longest, shortest and mean (over all input-to-output paths) counts of each role (`path_features`).
- `edge/*`, `motif/*`: how often one role feeds another, the degrees of joins and of necks, chains of two and three
  operations with only joins between them (`motif_features`).
- `signal/*`: counts along paths weighted by the energy of the signal at initialisation (`signal_features`).
- `capacity/*`: concave sums over layers of parameters, outputs and reach (`capacity_features`).
- `stage/*`: by resolution stage: counts, log width, MACs, parameters (`stage_features`).

Paths, edges and motifs see the live part of a graph only (see `archcast.graphs.paths.LivePaths`), with normalisations
and activations contracted.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from archcast.encoders.capacity_features import CAPACITY_NAMES, capacity_features
from archcast.encoders.live_nodes import PATH_COLUMNS, PATH_ROLES, FloatArray, LiveNodes
from archcast.encoders.motif_features import EDGE_NAMES, MOTIF_NAMES, edge_features, motif_features
from archcast.encoders.path_features import PATH_NAMES, path_features
from archcast.encoders.roles import ROLES, NodeColumns
from archcast.encoders.signal_features import SIGNAL_NAMES, signal_features
from archcast.encoders.stage_features import STAGE_NAMES, stage_features
from archcast.graphs.graph import ComputationGraph, GraphBatch

VERSION: Final = 4
"""Raise when a feature changes its meaning: caches and bundles of another version are refused."""

_CHUNK = 512  # graphs per pass: large enough to amortise a level, small enough for the cache


def _total_names() -> list[str]:
    names = ["log_params", "log_macs", "log_memory", "log_macs_per_param", "log_nodes", "log_live_nodes"]
    names += ["log_live_params", "log_live_macs", "log_live_memory", "activations", "normalizations"]
    names += [f"count_{role}" for role in PATH_COLUMNS] + [f"share_{role}" for role in PATH_ROLES]
    names += ["mean_log_width", "mean_log_macs"]
    names += ["max_log_width", "min_log_width", "last_log_width", "mean_kernel", "max_kernel"]
    names += ["log_activation_memory", "input_side", "live"]
    return [f"total/{name}" for name in names]


FEATURE_NAMES: Final[tuple[str, ...]] = (
    *_total_names(), *PATH_NAMES, *EDGE_NAMES, *MOTIF_NAMES, *SIGNAL_NAMES, *CAPACITY_NAMES, *STAGE_NAMES,
)  # fmt: skip
"""Column names of `encode`, in order."""


def encode(graphs: GraphBatch | Iterable[ComputationGraph]) -> NDArray[np.float32]:
    """Tabular features of each graph.

    Returns:
        `[G, len(FEATURE_NAMES)]` float32, finite. Counts are plain, sizes are natural logarithms of (1 + size).
    """
    batch = graphs if isinstance(graphs, GraphBatch) else GraphBatch.from_graphs(graphs)
    columns = NodeColumns.of(batch.nodes)
    chunks = [
        _encode_chunk(batch[start : start + _CHUNK] if len(batch) > _CHUNK else batch, columns)
        for start in range(0, len(batch), _CHUNK)
    ]
    return np.concatenate([np.zeros((0, len(FEATURE_NAMES)), np.float32), *chunks])


def feature_column(features: NDArray[np.float32], name: str) -> NDArray[np.float32]:
    """One named column of `encode`'s result."""
    column: NDArray[np.float32] = features[:, FEATURE_NAMES.index(name)]
    return column


def _encode_chunk(batch: GraphBatch, columns: NodeColumns) -> NDArray[np.float32]:
    live = LiveNodes.of(batch, columns)
    parts = (path_features, edge_features, motif_features, signal_features, capacity_features, stage_features)
    groups = [_totals(batch, live), *(part(live) for part in parts)]
    return np.nan_to_num(np.concatenate(groups, axis=1).astype(np.float32), posinf=0.0, neginf=0.0)


def _totals(batch: GraphBatch, live: LiveNodes) -> FloatArray:
    columns, kinds, paths = live.columns, live.kinds, live.paths
    sizes = np.column_stack([columns.params, columns.macs, columns.elements, np.ones_like(columns.macs)])
    whole = batch.sum_per_graph(sizes[batch.kinds])
    alive = paths.total(sizes[kinds])
    params, macs = batch.params.astype(np.float64), whole[:, 1]
    flags = np.column_stack([columns.activation, columns.normalization, columns.activation * columns.elements])
    acts = batch.sum_per_graph(flags[batch.kinds].astype(np.float64))
    counts = paths.total(live.weights)
    weighted = np.maximum(counts[:, PATH_COLUMNS.index("weighted")], 1)
    roles = counts[:, : len(PATH_ROLES)]
    shares = roles / np.maximum(roles.sum(axis=1, keepdims=True), 1)
    return np.column_stack([
        np.log1p(params), np.log1p(macs), np.log1p(whole[:, 2]), np.log1p(macs) - np.log1p(params),
        np.log1p(whole[:, 3]), np.log1p(alive[:, 3]), np.log1p(alive[:, 0]), np.log1p(alive[:, 1]),
        np.log1p(alive[:, 2]), acts[:, 0], acts[:, 1], counts, shares,
        counts[:, PATH_COLUMNS.index("log_width")] / weighted, counts[:, PATH_COLUMNS.index("log_macs")] / weighted,
        *_width_range(live),
        paths.total((columns.kernel[kinds] * live.column("weighted"))[:, None])[:, 0] / weighted,
        live.largest(columns.kernel[kinds]),
        np.log1p(acts[:, 2]), _input_side(batch, columns), (alive[:, 3] > 0),
    ])  # fmt: skip


def _input_side(batch: GraphBatch, columns: NodeColumns) -> FloatArray:
    """`[G]` side of the largest input; 0 without one."""
    inputs = np.flatnonzero((columns.role == ROLES.index("input"))[batch.kinds])
    side = np.zeros(len(batch))
    np.maximum.at(side, batch.graph_of_node[inputs], columns.side[batch.kinds[inputs]])
    return side


def _width_range(live: LiveNodes) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Largest, smallest and last-but-head log width of the weighted nodes of each graph."""
    weighted = live.columns.weighted[live.kinds]
    width = live.columns.log_width[live.kinds]
    smallest = 99 - live.largest(np.where(weighted, 99 - width, 0.0))
    last = np.zeros(live.paths.size)
    convs = np.flatnonzero(weighted & (live.role != ROLES.index("linear")))
    last[live.paths.graph[convs]] = width[convs]  # in topological order, so the last one stays
    return live.largest(np.where(weighted, width, 0.0)), np.where(smallest < 99, smallest, 0.0), last
