"""Acquisition functions: how much is promised by training a network, given its forecast and the spread of that.

Every function takes the forecast `mean` `[m]` and its standard deviation `spread` `[m]` (`Predictions.values` and
`Predictions.spread`, or the scores of any model), higher is better, and returns one number per network, higher is more
worth training. Forecasts count as normal and, but for `thompson_samples` with a covariance, as independent.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from archcast.errors import ConfigError, DataError

FloatArray = NDArray[np.float64]

_GRID = 512  # points of the quadrature over the value of the best network
_REACH = 8.0  # standard deviations it covers on either side


def expected_improvement(mean: ArrayLike, spread: ArrayLike, best: float, *, margin: float = 0.0) -> FloatArray:
    """`[m]` E[max(f - best - margin, 0)], in the unit of `mean`.

        EI = (mean - best - margin) Phi(z) + spread phi(z),   z = (mean - best - margin) / spread

    (Mockus, 1978; Jones, Schonlau & Welch, "Efficient global optimization", 1998, eq. 15.)

    Args:
        best: the best value measured so far.
        margin: what an improvement must exceed to count; more means wider search.
    """
    from scipy.special import ndtr

    mean, spread = _pair(mean, spread)
    gain = mean - best - margin
    z = _ratio(gain, spread)
    density = np.exp(-0.5 * z**2) / np.sqrt(2 * np.pi)
    return np.asarray(np.where(spread > 0, np.maximum(gain * ndtr(z) + spread * density, 0), np.maximum(gain, 0)))


def probability_of_improvement(mean: ArrayLike, spread: ArrayLike, best: float, *, margin: float = 0.0) -> FloatArray:
    """`[m]` P(f > best + margin) = Phi((mean - best - margin) / spread) (Kushner, 1964); 0 or 1 without spread."""
    from scipy.special import ndtr

    mean, spread = _pair(mean, spread)
    gain = mean - best - margin
    return np.asarray(np.where(spread > 0, ndtr(_ratio(gain, spread)), (gain > 0).astype(np.float64)))


def upper_confidence_bound(mean: ArrayLike, spread: ArrayLike, *, weight: float = 2.0) -> FloatArray:
    """`[m]` mean + weight spread (Srinivas et al., "Gaussian process optimization in the bandit setting", 2010)."""
    mean, spread = _pair(mean, spread)
    return mean + weight * spread


def probability_of_best(mean: ArrayLike, spread: ArrayLike) -> FloatArray:
    """`[m]` probability that a network is the best of these, summing to 1.

    By quadrature over the value of the best, for independent normal forecasts:

        P(i is best) = integral phi((x - mean_i) / spread_i) / spread_i prod_{j != i} Phi((x - mean_j) / spread_j) dx

    Networks of equal forecast without any spread share their part. Linear in m; nothing is drawn.
    """
    from scipy.special import log_ndtr

    mean, spread = _pair(mean, spread)
    scale = max(float(spread.max()), float(np.ptp(mean)), 1e-300)
    width = np.maximum(spread, 1e-6 * scale)  # a sharp forecast is a narrow normal one
    # Nobody is best below the network whose lower end is highest.
    low, high = float((mean - _REACH * width).max()), float((mean + _REACH * width).max())
    middles = np.unique(np.concatenate([np.linspace(low, high, _GRID), _around_ends(mean, width, low, high)]))
    centre, step = (middles[1:] + middles[:-1]) / 2, np.diff(middles)
    everyone = np.zeros(len(centre))
    for start in range(0, len(mean), 4096):
        part = slice(start, start + 4096)
        everyone += log_ndtr((centre - mean[part, None]) / width[part, None]).sum(axis=0)
    chances = np.zeros(len(mean))
    for start in range(0, len(mean), 4096):
        part = slice(start, start + 4096)
        z = (centre - mean[part, None]) / width[part, None]
        own = -0.5 * z**2 - np.log(width[part, None]) - log_ndtr(z)
        chances[part] = np.exp(np.minimum(own + everyone, 700.0)) @ step
    return np.asarray(chances / max(float(chances.sum()), 1e-300))


def thompson_samples(
    mean: ArrayLike, spread: ArrayLike, count: int, *, covariance: ArrayLike | None = None, seed: int = 0
) -> FloatArray:
    """`[count, m]` draws of all values together; the best of each draw is a Thompson choice (Thompson, 1933).

    Args:
        covariance: `[m, m]` correlations of the forecasts; independent when left out.

    Raises:
        ConfigError: no draw is asked for.
        DataError: `covariance` is of another size.
    """
    mean, spread = _pair(mean, spread)
    if count < 1:
        raise ConfigError(f"count={count}: ask for at least one draw")
    draws = np.random.default_rng(seed).normal(size=(count, len(mean)))
    if covariance is None:
        return np.asarray(mean + spread * draws)
    joint = np.asarray(covariance, dtype=np.float64)
    if joint.shape != (len(mean), len(mean)):
        raise DataError(f"covariance has shape {joint.shape} for {len(mean)} networks; give one row and column each")
    values, vectors = np.linalg.eigh(joint)
    return np.asarray(mean + draws @ (vectors * np.sqrt(np.maximum(values, 0))).T)


def _around_ends(mean: FloatArray, width: FloatArray, low: float, high: float) -> FloatArray:
    """Further grid points where the leading forecasts are, so that narrow ones are not stepped over."""
    leaders = np.argsort(-(mean + 2 * width), kind="stable")[:32]
    steps = np.linspace(-4, 4, 65)
    points = (mean[leaders, None] + width[leaders, None] * steps).ravel()
    return np.asarray(points[(points > low) & (points < high)])


def _ratio(gain: FloatArray, spread: FloatArray) -> FloatArray:
    return np.asarray(gain / np.where(spread > 0, spread, 1.0))


def _pair(mean: ArrayLike, spread: ArrayLike) -> tuple[FloatArray, FloatArray]:
    left, right = np.asarray(mean, dtype=np.float64), np.asarray(spread, dtype=np.float64)
    if left.ndim != 1 or left.shape != right.shape or not len(left):
        raise DataError(f"mean has shape {left.shape} and spread {right.shape}; give two equally long lists")
    if not np.isfinite(left).all() or not np.isfinite(right).all() or (right < 0).any():
        raise DataError("mean and spread must be finite and spread not negative; a predictor without labels has none")
    return left, right
