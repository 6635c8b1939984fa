"""Capacity laws: what the layers of a network add up to when each has diminishing returns.

    log sum over weighted layers l of   reach_l^g * params_l^a * elements_l^b

A layer of twice the parameters or twice the outputs is worth 2^a or 2^b as much, and its reach_l is the share of
the output's signal that comes through it at initialisation (`LiveNodes.signal`). Familiar statistics are corners of
this family: g = a = b = 0 counts layers, a = b = 1 is close to MACs where widths are alike. No corner ranks all search
spaces; concave laws in between rank nearly all of them (docs/EXPERIMENTS.md, "Capacity laws"): exponents of .1 to .5,
g = 0 or .2 where wiring varies, g = 1 where residual blocks are stacked to different depths.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from archcast.encoders.live_nodes import FloatArray, LiveNodes

_REACHES: Final = {"all": 0.0, "mixed": 0.2, "signal": 1.0}
_EXPONENTS: Final = ((0.3, 0.0), (0.3, 0.1), (0.2, 0.2), (0.1, 0.3), (0.0, 0.3), (0.5, 0.5))
_LEAST_REACH: Final = 1e-6

CAPACITY_NAMES: Final = tuple(f"capacity/log_{reach} P{a} E{b}" for reach in _REACHES for a, b in _EXPONENTS)


def capacity_features(live: LiveNodes) -> FloatArray:
    """`[G, len(CAPACITY_NAMES)]`, 0 for a network without weights."""
    columns = live.columns
    logs = np.log(np.maximum(np.column_stack([columns.params, columns.elements]), 1))
    worth = (np.exp(logs @ np.asarray(_EXPONENTS).T) * columns.weighted[:, None])[live.kinds]
    reach = np.maximum(live.signal.visits, _LEAST_REACH)
    return np.concatenate(
        [np.log1p(live.paths.total(worth * (reach**power)[:, None])) for power in _REACHES.values()], axis=1
    )
