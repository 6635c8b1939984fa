"""Statistics by resolution stage: s = log2(side of the input / side of the node)."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from archcast.encoders.live_nodes import FloatArray, LiveNodes
from archcast.encoders.roles import ROLES

STAGES = 6
_COLUMNS = ("weighted", "convk", "conv1", "depthwise", "pool", "log_width", "min_log_width", "max_log_width",
            "log_macs", "log_params", "kernel", "mixing")  # fmt: skip

STAGE_NAMES: Final = tuple(f"stage{stage}/{column}" for stage in range(STAGES) for column in _COLUMNS)


def stage_features(live: LiveNodes) -> FloatArray:
    """`[G, len(STAGE_NAMES)]`."""
    paths, columns, kinds = live.paths, live.columns, live.kinds
    side = columns.side[kinds]
    full = np.ones(paths.size)
    inputs = columns.role[kinds] == ROLES.index("input")
    np.maximum.at(full, paths.graph[inputs], side[inputs])
    stage = np.clip(np.rint(np.log2(full[paths.graph] / np.maximum(side, 1))), 0, STAGES - 1).astype(np.int64)
    cell = paths.graph * STAGES + stage
    cells = paths.size * STAGES

    def total(values: NDArray[np.generic]) -> FloatArray:
        return np.bincount(cell, values.astype(np.float64), minlength=cells).astype(np.float64)

    weighted = live.column("weighted")
    number = np.maximum(total(weighted), 1)
    width = columns.log_width[kinds]
    lowest, highest = np.full(cells, 99.0), np.zeros(cells)
    rows = np.flatnonzero(weighted)
    np.minimum.at(lowest, cell[rows], width[rows])
    np.maximum.at(highest, cell[rows], width[rows])
    values = {
        "weighted": total(weighted),
        "convk": total(live.column("convk")),
        "conv1": total(live.column("conv1")),
        "depthwise": total(live.column("depthwise")),
        "pool": total(live.column("pool")),
        "log_width": total(width) / number,
        "min_log_width": np.where(lowest < 99, lowest, 0.0),
        "max_log_width": highest,
        "log_macs": np.log1p(total(columns.macs[kinds])),
        "log_params": np.log1p(total(columns.params[kinds])),
        "kernel": total(columns.kernel[kinds] * weighted) / number,
        "mixing": total(live.column("mixing")),
    }
    stacked = np.stack([values[name] for name in _COLUMNS], axis=1)
    result: FloatArray = stacked.reshape(paths.size, STAGES * len(_COLUMNS))
    return result
