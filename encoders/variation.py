"""What varies in a pool of networks: wiring, resolution, or size. Different statistics tell there.

- **Wiring**: layers stand side by side in some networks and one behind the other in others (cells).
- **Resolution**: networks are alike in wiring, but look at maps of different sizes.
- **Size**: networks are chains of blocks of different depths, widths and kernels.

A pool is a mixture of the three, read off two statistics of its networks: how many weighted layers there are for one
on the longest path, and the mean resolution of a layer (in octaves, like the depth it is compared with):

    w = std(log(layers / longest path)),   r = var(resolution) / (var(resolution) + var(log2 layers))
    wiring = hill(w; 0.08, 4),   resolution = (1 - wiring) hill(r; 0.55, 8),   size = the rest,
    hill(x; h, n) = x^n / (x^n + h^n)

In all chains we know w is below .04, in all cells and in zoos above .14 (docs/EXPERIMENTS.md, "What varies decides").
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from archcast.encoders.stage_features import STAGES

FloatArray = NDArray[np.float64]

KINDS: Final = ("wiring", "resolution", "size")
"""What the three shares are of."""

_WIRING: Final = (0.08, 4)
_RESOLUTION: Final = (0.55, 8)
_LEAST_LAYERS: Final = 3  # cells without a path of layers have no wiring to speak of


def variation(columns: dict[str, FloatArray]) -> FloatArray:
    """`[3]` shares of `KINDS`, which sum to 1; all of size where no two networks differ.

    Args:
        columns: `COLUMNS` of the features of a pool, `[n]` each.
    """
    layers = columns["total/count_weighted"]
    kept = layers >= _LEAST_LAYERS
    if not kept.any():
        return np.asarray([0.0, 0.0, 1.0])
    layers, longest = layers[kept], np.maximum(columns["path/longest weighted"][kept], 1)
    by_stage = np.stack([columns[f"stage{stage}/weighted"][kept] for stage in range(STAGES)], axis=1)
    halvings = by_stage @ np.arange(STAGES) / np.maximum(by_stage.sum(axis=1), 1)
    resolution = np.log2(np.maximum(columns["total/input_side"][kept], 1)) - halvings
    wiring = _hill(float(np.log(layers / longest).std()), *_WIRING)
    spread, depth = float(resolution.var()), float(np.log2(layers).var())
    looks = (1 - wiring) * _hill(spread / max(spread + depth, 1e-12), *_RESOLUTION)
    return np.asarray([wiring, looks, 1 - wiring - looks])


COLUMNS: Final = (
    "total/count_weighted", "path/longest weighted", "total/input_side",
    *(f"stage{stage}/weighted" for stage in range(STAGES)),
)  # fmt: skip
"""The features that tell what varies."""


def _hill(value: float, half: float, steepness: int) -> float:
    """0 at 0, one half at `half`, towards 1 beyond."""
    raised = value**steepness
    return float(raised / (raised + half**steepness))
