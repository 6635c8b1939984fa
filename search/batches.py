"""Batches: from forecasts of many candidates to a few that are good and unlike each other."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from archcast.search.pareto import gains, is_efficient

FloatArray = NDArray[np.float64]
Features = NDArray[np.float32]

_CLIP = 4.0  # standard deviations
_NEAR = 0.5  # root mean square distance, in standard deviations, at which neighbours tell little of each other
_SHARED = 0.9  # how much of its variance an identical neighbour would lose
_SHORT_LIST = 200


def spread_out(score: FloatArray, features: Features, taken: Features, count: int, weight: float) -> Iterator[int]:
    """Rows of high `score` `[n]` far from each other and from `taken`: score + weight min(1, distance)."""
    rows, others = standardised(features, features), standardised(taken, features)
    nearest = np.full(len(score), np.inf)
    for other in others:
        nearest = np.minimum(nearest, _distance(rows, other))
    score = score.copy()
    for _ in range(min(count, len(score))):
        far = np.minimum(nearest, 1.0) if np.isfinite(nearest[0]) else 0.0
        best = int((score + weight * far).argmax())
        yield best
        score[best] = -np.inf
        nearest = np.minimum(nearest, _distance(rows, rows[best]))


def by_bound(
    mean: FloatArray, spread: FloatArray, features: Features, count: int, pending: Features | None = None
) -> Iterator[int]:
    """Rows of the highest mean + spread, where every row taken, or pending, shrinks the spread around it.

    A row at distance d loses .9 exp(-(d / .5)^2) of its variance, d the root mean square difference of features.
    """
    rows, spread = standardised(features, features), spread.copy()
    for other in () if pending is None else standardised(pending, features):
        spread *= _shrunk(_distance(rows, other))
    free = np.ones(len(mean), dtype=bool)
    for _ in range(min(count, len(mean))):
        best = int(np.where(free, mean + spread, -np.inf).argmax())
        yield best
        free[best] = False
        spread *= _shrunk(_distance(rows, rows[best]))


def by_hypervolume(
    means: FloatArray, bounds: FloatArray, values: FloatArray, reference: FloatArray, count: int
) -> Iterator[int]:
    """Rows whose `bounds` `[m, K]` add most to the hypervolume of the measured `values` `[n, K]` above `reference`.

    Each row taken joins the front with its `means`. More is better everywhere; all columns should be of one scale.
    """
    front, free = values, np.ones(len(means), dtype=bool)
    for _ in range(min(count, len(means))):
        rows = np.flatnonzero(free)
        if bounds.shape[1] > 2 and len(rows) > _SHORT_LIST:  # one hypervolume each would take too long
            rows = rows[np.argsort(-_promise(bounds[rows], front), kind="stable")[:_SHORT_LIST]]
        won = gains(bounds[rows], front, reference)
        if won.max() <= 0:
            won = _promise(bounds[rows], front)
        best = int(rows[won.argmax()])
        yield best
        free[best] = False
        front = np.concatenate([front, means[best : best + 1]])


def standardised(features: Features, pool: Features) -> FloatArray:
    """Columns that vary in `pool`, in its standard deviations."""
    wide = pool.astype(np.float64)
    centre, scale = wide.mean(axis=0), wide.std(axis=0)
    varying = scale > 1e-6
    rows = (features[:, varying] - centre[varying]) / scale[varying]
    return np.asarray(np.clip(rows, -_CLIP, _CLIP), dtype=np.float64)


def _distance(rows: FloatArray, other: FloatArray) -> FloatArray:
    return np.asarray(np.linalg.norm(rows - other, axis=1) / np.sqrt(max(rows.shape[1], 1)))


def _shrunk(distance: FloatArray) -> FloatArray:
    return np.asarray(np.sqrt(1 - _SHARED * np.exp(-((distance / _NEAR) ** 2))))


def _promise(bounds: FloatArray, front: FloatArray) -> FloatArray:
    """`[m]` smallest lead over any architecture of the front in its best objective: positive if none dominates."""
    lead = np.full(len(bounds), np.inf)
    for point in front[is_efficient(front)] if len(front) else ():
        lead = np.minimum(lead, (bounds - point).max(axis=1))
    return lead
