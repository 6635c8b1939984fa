"""Whose work reaches the output: statistics weighted by the energy of the signal at initialisation.

Joins mix branches of unequal strength. A normalised operation puts out a signal of energy 1 whatever comes in, a skip
hands on what it got; a sum adds the energies of its inputs and any other join averages them:

    energy(v) = sum of out(u) over u -> v (the mean unless v is a sum),   out(v) = 1 for operations, else energy(v)

A walk from the output back to the input that picks each input in proportion to its energy then meets a node as
often as its work counts in the output. Where a cell hands its input on twice the energy doubles at every cell, and the
walk runs through skips only: such networks are shallow, however many operations they hold. `signal/*` are the counts
along that walk (as in `path/mean *`, where every path weighs the same), and the energies met on the way. (The idea of
De and Smith, "Batch normalization biases residual blocks towards the identity function", 2020.)
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from archcast.encoders.live_nodes import MOVES, PATH_COLUMNS, FloatArray, LiveNodes
from archcast.encoders.roles import ROLES

_COUNTS = (*PATH_COLUMNS, "skip")
_LIMIT = 1e200  # energies can double at every join of a very deep network
_RARE = 1e-6

SIGNAL_NAMES: Final = tuple(
    f"signal/{name}" for name in (*_COUNTS, "log_energy_max", "log_energy_mean", "visits_mean", "mean_log_visits")
)


def signal_features(live: LiveNodes) -> FloatArray:
    """`[G, len(SIGNAL_NAMES)]`."""
    paths = live.paths
    ops = (live.moves[:, MOVES.index("spatial")] + live.moves[:, MOVES.index("point")]) > 0
    energy, shares = _energies(live, ops)
    outputs = live.count(live.role == ROLES.index("output"))
    start = paths.is_output / np.maximum(outputs, 1)[paths.graph]
    visits = paths.walk_back(start, shares)
    skips = np.bincount(paths.graph[paths.targets], visits[paths.targets] * shares * live.skips, minlength=paths.size)
    log_energy = np.log(energy)
    of_ops = paths.total(
        np.column_stack([log_energy, visits, np.log(visits + _RARE)]) * ops[:, None].astype(np.float64)
    )
    return np.column_stack([
        paths.total(live.weights * visits[:, None]), skips, live.largest(log_energy),
        of_ops / np.maximum(live.count(ops), 1)[:, None],
    ])  # fmt: skip


def _energies(live: LiveNodes, ops: NDArray[np.bool_]) -> tuple[FloatArray, FloatArray]:
    """`[M]` energy that comes into each node, and `[E]` the share of each edge in what its target gets."""
    paths = live.paths
    size = len(ops)
    fan_in = np.maximum(np.bincount(paths.targets, minlength=size), 1)
    averaged = np.where(live.sums, 1.0, 1.0 / fan_in)
    sources = ops | (live.role == ROLES.index("input"))
    marks = np.ones((size, 1))
    energy = paths.levels.nearest(marks, sources, _LIMIT, edge_weights=averaged[paths.targets])[:, 0]
    energy = np.where(energy > 0, energy, 1.0)  # inputs
    sent = np.where(sources, 1.0, energy)[paths.sources]
    return energy, sent / np.bincount(paths.targets, sent, minlength=size)[paths.targets]
