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

from archcast.encoders.live_nodes import PATH_COLUMNS, FloatArray, LiveNodes

_COUNTS = (*PATH_COLUMNS, "skip")
_RARE = 1e-6

SIGNAL_NAMES: Final = tuple(
    f"signal/{name}" for name in (*_COUNTS, "log_energy_max", "log_energy_mean", "visits_mean", "mean_log_visits")
)


def signal_features(live: LiveNodes) -> FloatArray:
    """`[G, len(SIGNAL_NAMES)]`."""
    paths = live.paths
    ops, (energy, shares, visits) = live.operations, live.signal
    skips = np.bincount(paths.graph[paths.targets], visits[paths.targets] * shares * live.skips, minlength=paths.size)
    log_energy = np.log(energy)
    of_ops = paths.total(
        np.column_stack([log_energy, visits, np.log(visits + _RARE)]) * ops[:, None].astype(np.float64)
    )
    return np.column_stack([
        paths.total(live.weights * visits[:, None]), skips, live.largest(log_energy),
        of_ops / np.maximum(live.count(ops), 1)[:, None],
    ])  # fmt: skip
