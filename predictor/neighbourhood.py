"""The labelled networks around a network: how near they are, and how wrong forecasts were there."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

_ROWS = 2000
_COMPONENTS = 24
_NEAR = 5  # neighbours whose mean distance counts for familiarity
_AROUND = 25  # neighbours whose errors make the difficulty
_FLOOR = 0.05  # share of the overall mean error below which no difficulty falls


@dataclass(frozen=True)
class Neighbourhood:
    """Training networks in whitened principal components of the features.

    Attributes:
        center: `[F]`, projection: `[K + 1, F]` to the coordinates.
        rows: `[R, K + 1]` coordinates of at most 2,000 training networks.
        errors: `[R]` absolute out-of-fold errors of those networks, in the task's unit.
        spacing: `[R]` how far from its 5 nearest neighbours a network near each of those may be to count as familiar:
            a multiple of the local spacing (local outlier factor, Breunig et al., 2000), so that dense spaces keep
            their own scale, and never more than the 95 % quantile of such distances among all training networks.
    """

    center: FloatArray
    projection: FloatArray
    rows: FloatArray
    errors: FloatArray
    spacing: FloatArray

    @classmethod
    def fit(cls, features: FloatArray, errors: FloatArray, *, seed: int = 0) -> tuple[Neighbourhood, FloatArray]:
        """Fit to training `features` `[n, F]` and out-of-fold `errors` `[n]`.

        Returns:
            The neighbourhood, and `[n]` the difficulty of each training network judged by the others.
        """
        chosen = np.arange(len(features))
        if len(features) > _ROWS:
            chosen = np.sort(np.random.default_rng(seed).choice(len(features), _ROWS, replace=False))
        picked = features[chosen]
        center, spread = picked.mean(axis=0), picked.std(axis=0)
        # A constant feature still counts: a network that differs there is unlike all seen. Unit: a tenth of its size.
        spread = np.where(spread > 1e-6, spread, 0.1 * np.abs(center) + 0.1)
        _, singular, axes = np.linalg.svd((picked - center) / spread, full_matrices=False)
        kept = axes[: min(_COMPONENTS, int((singular > 1e-6).sum()))]
        # What the kept axes miss is measured as one more coordinate by `_coordinates`.
        projection = np.concatenate([kept / spread, (1 / spread)[None]])
        rows = _coordinates(picked, center, projection)
        distance, neighbours = _nearest(rows, rows, _NEAR, skip=np.arange(len(rows)))
        distance = distance.mean(axis=1)
        # Equal networks (isomorphs) lie at distance 0 of each other: the floor keeps their spacing from vanishing.
        local = np.maximum(distance, max(_FLOOR * float(distance.mean()), 1e-6))
        factor = max(1.0, float(np.quantile(distance / local[neighbours].mean(axis=1), 0.95)))
        spacing = np.minimum(factor * local, max(float(np.quantile(distance, 0.95)), 1e-6))
        result = cls(center, projection, rows, errors[chosen], spacing)
        own_row = np.full(len(features), -1)
        own_row[chosen] = np.arange(len(chosen))
        _, around = _nearest(_coordinates(features, center, projection), rows, _AROUND, skip=own_row)
        return result, result._mean_error(around)

    def around(self, features: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Familiarity and difficulty of `features` `[m, F]` in one search.

        Familiarity `[m]` is `min(1, spacing / distance)`, the means of both over the 5 nearest training networks;
        difficulty `[m]` the mean absolute error of the 25 nearest.
        """
        distance, neighbours = _nearest(_coordinates(features, self.center, self.projection), self.rows, _AROUND)
        nearest = np.argsort(distance, axis=1)[:, :_NEAR]
        expected = self.spacing[np.take_along_axis(neighbours, nearest, axis=1)].mean(axis=1)
        met = np.take_along_axis(distance, nearest, axis=1).mean(axis=1)
        return np.minimum(1.0, expected / np.maximum(met, 1e-12)), self._mean_error(neighbours)

    def familiarity(self, features: FloatArray) -> FloatArray:
        """`[m]` see `around`."""
        return self.around(features)[0]

    def difficulty(self, features: FloatArray) -> FloatArray:
        """`[m]` see `around`."""
        return self.around(features)[1]

    def _mean_error(self, neighbours: IntArray) -> FloatArray:
        floor = max(_FLOOR * float(self.errors.mean()), 1e-9)
        return np.asarray(np.maximum(self.errors[neighbours].mean(axis=1), floor))


def _coordinates(features: FloatArray, center: FloatArray, projection: FloatArray) -> FloatArray:
    """Coordinates along the kept axes, then the length of the remainder."""
    offset = features - center
    inside = offset @ projection[:-1].T
    total = ((offset * projection[-1]) ** 2).sum(axis=1)
    outside = np.sqrt(np.maximum(total - (inside**2).sum(axis=1), 0))
    return np.column_stack([inside, outside])


def _nearest(
    points: FloatArray, rows: FloatArray, count: int, *, skip: IntArray | None = None, chunk: int = 2048
) -> tuple[FloatArray, IntArray]:
    """`[m, count]` distances to and positions of the nearest rows; `skip` `[m]` names one row to leave out (-1: none).

    By matrix products: in 25 dimensions a search tree visits nearly every row anyway.
    """
    count = max(1, min(count, len(rows) - int(skip is not None)))
    distances, positions = np.zeros((len(points), count)), np.zeros((len(points), count), dtype=np.int64)
    lengths = (rows**2).sum(axis=1)
    for start in range(0, len(points), chunk):
        part = points[start : start + chunk]
        squared = (part**2).sum(axis=1)[:, None] + lengths - 2 * part @ rows.T
        if skip is not None:
            own = skip[start : start + chunk]
            inside = np.flatnonzero(own >= 0)
            squared[inside, own[inside]] = np.inf
        found = np.argpartition(squared, count - 1, axis=1)[:, :count]
        positions[start : start + chunk] = found
        distances[start : start + chunk] = np.sqrt(np.maximum(np.take_along_axis(squared, found, axis=1), 0))
    return distances, positions
