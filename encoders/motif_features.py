"""Which operations stand next to each other, and where paths part and meet.

Two views of an edge. `edge/*` counts roles that feed each other directly. `motif/*` looks through joins: what a join
passes on was made by the operations before it, so `motif/pool>spatial` is the number of pools whose output reaches a
spatial operation with nothing but joins between. A `neck` is a node that every path leads through, such as
the end of a cell or block: `motif/pool>neck` counts the pools that a block ends with, `motif/neck>point>pool` those
that stand second in a block. Chains of three tell a projection of a block's input from a 1x1 convolution inside.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from archcast.encoders.live_nodes import MOVES, FloatArray, LiveNodes
from archcast.encoders.roles import ROLES

_EDGE_ROLES = ("convk", "conv1", "depthwise", "linear", "mixing", "pool", "join", "input", "output")
_OPS = MOVES[:3]  # a skip is an edge
_STOPS = (*_OPS, "neck")
_LIMIT = 64.0  # routes counted between two nodes; nested joins would let them grow exponentially


def _edge_names() -> list[str]:
    names = [f"{source}>{target}" for source in _EDGE_ROLES[:-1] for target in _EDGE_ROLES if target != "input"]
    names += ["join_inputs_mean", "join_inputs_max", "fan_out_mean", "fan_out_max", "skips"]
    names += [f"neck_out {move}" for move in MOVES] + [f"neck_in {move}" for move in MOVES] + ["necks"]
    return [f"edge/{name}" for name in names]


def _motif_names() -> list[str]:
    pairs = [f"{before}>{after}" for after in _STOPS for before in _STOPS]
    chains = [f"{first}>{second}>{third}" for third in _STOPS for first in _STOPS for second in _OPS]
    return [f"motif/{name}" for name in (*pairs, *chains, *(f"mean {pair}" for pair in pairs))]


EDGE_NAMES: Final = tuple(_edge_names())
MOTIF_NAMES: Final = tuple(_motif_names())


def edge_features(live: LiveNodes) -> FloatArray:
    """`[G, len(EDGE_NAMES)]`."""
    paths, role = live.paths, live.role
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
        value = np.where(keep, ends, 0)
        degrees += [np.bincount(paths.graph, value, minlength=paths.size) / np.maximum(live.count(keep), 1)]
        degrees += [live.largest(value)]
    skip_count = np.bincount(graph[live.skips], minlength=paths.size)
    return np.column_stack([*pairs, *degrees, skip_count, _neck_degrees(live)])


def _neck_degrees(live: LiveNodes) -> FloatArray:
    """Moves that leave and enter the necks, per neck; then the number of necks."""
    paths = live.paths
    necks = live.count(live.necks)
    columns = []
    for near, far in ((paths.sources, paths.targets), (paths.targets, paths.sources)):
        at_neck = np.flatnonzero(live.necks[near])
        skip = live.skips[at_neck]
        graph = paths.graph[near[at_neck]]
        step = np.where(skip[:, None], np.eye(len(MOVES))[MOVES.index("skip")], live.moves[far[at_neck]])
        columns += [np.bincount(graph, column, minlength=paths.size) / np.maximum(necks, 1) for column in step.T]
    return np.column_stack([*columns, necks])


def motif_features(live: LiveNodes) -> FloatArray:
    """`[G, len(MOTIF_NAMES)]`: pairs, chains of three, and how often each pair occurs on the mean path."""
    paths, levels = live.paths, live.paths.levels
    ops = live.moves[:, : len(_OPS)]
    is_op = ops.any(axis=1)
    ends = (live.role == ROLES.index("input")) | (live.role == ROLES.index("output"))
    boundary = (live.necks & ~is_op) | ends
    stops = is_op | boundary
    marks = np.column_stack([ops, live.necks | ends]).astype(np.float32)  # an operation can be a neck as well
    before = levels.nearest(marks, stops, _LIMIT)
    chained = (before[:, :, None] * ops[:, None, :]).reshape(len(ops), len(_STOPS) * len(_OPS))
    before_that = levels.nearest(chained, stops, _LIMIT)
    mean_before = levels.nearest(marks, stops, edge_weights=paths.edge_shares) * paths.visits[:, None]
    both = np.column_stack([before, before_that, mean_before])
    after = [*ops.T.astype(bool), boundary]
    totals = [live.paths.total(np.where(flag[:, None], both, 0)) for flag in after]
    width = (len(_STOPS), len(_STOPS) * len(_OPS), len(_STOPS))
    bounds = np.cumsum([0, *width])
    return np.column_stack([total[:, bounds[part] : bounds[part + 1]] for part in range(3) for total in totals])
