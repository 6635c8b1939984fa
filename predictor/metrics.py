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

    Tau and rho are U-statistics: to first order they are means of one influence value per network (Hoeffding, 1948).
    Those values are computed on m = min(n, 1000) random networks, resampled, and their mean is scaled by sqrt(m / n):

        draw = full figure + sqrt(m / n) * mean of m values drawn with replacement

    which takes a tenth of a second whatever n is. Regret is an extreme value, for which no bootstrap over networks is
    valid: its spread is only taken over seeds.

    The draws of two forecasts of the same `truth` use the same resamples and can be compared one by one.
    """
    if resamples < 1:
        raise ConfigError(f"resamples must be at least 1, not {resamples}")
    truth, forecast = _pair(truth, forecast)
    rng = np.random.default_rng(seed)
    chosen = rng.permutation(len(truth))[:_SUBSAMPLE]
    influence = dict(zip(("tau", "rho"), _influences(truth[chosen], forecast[chosen]), strict=True))
    full = {"tau": kendall_tau(truth, forecast), "rho": spearman(truth, forecast)}
    if inside is not None:
        hits = np.asarray(inside, dtype=np.float64)
        full["coverage"], influence["coverage"] = float(hits.mean()), hits[chosen] - hits[chosen].mean()
    rows = rng.integers(0, len(chosen), size=(resamples, len(chosen)))
    shrink = np.sqrt(len(chosen) / len(truth))
    return MappingProxyType({name: full[name] + shrink * influence[name][rows].mean(axis=1) for name in full})


def _influences(truth: FloatArray, forecast: FloatArray) -> tuple[FloatArray, FloatArray]:
    """`[m]` influence of each network on tau-b and on rho, mean zero; the tie corrections count as fixed."""
    if not _varies(truth, forecast):
        return np.zeros(len(truth)), np.zeros(len(truth))
    left, right = (np.sign(values[:, None] - values[None, :]) for values in (truth, forecast))
    concordance = (left * right).mean(axis=1)
    untied = np.sqrt((left != 0).mean() * (right != 0).mean())
    # Mean signs are centred ranks; besides its own product, a network moves the ranks of all others.
    u, v = left.mean(axis=1), right.mean(axis=1)
    products = u * v - (left * v).mean(axis=1) - (right * u).mean(axis=1)
    return _centred(2 * concordance / untied), _centred(products / np.sqrt((u**2).mean() * (v**2).mean()))


def _centred(values: FloatArray) -> FloatArray:
    centred: FloatArray = values - values.mean()
    return centred


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
