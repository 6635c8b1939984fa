"""The tabular encoder: any graph -> one row of numbers, thousands of graphs a second.

Groups of features, all computed on any network (names in `FEATURE_NAMES`):

- `total/*`: logarithms of parameters, MACs, activation memory, and counts and shares by role.
- `path/*`: longest, shortest and mean (over all input-to-output paths) counts of each role, in the manner of
  GRAF (Kadlecova et al., "Surprisingly strong performance prediction with neural graph features", 2024), with
  bans taken softly so that they say something on any network: `shortest|fewest pool` is the length of the shortest
  path among those with the fewest pools.
- `edge/*`: how often one role feeds another once normalisations and activations are contracted, and
  the degrees of joins and of necks, the nodes that every path leads through (GRAF's degree statistics).
- `stage/*`: by resolution stage (s = log2(input side / node side)): counts, log width, MACs, parameters.

Paths and edges see the live part of a graph only (see `archcast.graphs.paths.LivePaths`).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from archcast.encoders.roles import ROLES, NodeColumns
from archcast.graphs.graph import ComputationGraph, GraphBatch
from archcast.graphs.paths import LivePaths

FloatArray = NDArray[np.float64]

VERSION: Final = 2
"""Raise when a feature changes its meaning: caches and bundles of another version are refused."""

_CHUNK = 1024  # graphs per pass: large enough to amortise a level, small enough for the cache
_STAGES = 6
_PATH_ROLES = ("convk", "conv1", "depthwise", "linear", "mixing", "recurrent", "graph", "pool", "join")
_PATH_COLUMNS = (*_PATH_ROLES, "weighted", "log_width", "log_fan_in", "log_macs")
_MOVES = ("spatial", "point", "pool", "skip")
"""What a step along a path can be: an operation that looks around, one that does not, a pool, or a skip edge."""
_MOVE_SETS = tuple(
    tuple(move for bit, move in enumerate(_MOVES) if mask >> bit & 1) for mask in range(1, 2 ** len(_MOVES))
)
_EDGE_ROLES = ("convk", "conv1", "depthwise", "linear", "mixing", "pool", "join", "input", "output")
_STAGE_COLUMNS = ("weighted", "convk", "conv1", "depthwise", "pool", "log_width", "min_log_width", "max_log_width",
                  "log_macs", "log_params", "kernel", "mixing")  # fmt: skip
_BAN = 1e4  # above any count of nodes on a path, so that fewest banned nodes come first


def _total_names() -> list[str]:
    names = ["log_params", "log_macs", "log_memory", "log_macs_per_param", "log_nodes", "log_live_nodes"]
    names += ["log_live_params", "log_live_macs", "log_live_memory", "activations", "normalizations"]
    names += [f"count_{role}" for role in _PATH_COLUMNS] + [f"share_{role}" for role in _PATH_ROLES]
    names += [
        "mean_log_width",
        "mean_log_macs",
        "max_log_width",
        "min_log_width",
        "last_log_width",
        "mean_kernel",
        "max_kernel",
    ]
    names += ["log_activation_memory", "input_side", "live"]
    return [f"total/{name}" for name in names]


def _path_names() -> list[str]:
    names = [f"{kind} {column}" for kind in ("longest", "shortest", "mean") for column in _PATH_COLUMNS]
    names += ["mean skip"]
    names += [f"fewest {'+'.join(moves)}" for moves in _MOVE_SETS]
    names += [f"shortest|fewest {'+'.join(moves)}" for moves in _MOVE_SETS[:-1]]
    names += [f"most {'+'.join(moves)}|fewest others" for moves in _MOVE_SETS]
    names += ["log_paths", "log_fan_in_paths", "log_width_paths", "log_paths_per_join"]
    return [f"path/{name}" for name in names]


def _edge_names() -> list[str]:
    names = [f"{source}>{target}" for source in _EDGE_ROLES[:-1] for target in _EDGE_ROLES if target != "input"]
    names += ["join_inputs_mean", "join_inputs_max", "fan_out_mean", "fan_out_max", "skips"]
    names += [f"neck_out {move}" for move in _MOVES] + [f"neck_in {move}" for move in _MOVES] + ["necks"]
    return [f"edge/{name}" for name in names]


def _stage_names() -> list[str]:
    return [f"stage{stage}/{column}" for stage in range(_STAGES) for column in _STAGE_COLUMNS]


FEATURE_NAMES: Final[tuple[str, ...]] = (*_total_names(), *_path_names(), *_edge_names(), *_stage_names())
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
    paths = LivePaths(batch, columns.role >= 0)
    kinds = batch.kinds[paths.nodes]
    role = columns.role[kinds]
    role = np.where(role < 0, ROLES.index("join"), role)
    weights = _path_weights(columns, kinds, role)
    skips = _skips(paths, role)
    groups = (
        _totals(batch, paths, columns, weights),
        _path_features(paths, weights, role, skips),
        _edge_features(paths, weights, role, skips),
        _stage_features(paths, columns, kinds, weights),
    )
    return np.nan_to_num(np.concatenate(groups, axis=1).astype(np.float32), posinf=0.0, neginf=0.0)


def _path_weights(columns: NodeColumns, kinds: NDArray[np.int64], role: NDArray[np.int64]) -> FloatArray:
    """`[M, len(_PATH_COLUMNS)]` what each live node adds to each path column."""
    one_hot = role[:, None] == np.asarray([ROLES.index(name) for name in _PATH_ROLES])
    weighted = columns.weighted[kinds]
    rest = (weighted, columns.log_width[kinds], columns.log_fan_in[kinds], weighted * np.log1p(columns.macs[kinds]))
    return np.column_stack([one_hot, *rest]).astype(np.float64)


def _totals(batch: GraphBatch, paths: LivePaths, columns: NodeColumns, weights: FloatArray) -> FloatArray:
    kinds = batch.kinds[paths.nodes]
    sizes = np.column_stack([columns.params, columns.macs, columns.elements, np.ones_like(columns.macs)])
    whole = batch.sum_per_graph(sizes[batch.kinds])
    live = paths.total(sizes[kinds])
    params, macs = batch.params.astype(np.float64), whole[:, 1]
    flags = np.column_stack([columns.activation, columns.normalization, columns.activation * columns.elements])
    acts = batch.sum_per_graph(flags[batch.kinds].astype(np.float64))
    counts = paths.total(weights)
    weighted = np.maximum(counts[:, _PATH_COLUMNS.index("weighted")], 1)
    roles = counts[:, : len(_PATH_ROLES)]
    shares = roles / np.maximum(roles.sum(axis=1, keepdims=True), 1)
    first = batch.kinds[batch.ptr[:-1]] if len(batch) else np.zeros(0, np.int64)
    return np.column_stack([
        np.log1p(params), np.log1p(macs), np.log1p(whole[:, 2]), np.log1p(macs) - np.log1p(params),
        np.log1p(whole[:, 3]), np.log1p(live[:, 3]), np.log1p(live[:, 0]), np.log1p(live[:, 1]), np.log1p(live[:, 2]),
        acts[:, 0], acts[:, 1], counts, shares,
        counts[:, _PATH_COLUMNS.index("log_width")] / weighted, counts[:, _PATH_COLUMNS.index("log_macs")] / weighted,
        *_width_range(paths, columns, kinds),
        paths.total(columns.kernel[kinds][:, None] * weights[:, [_PATH_COLUMNS.index("weighted")]])[:, 0] / weighted,
        _per_graph(np.maximum, paths, columns.kernel[kinds], 0.0),
        np.log1p(acts[:, 2]), columns.side[first], (live[:, 3] > 0),
    ])  # fmt: skip


def _width_range(
    paths: LivePaths, columns: NodeColumns, kinds: NDArray[np.int64]
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Largest, smallest and last-but-head log width of the weighted nodes of each graph."""
    weighted = columns.weighted[kinds]
    width = columns.log_width[kinds]
    largest = _per_graph(np.maximum, paths, np.where(weighted, width, 0.0), 0.0)
    smallest = _per_graph(np.minimum, paths, np.where(weighted, width, 99.0), 99.0)
    last = np.zeros(paths.size)
    convs = np.flatnonzero(weighted & (columns.role[kinds] != ROLES.index("linear")))
    last[paths.graph[convs]] = width[convs]  # in topological order, so the last one stays
    return largest, np.where(smallest < 99, smallest, 0.0), last


