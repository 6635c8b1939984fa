"""How near a network lies to what a predictor was trained on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

_ROWS = 2000
_COMPONENTS = 24
_NEIGHBOURS = 5


@dataclass(frozen=True)
class Familiarity:
    """Distance to the training set in whitened principal components of the features.

    `familiarity(x) = min(1, q / d(x))` with d the mean distance to the 5 nearest training networks and q the 95 %
    quantile of the same distance among the training networks themselves.
    """

    center: FloatArray
    projection: FloatArray
    rows: FloatArray
    reach: float

    @classmethod
    def fit(cls, features: FloatArray, *, seed: int = 0) -> Familiarity:
        """Fit to the training features `[n, F]`."""
        if len(features) > _ROWS:
            features = features[np.random.default_rng(seed).choice(len(features), _ROWS, replace=False)]
        center, spread = features.mean(axis=0), features.std(axis=0)
        # A constant feature still counts: a network that differs there is unlike all seen. Unit: a tenth of its size.
        spread = np.where(spread > 1e-6, spread, 0.1 * np.abs(center) + 0.1)
        scaled = (features - center) / spread
        _, singular, axes = np.linalg.svd(scaled, full_matrices=False)
        kept = axes[: min(_COMPONENTS, int((singular > 1e-6).sum()))]
        # What the kept axes miss is measured as one more coordinate by `_coordinates`.
        projection = np.concatenate([kept / spread, (1 / spread)[None]])
        rows = _coordinates(features, center, projection)
        distance = _nearest(rows, rows, skip_self=True)
        return cls(center, projection, rows, float(max(np.quantile(distance, 0.95), 1e-6)))

    def __call__(self, features: FloatArray) -> FloatArray:
        """`[m]` familiarity of `features` `[m, F]`, 0..1."""
        coordinates = _coordinates(features, self.center, self.projection)
        return np.minimum(1.0, self.reach / np.maximum(_nearest(coordinates, self.rows), 1e-12))


def _coordinates(features: FloatArray, center: FloatArray, projection: FloatArray) -> FloatArray:
    """Coordinates along the kept axes, then the length of the remainder."""
    offset = features - center
    inside = offset @ projection[:-1].T
    total = ((offset * projection[-1]) ** 2).sum(axis=1)
    outside = np.sqrt(np.maximum(total - (inside**2).sum(axis=1), 0))
    return np.column_stack([inside, outside])


def _nearest(rows: FloatArray, reference: FloatArray, *, skip_self: bool = False) -> FloatArray:
    """Mean distance to the nearest neighbours."""
    from scipy.spatial import cKDTree

    count = min(_NEIGHBOURS, len(reference) - int(skip_self)) or 1
    tree = cKDTree(reference)
    distance, _ = tree.query(rows, k=np.arange(1 + int(skip_self), 1 + int(skip_self) + count))
    finite = np.where(np.isfinite(distance), distance, 0.0)
    return np.asarray(finite.mean(axis=1))
