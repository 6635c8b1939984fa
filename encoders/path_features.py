"""Statistics over all input-to-output paths of a network, in the manner of GRAF.

Kadlecova et al., "Surprisingly strong performance prediction with neural graph features", 2024, count paths with
operations banned. Bans are taken softly here, so that they say something on any network: `shortest|fewest pool` is the
length of the shortest path among those with the fewest pools.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from archcast.encoders.live_nodes import MOVES, PATH_COLUMNS, FloatArray, LiveNodes
from archcast.encoders.roles import ROLES

_SETS = tuple(tuple(move for bit, move in enumerate(MOVES) if mask >> bit & 1) for mask in range(1, 2 ** len(MOVES)))
_BAN = 4096.0  # above any count of nodes on a path, so that fewest come first; float32 holds 4096 of them exactly


def _names() -> list[str]:
    names = [f"{kind} {column}" for kind in ("longest", "shortest", "mean") for column in PATH_COLUMNS]
    names += ["mean skip"]
    names += [f"fewest {'+'.join(moves)}" for moves in _SETS]
    names += [f"shortest|fewest {'+'.join(moves)}" for moves in _SETS[:-1]]
    names += [f"most {'+'.join(moves)}|fewest others" for moves in _SETS]
    names += ["log_paths", "log_fan_in_paths", "log_width_paths", "log_paths_per_join"]
    return [f"path/{name}" for name in names]


PATH_NAMES: Final = tuple(_names())


def path_features(live: LiveNodes) -> FloatArray:
    """`[G, len(PATH_NAMES)]`."""
    paths, weights = live.paths, live.weights
    zeros = np.zeros(len(live.role))
    log_sums = _finite(
        paths.log_sum(np.column_stack([zeros, live.column("log_fan_in") / 2.0, live.column("log_width")]))
    )
    joins = np.maximum(live.count(live.role == ROLES.index("join")), 1)
    mean_skips = np.bincount(paths.graph[paths.targets], paths.edge_visits * live.skips, minlength=paths.size)
    return np.column_stack([
        _finite(paths.longest(weights)), _finite(paths.shortest(weights)), paths.mean(weights), mean_skips,
        _banned_paths(live), log_sums, log_sums[:, 0] / joins,
    ])  # fmt: skip


def _banned_paths(live: LiveNodes) -> FloatArray:
    """Fewest steps of every set of moves; shortest path among those; most steps of a set with fewest others."""
    sets = np.asarray([[move in moves for moves in _SETS] for move in MOVES], dtype=np.float32)
    edge = np.asarray([move == "skip" for move in MOVES], dtype=np.float32)
    every = live.moves.sum(axis=1, keepdims=True)
    banned, banned_edge = live.moves @ sets, edge @ sets
    proper = slice(0, len(_SETS) - 1)
    ban = np.float32(_BAN)
    cost = np.column_stack([banned, ban * banned[:, proper] + every])
    cost_edge = np.concatenate([banned_edge, ban * banned_edge[proper] + 1])
    gain = banned - ban * (every - banned)
    gain_edge = banned_edge - ban * (1 - banned_edge)
    shortest = _finite(live.paths.shortest(cost, (live.skips, cost_edge)))
    fewest, length = shortest[:, : len(_SETS)], np.fmod(shortest[:, len(_SETS) :], ban)
    most = _finite(live.paths.longest(gain, (live.skips, gain_edge)))
    return np.column_stack([fewest, length, most + ban * np.ceil(-most / ban)]).astype(np.float64)


def _finite(values: NDArray[np.floating]) -> FloatArray:
    return np.where(np.isfinite(values), values, 0.0)