def _per_graph(ufunc: np.ufunc, paths: LivePaths, values: FloatArray, start: float) -> FloatArray:
    result = np.full(paths.size, start)
    ufunc.at(result, paths.graph, values)
    return result


def _moves(weights: FloatArray) -> FloatArray:
    """`[M, len(_MOVES)]` which move each node is (skips are edges, so their column is zero)."""
    column = _PATH_COLUMNS.index
    spatial = weights[:, [column(n) for n in ("convk", "depthwise", "mixing", "recurrent", "graph")]].sum(axis=1)
    point = weights[:, [column("conv1"), column("linear")]].sum(axis=1)
    return np.column_stack([spatial, point, weights[:, column("pool")], np.zeros_like(point)])


def _skips(paths: LivePaths, role: NDArray[np.int64]) -> NDArray[np.bool_]:
    """`[E]` edges that carry a value past other operations: into a join, from a node that others read too."""
    fan_out = np.bincount(paths.sources, minlength=len(role))
    meets = (role == ROLES.index("join")) | (role == ROLES.index("input"))
    return (role[paths.targets] == ROLES.index("join")) & (meets | (fan_out > 1))[paths.sources]


def _path_features(
    paths: LivePaths, weights: FloatArray, role: NDArray[np.int64], skips: NDArray[np.bool_]
) -> FloatArray:
    column = _PATH_COLUMNS.index
    log_sums = paths.log_sum(
        np.column_stack([np.zeros(len(role)), weights[:, column("log_fan_in")] / 2, weights[:, column("log_width")]])
    )
    log_sums[~np.isfinite(log_sums)] = 0.0
    joins = np.maximum(paths.total((role == ROLES.index("join"))[:, None].astype(np.float64))[:, 0], 1)
    edge_graph = paths.graph[paths.targets]
    mean_skips = np.bincount(edge_graph, paths.edge_visits * skips, minlength=paths.size)
    return np.column_stack([
        _finite(paths.longest(weights)), _finite(paths.shortest(weights)), paths.mean(weights), mean_skips,
        _banned_paths(paths, _moves(weights), skips), log_sums, log_sums[:, 0] / joins,
    ])  # fmt: skip


