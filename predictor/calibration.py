"""Scores -> values in the task's unit with honest intervals.

Values: isotonic regression of the labels on out-of-fold scores, so a better score never means a lower value.
Intervals: normalised conformal (Papadopoulos et al., "Regression conformal prediction with nearest neighbours", 2011)
on out-of-fold residuals: half-width = q * difficulty, where the difficulty of a network is the mean error of
forecasts around it and q makes 90 % of the intervals of training networks hold.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

_FEW: Final = 25.0  # labels with which a value map knows its own labels much better than others

CONFIDENCE = 0.9
_WITHIN_ONE = 0.6827  # of a normal distribution lies within one standard deviation


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

    def judged(self, scores: FloatArray, labels: FloatArray, folds: NDArray[np.int64]) -> FloatArray:
        """`[n]` values by which the errors of this map, fitted to `scores` and `labels` `[n]`, are judged.

        Its own values have seen the labels, which makes the errors of a few labels too small. Those of maps fitted
        without a fold have not, but the scores there are those of heads that lacked the fold as well, and are worse
        than the final ones: too large. Judged is a mean of both, in which what is held out has the share
        25 / (25 + n) (docs/EXPERIMENTS.md, "Intervals of a few labels").

        Args:
            folds: `[n]` fold of each label.
        """
        held_out = np.empty(len(labels))
        for fold in np.unique(folds):
            held = folds == fold
            held_out[held] = ValueMap.fit(scores[~held], labels[~held])(scores[held])
        share = _FEW / (_FEW + len(labels))
        return np.asarray((1 - share) * self(scores) + share * held_out)

    def slope(self, scores: FloatArray, reach: float = 0.25) -> FloatArray:
        """`[m]` how fast values rise around `scores`, over `reach` to either side; never below 5 % of the mean slope.

        Isotonic steps are flat in the middle; the floor keeps the spread of a value from vanishing there.
        """
        rise = (self(scores + reach) - self(scores - reach)) / (2 * reach)
        length = max(float(self.knots[-1] - self.knots[0]), 1e-12)
        return np.maximum(rise, 0.05 * max(float(np.ptp(self.heights)) / length, 1e-12))


@dataclass(frozen=True)
class Agreement:
    """Cross-validated rank agreement.

    Attributes:
        tau: Kendall's tau between labels and out-of-fold scores.
        deviation: its standard deviation over networks (bootstrap).
        labels: how many there were.
    """

    tau: float
    deviation: float
    labels: int

    @classmethod
    def of(cls, labels: FloatArray, out_of_fold: FloatArray) -> Agreement:
        """Of `[n]` labels and the scores of models that had not seen them."""
        from archcast.predictor.metrics import bootstrap_draws, kendall_tau

        draws = bootstrap_draws(labels, out_of_fold, resamples=500)["tau"]
        return cls(kendall_tau(labels, out_of_fold), float(draws.std()), len(labels))

    def __str__(self) -> str:
        return f"{self.tau:.3f} +- {self.deviation:.3f} ({self.labels} labels)"


@dataclass(frozen=True)
class ErrorScale:
    """Standard deviations of values: what the heads say about themselves, and the errors made nearby.

        spread = factor sqrt(slope own) sqrt(difficulty)

    the geometric mean of two guesses in the task's unit: the spread `own` of the scores times the slope of the value
    map, and the mean error of forecasts around the network. `factor` makes 68 % of out-of-fold errors fall
    within one spread, as of a normal distribution.

    Attributes:
        factor: see above.
        share: exponent of the first guess, 1 - share that of the second; 0 where only the second is known.
    """

    factor: float
    share: float = 0.5

    @classmethod
    def fit(cls, slope: FloatArray, own: FloatArray, difficulty: FloatArray, residuals: FloatArray) -> ErrorScale:
        """Of `[n]` labelled networks, all out of fold."""
        share = 0.5 if (own > 0).all() else 0.0
        raw = cls(1.0, share)(slope, own, difficulty)
        return cls(max(float(np.quantile(np.abs(residuals) / raw, _WITHIN_ONE)), 1e-9), share)

    def __call__(self, slope: FloatArray, own: FloatArray, difficulty: FloatArray) -> FloatArray:
        """`[m]` standard deviations in the task's unit."""
        return np.asarray(self.factor * (slope * own) ** self.share * difficulty ** (1 - self.share))


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
