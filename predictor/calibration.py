"""Scores -> values in the task's unit with honest intervals.

Values: isotonic regression of the labels on out-of-fold scores, so a better score never means a lower value.
Intervals: conformal (Vovk et al., "Algorithmic Learning in a Random World", 2022) on the out-of-fold residuals, in
score bins (Mondrian), because the error of a forecast depends on where in the pool a network stands.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm, rankdata

FloatArray = NDArray[np.float64]

CONFIDENCE = 0.9
_PER_BIN = 60  # residuals a score bin needs before it gets its own quantile


def rank_gauss(values: FloatArray) -> FloatArray:
    """Normal scores of the ranks: `norm.ppf((rank - 0.5) / n)`; ties share their mean rank."""
    return np.asarray(norm.ppf((rankdata(values) - 0.5) / max(len(values), 1)))


@dataclass(frozen=True)
class Calibration:
    """Piecewise linear value map and conformal half-widths.

    Attributes:
        knots, heights: `[K]` scores and the values they map to, both rising.
        edges: `[B - 1]` scores between the bins.
        half_widths: `[B]` of the 90 % interval in each bin, in the task's unit.
    """

    knots: FloatArray
    heights: FloatArray
    edges: FloatArray
    half_widths: FloatArray

    @classmethod
    def fit(cls, scores: FloatArray, labels: FloatArray) -> Calibration:
        """Fit to out-of-fold `scores` `[n]` and true values `labels` `[n]` in the task's unit."""
        from crepes import ConformalRegressor
        from sklearn.isotonic import IsotonicRegression

        isotonic = IsotonicRegression().fit(scores, labels)
        knots, heights = _strictly_rising(isotonic.X_thresholds_, isotonic.y_thresholds_)
        count = int(np.clip(len(scores) // _PER_BIN, 1, 10))
        edges = np.quantile(scores, np.linspace(0, 1, count + 1)[1:-1])
        bins = np.searchsorted(edges, scores)
        residuals = labels - np.interp(scores, knots, heights)
        conformal = ConformalRegressor().fit(residuals, bins=bins)
        numbers = np.arange(count)
        bounds = conformal.predict_int(np.zeros(count), bins=numbers, confidence=CONFIDENCE)
        half_widths = bounds[:, 1]
        # Fewer residuals than a quantile needs: the whole range of labels is all that can be said.
        half_widths = np.where(np.isfinite(half_widths), half_widths, np.ptp(labels))
        return cls(knots, heights, edges, half_widths)

    def value(self, scores: FloatArray) -> FloatArray:
        """`[m]` values of `scores`, constant beyond the ends of what was seen."""
        return np.interp(scores, self.knots, self.heights)

    def interval(self, scores: FloatArray, widen: FloatArray) -> tuple[FloatArray, FloatArray]:
        """90 % intervals of `scores` `[m]`; `widen` `[m]` multiplies their half-widths."""
        value = self.value(scores)
        half = self.half_widths[np.searchsorted(self.edges, scores)] * widen
        return value - half, value + half


def _strictly_rising(scores: FloatArray, values: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Join the middles of isotonic steps, so that different scores inside a step get different values."""
    levels, first, counts = np.unique(values, return_index=True, return_counts=True)
    middles = (scores[first] + scores[first + counts - 1]) / 2
    knots = np.concatenate([scores[:1], middles, scores[-1:]])
    heights = np.concatenate([values[:1], levels, values[-1:]])
    keep = np.concatenate([[True], np.diff(knots) > 0])
    return knots[keep], heights[keep]
