"""How good a forecast is: rank agreement, regret of the picks, coverage of the intervals.

All functions take `truth` and `forecast` as `[n]` arrays, higher is better. A NaN raises `DataError`.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from archcast.errors import ConfigError, DataError
from archcast.graphs.graph import GraphBatch

FloatArray = NDArray[np.float64]

BASELINES = ("#params", "MACs", "rank mean")
"""What every table shows beside a learned forecast; `rank mean` is the mean of the ranks of the other two."""

_SUBSAMPLE = 1000


def kendall_tau(truth: ArrayLike, forecast: ArrayLike) -> float:
    """Kendall's tau-b in -1..1: (concordant - discordant pairs) / pairs, tie-corrected; 0 if one side is constant."""
    from scipy.stats import kendalltau

    truth, forecast = _pair(truth, forecast)
    return _or_zero(kendalltau(truth, forecast).statistic) if _varies(truth, forecast) else 0.0


def spearman(truth: ArrayLike, forecast: ArrayLike) -> float:
    """Spearman's rho in -1..1: the correlation of ranks, ties averaged; 0 if one side is constant."""
    truth, forecast = _pair(truth, forecast)
    if not _varies(truth, forecast):
        return 0.0
    return float(np.corrcoef(ranks(truth), ranks(forecast))[0, 1])


def ranks(values: ArrayLike) -> FloatArray:
    """`[n]` ranks from 1 (lowest) to n, ties averaged."""
    values = np.asarray(values)
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    average: FloatArray = ((last - counts + 1 + last) / 2)[inverse]
    return average


def top_k_regret(truth: ArrayLike, forecast: ArrayLike, k: int = 10) -> float:
    """Best true value of all minus the best among the `k` networks forecast highest, in the unit of `truth`.

    0 means that whoever trains the top `k` finds the best network. Ties at the k-th place go to the earlier row.
    """
    truth, forecast = _pair(truth, forecast)
    return float(truth.max() - truth[_top(forecast, k)].max())


def n_at_k(truth: ArrayLike, forecast: ArrayLike, k: int = 10) -> int:
    """N@K: the true rank (1 is the best) of the best network among the `k` forecast highest."""
    truth, forecast = _pair(truth, forecast)
    return int((truth > truth[_top(forecast, k)].max()).sum()) + 1


def coverage(truth: ArrayLike, low: ArrayLike, high: ArrayLike) -> float:
    """Share of true values inside their interval; NaN if no interval is finite (nothing was promised)."""
    truth, low, high = (np.asarray(values, dtype=np.float64) for values in (truth, low, high))
    if not np.isfinite(low).any() and not np.isfinite(high).any():
        return float("nan")
    return float(((truth >= low) & (truth <= high)).mean())


def bootstrap_draws(
    truth: ArrayLike, forecast: ArrayLike, inside: ArrayLike | None = None, *, resamples: int = 1000, seed: int = 0
) -> Mapping[str, FloatArray]:
    """`resamples` bootstrap values of tau, rho and (given the indicator `inside`) coverage over networks.

    An m-out-of-n bootstrap: each resample draws m = min(n, 1000) networks with replacement and its deviation from
    the full figure is shrunk by sqrt(m / n) (Bickel, Goetze and van Zwet, 1997). That is valid for these smooth
    statistics and costs about a second for 1,000 resamples whatever n is. Regret is an extreme value, for which no
    bootstrap over networks is valid: its spread is only taken over seeds.

    The draws of two forecasts of the same `truth` use the same resamples and can be compared one by one.
    """
    if resamples < 1:
        raise ConfigError(f"resamples must be at least 1, not {resamples}")
    truth, forecast = _pair(truth, forecast)
    size = min(len(truth), _SUBSAMPLE)
    rows = np.random.default_rng(seed).integers(0, len(truth), size=(resamples, size))
    shrink = np.sqrt(size / len(truth))

    def spread(full: float, draws: FloatArray) -> FloatArray:
        return np.asarray(full + shrink * (draws - full))

    tau = np.asarray([kendall_tau(truth[row], forecast[row]) for row in rows])
    rho = np.asarray([spearman(truth[row], forecast[row]) for row in rows])
    draws = {"tau": spread(kendall_tau(truth, forecast), tau), "rho": spread(spearman(truth, forecast), rho)}
    if inside is not None:
        hits = np.asarray(inside, dtype=np.float64)
        draws["coverage"] = spread(float(hits.mean()), hits[rows].mean(axis=1))
    return MappingProxyType(draws)


def interval(draws: ArrayLike, level: float = 0.95) -> tuple[float, float]:
    """Percentile interval of bootstrap draws."""
    low, high = np.quantile(np.asarray(draws), [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def baseline_scores(graphs: GraphBatch) -> dict[str, FloatArray]:
    """Name of `BASELINES` -> `[n]` scores."""
    params, macs = graphs.params.astype(np.float64), graphs.macs.astype(np.float64)
    return dict(zip(BASELINES, (params, macs, (ranks(params) + ranks(macs)) / 2), strict=True))


def _top(forecast: FloatArray, k: int) -> NDArray[Any]:
    if k < 1:
        raise ConfigError(f"k must be at least 1, not {k}")
    return np.argsort(-forecast, kind="stable")[:k]


def _pair(truth: ArrayLike, forecast: ArrayLike) -> tuple[FloatArray, FloatArray]:
    left, right = np.asarray(truth, dtype=np.float64), np.asarray(forecast, dtype=np.float64)
    if left.ndim != 1 or left.shape != right.shape or not len(left):
        raise DataError(f"truth has shape {left.shape} and forecast {right.shape}; give two equally long lists")
    for name, values in (("truth", left), ("forecast", right)):
        if np.isnan(values).any():
            raise DataError(f"{name} holds {int(np.isnan(values).sum())} NaN; drop those networks first")
    return left, right


def _varies(*arrays: FloatArray) -> bool:
    return all((values != values[0]).any() for values in arrays)


def _or_zero(value: float) -> float:
    return float(value) if np.isfinite(value) else 0.0
