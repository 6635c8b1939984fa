"""Which networks to label next, so that few labels rank the whole pool.

The posterior covariance of a Gaussian process depends on where labels are, not on what they say. The worth of a label
is thus known before it is paid for, as how much less uncertain the whole pool will be (ALC: Cohn, "Neural network
exploration using optimal experiment design", 1994; Seo et al., "Gaussian process regression: active data selection"),

    gain_j = sum_i C_ij^2 / (C_jj + s),   then   C <- C - C_.j C_j. / (C_jj + s)

greedily, one network after the other, with exact updates of rank one. Before there are labels, the kernel counts all
features alike (or as the kernel prior says); afterwards it is the mean of that and of the one the labels taught.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from archcast.errors import ConfigError
from archcast.predictor.heads.gaussian_process import AutomaticProcessHead, matern

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

_POOL: Final = 1500  # candidates that are looked at: time and memory grow with the square
_LENGTH: Final = 2.0
_NOISE: Final = 0.05  # variance of a label's noise over that of the scores
_CLIP: Final = 4.0


def choose(
    candidates: NDArray[np.float32],
    count: int,
    *,
    labelled: NDArray[np.float32] | None = None,
    process: AutomaticProcessHead | None = None,
    metric: FloatArray | None = None,
    seed: int = 0,
) -> IntArray:
    """Positions of `count` of `candidates` `[m, F]`, the most useful first.

    Args:
        labelled: `[n, F]` networks whose labels are known already.
        process: what those labels taught; its metric is then counted beside equal weights.
        metric: `[F]` weights of the features instead of equal ones.
        seed: of the random 1,500 that stand for larger pools, of candidates and of labelled networks alike.

    Raises:
        ConfigError: fewer candidates than `count`, or `count` below 1.
    """
    if not 1 <= count <= len(candidates):
        raise ConfigError(f"count={count}: choose at least 1 and at most the {len(candidates)} candidates")
    rng = np.random.default_rng(seed)
    some = np.sort(rng.permutation(len(candidates))[: max(_POOL, count)])
    known = np.zeros((0, candidates.shape[1])) if labelled is None else labelled[rng.permutation(len(labelled))[:_POOL]]
    rows = np.concatenate([known, candidates[some]]).astype(np.float64)
    kernel = _kernel(rows, metric)
    if process is not None and len(process.columns):
        kernel = (kernel + process.correlation(rows)) / 2
    picks = _greedy(kernel, count, len(known))
    return np.asarray(some[picks], dtype=np.int64)


def _kernel(rows: FloatArray, metric: FloatArray | None) -> FloatArray:
    """`[n, n]` correlations in standardised features."""
    spread = rows.std(axis=0)
    columns = np.flatnonzero(spread > 1e-6)
    if not len(columns):
        return np.ones((len(rows), len(rows)))
    standard = np.clip((rows[:, columns] - rows[:, columns].mean(axis=0)) / spread[columns], -_CLIP, _CLIP)
    if metric is not None:
        weights = metric[columns]
        standard = standard * (weights / np.sqrt((weights**2).mean()))
    sizes = (standard**2).mean(axis=1)
    squared = sizes[:, None] + sizes - 2 * standard @ standard.T / len(columns)
    return matern(np.sqrt(np.maximum(squared, 0)) / _LENGTH)


def _greedy(kernel: FloatArray, count: int, known: int) -> list[int]:
    """Positions, behind the first `known` rows, that take most of the variance of the rows behind them."""
    covariance = kernel
    if known:
        inside = kernel[:known, :known] + _NOISE * np.eye(known)
        across = kernel[:known, known:]
        covariance = kernel[known:, known:] - across.T @ np.linalg.solve(inside, across)
    picks: list[int] = []
    for _ in range(count):
        variance = np.diag(covariance)
        gain = (covariance**2).sum(axis=0) / (variance + _NOISE)
        gain[picks] = -1
        best = int(gain.argmax())
        column = covariance[:, best].copy()
        covariance = covariance - np.outer(column, column) / (column[best] + _NOISE)
        picks.append(best)
    return picks