def _banned_paths(paths: LivePaths, moves: FloatArray, skips: NDArray[np.bool_]) -> FloatArray:
    """Fewest steps of every set of moves; shortest path among those; most steps of a set with fewest others."""
    sets = np.asarray([[move in moves_ for moves_ in _MOVE_SETS] for move in _MOVES], dtype=np.float64)
    edge = np.zeros(len(_MOVES))
    edge[_MOVES.index("skip")] = 1.0
    all_moves = moves.sum(axis=1, keepdims=True)
    banned, banned_edge = moves @ sets, edge @ sets
    proper = slice(0, len(_MOVE_SETS) - 1)
    cost = np.column_stack([banned, _BAN * banned[:, proper] + all_moves])
    cost_edge = np.concatenate([banned_edge, _BAN * banned_edge[proper] + 1.0])
    gain = banned - _BAN * (all_moves - banned)
    gain_edge = banned_edge - _BAN * (1.0 - banned_edge)
    shortest = _finite(paths.shortest(cost, (skips, cost_edge)))
    fewest, length = shortest[:, : len(_MOVE_SETS)], np.fmod(shortest[:, len(_MOVE_SETS) :], _BAN)
    most = _finite(paths.longest(gain, (skips, gain_edge)))
    return np.column_stack([fewest, length, most + _BAN * np.ceil(-most / _BAN)])


def _finite(values: FloatArray) -> FloatArray:
    return np.where(np.isfinite(values), values, 0.0)


