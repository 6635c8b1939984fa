"""Scores -> values in the task's unit with honest intervals.

Values: isotonic regression of the labels on out-of-fold scores, so a better score never means a lower value.
Intervals: normalised conformal (Papadopoulos et al., "Regression conformal prediction with nearest neighbours", 2011)
on out-of-fold residuals: half-width = q * difficulty, where the difficulty of a network is the mean error of
forecasts around it and q makes 90 % of the intervals of training networks hold.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

CONFIDENCE = 0.9


def rank_gauss(values: FloatArray) -> FloatArray:
    """Normal scores of the ranks: `norm.ppf((rank - 0.5) / n)`; ties share their mean rank."""
    from scipy.stats import norm, rankdata  # half a second to import, and only fitting needs it

    return np.asarray(norm.ppf((rankdata(values) - 0.5) / max(len(values), 1)))


def standardised(values: FloatArray) -> FloatArray:
    """`[n]` scores in units of their spread, of zero mean; zeros where all are equal."""
    return np.asarray((values - values.mean()) / max(float(values.std()), 1e-9))


@dataclass(frozen=True)
class ValueMap:
    """Piecewise linear, rising map from scores to values.

    Attributes:
        knots, heights: `[K]` scores and the values they map to.
    """

    knots: FloatArray
    heights: FloatArray

    @classmethod
    def fit(cls, scores: FloatArray, labels: FloatArray) -> ValueMap:
        """Isotonic regression of `labels` `[n]` on out-of-fold `scores` `[n]`."""
        from sklearn.isotonic import IsotonicRegression

        isotonic = IsotonicRegression().fit(scores, labels)
        return cls(*_strictly_rising(isotonic.X_thresholds_, isotonic.y_thresholds_))

    def __call__(self, scores: FloatArray) -> FloatArray:
        """`[m]` values of `scores`, constant beyond the ends of what was seen."""
        return np.interp(scores, self.knots, self.heights)


def conformal_factor(residuals: FloatArray, difficulty: FloatArray) -> float:
    """q such that |residual| <= q * difficulty for 90 % of new networks; infinite below ten residuals."""
    from crepes import ConformalRegressor

    conformal = ConformalRegressor().fit(residuals, sigmas=difficulty)
    return float(conformal.predict_int(np.zeros(1), sigmas=np.ones(1), confidence=CONFIDENCE)[0, 1])


def _strictly_rising(scores: FloatArray, values: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Join the middles of isotonic steps, so that different scores inside a step get different values."""
    levels, first, counts = np.unique(values, return_index=True, return_counts=True)
    middles = (scores[first] + scores[first + counts - 1]) / 2
    knots = np.concatenate([scores[:1], middles, scores[-1:]])
    heights = np.concatenate([values[:1], levels, values[-1:]])
    keep = np.concatenate([[True], np.diff(knots) > 0])
    return knots[keep], heights[keep]