def _edge_features(
    paths: LivePaths, weights: FloatArray, role: NDArray[np.int64], skips: NDArray[np.bool_]
) -> FloatArray:
    count = len(ROLES)
    graph = paths.graph[paths.targets]
    code = (graph * count + role[paths.sources]) * count + role[paths.targets]
    table = np.bincount(code, minlength=paths.size * count * count).reshape(paths.size, count, count)
    index = [ROLES.index(name) for name in _EDGE_ROLES]
    pairs = [table[:, source, target] for source in index[:-1] for target in index if target != ROLES.index("input")]
    degrees = []
    for ends, keep in (
        (np.bincount(paths.targets, minlength=len(role)), role == ROLES.index("join")),
        (np.bincount(paths.sources, minlength=len(role)), role != ROLES.index("output")),
    ):
        value = np.where(keep, ends, 0).astype(np.float64)
        number = np.maximum(np.bincount(paths.graph, keep, minlength=paths.size), 1)
        degrees += [np.bincount(paths.graph, value, minlength=paths.size) / number]
        degrees += [_per_graph(np.maximum, paths, value, 0.0)]
    skip_count = np.bincount(graph, skips, minlength=paths.size)
    return np.column_stack([*pairs, *degrees, skip_count, _neck_degrees(paths, _moves(weights), skips)])


def _neck_degrees(paths: LivePaths, moves: FloatArray, skips: NDArray[np.bool_]) -> FloatArray:
    """Moves that leave and enter the nodes every path leads through (the ends of cells and blocks), per neck."""
    neck = paths.visits > 1 - 1e-6
    graph = paths.graph[paths.targets]
    necks = np.bincount(paths.graph, neck, minlength=paths.size)
    columns = []
    for near, far in ((paths.sources, paths.targets), (paths.targets, paths.sources)):
        step = np.where(skips[:, None], np.eye(len(_MOVES))[_MOVES.index("skip")], moves[far])
        at_neck = step * neck[near][:, None]
        columns += [np.bincount(graph, column, minlength=paths.size) / np.maximum(necks, 1) for column in at_neck.T]
    return np.column_stack([*columns, necks])


def _stage_features(
    paths: LivePaths, columns: NodeColumns, kinds: NDArray[np.int64], weights: FloatArray
) -> FloatArray:
    """`[G, _STAGES * len(_STAGE_COLUMNS)]` statistics by resolution stage."""
    side = columns.side[kinds]
    full = np.ones(paths.size)
    inputs = columns.role[kinds] == ROLES.index("input")
    np.maximum.at(full, paths.graph[inputs], side[inputs])
    stage = np.clip(np.rint(np.log2(full[paths.graph] / np.maximum(side, 1))), 0, _STAGES - 1).astype(np.int64)
    cell = paths.graph * _STAGES + stage
    cells = paths.size * _STAGES

    def total(values: NDArray[np.generic]) -> FloatArray:
        return np.bincount(cell, values.astype(np.float64), minlength=cells).astype(np.float64)

    column = _PATH_COLUMNS.index
    weighted = weights[:, column("weighted")]
    number = np.maximum(total(weighted), 1)
    width = columns.log_width[kinds]
    lowest, highest = np.full(cells, 99.0), np.zeros(cells)
    rows = np.flatnonzero(weighted)
    np.minimum.at(lowest, cell[rows], width[rows])
    np.maximum.at(highest, cell[rows], width[rows])
    values = {
        "weighted": total(weighted),
        "convk": total(weights[:, column("convk")]),
        "conv1": total(weights[:, column("conv1")]),
        "depthwise": total(weights[:, column("depthwise")]),
        "pool": total(weights[:, column("pool")]),
        "log_width": total(width) / number,
        "min_log_width": np.where(lowest < 99, lowest, 0.0),
        "max_log_width": highest,
        "log_macs": np.log1p(total(columns.macs[kinds])),
        "log_params": np.log1p(total(columns.params[kinds])),
        "kernel": total(columns.kernel[kinds] * weighted) / number,
        "mixing": total(weights[:, column("mixing")]),
    }
    stacked = np.stack([values[name] for name in _STAGE_COLUMNS], axis=1)
    result: FloatArray = stacked.reshape(paths.size, _STAGES * len(_STAGE_COLUMNS))
    return result
