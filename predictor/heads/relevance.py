"""Automatic relevance: how much each feature counts, by the labels at hand.

The weights w of the columns maximise the marginal likelihood of a Gaussian process of kernel matern32(|w (x - z)|)
(MacKay, "Bayesian methods for backpropagation networks", 1994; Rasmussen & Williams, 2006, section 5.1), under a prior
that keeps them near what is known from elsewhere:

    log w = log base + u_group + v_column,   u ~ N(0, 3^2),  v ~ N(0, 1)

Columns that measure one thing share u. The amplitude is the most likely one, in closed form; with M = dL/dK,
Q = M o dK/d(distance^2) and column z, the gradient is dL/d(w^2) = 2 sum_i z_i^2 (Q 1)_i - 2 z' Q z, for all columns
by one matrix product.
"""

from __future__ import annotations

import re
from typing import Final

import numpy as np
from numpy.typing import NDArray

from archcast.encoders.features import FEATURE_NAMES

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

_ROWS: Final = 400  # labels that are looked at: time grows with the cube
_STEPS: Final = 30
_COLUMN_DEVIATION, _GROUP_DEVIATION, _SIZE_DEVIATION = 1.0, 3.0, 2.0  # of the priors, in logarithms
_FARTHEST: Final = 8.0  # from the middle of a prior: a first step can be much too long
_LENGTH, _NOISE = float(np.log(2.0)), -3.0  # where log length and log noise share start
_SQRT3: Final = 3.0**0.5


def feature_groups(width: int) -> IntArray:
    """`[width]` group of each input column: those of the features by name, every further column one of its own.

    Columns that are not those of `encode` (fewer than it has) are one group.
    """
    if width < len(FEATURE_NAMES):
        return np.zeros(width, dtype=np.int64)
    _, numbers = np.unique([_group_of(name) for name in FEATURE_NAMES], return_inverse=True)
    return np.concatenate([numbers, numbers.max() + 1 + np.arange(width - len(FEATURE_NAMES))]).astype(np.int64)


def _group_of(name: str) -> str:
    """The columns that measure one thing: of one statistic of paths, motifs of one length, all of a family."""
    family, _, rest = name.partition("/")
    if family in ("path", "total"):
        return f"{family}/{re.split('[ _]', rest)[0]}"
    if family == "motif":
        return f"motif/{'mean' if rest.startswith('mean') else rest.count('>')}"
    if family == "edge":
        return f"edge/{'>' in rest}"
    return family


def learn_relevance(rows: FloatArray, targets: FloatArray, groups: IntArray, base: FloatArray) -> FloatArray:
    """`[d]` weights of the columns, of mean square 1.

    Args:
        rows: `[n, d]` standardised; the first 400 are looked at.
        targets: `[n]` of mean zero.
        groups: `[d]` group of each column.
        base: `[d]` positive weights to start from and to stay near.
    """
    from scipy.optimize import minimize

    problem = _Problem(rows[:_ROWS], targets[:_ROWS], groups, base)
    bounds = [(middle - _FARTHEST, middle + _FARTHEST) for middle in problem.centre]
    found = minimize(
        problem, problem.centre, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": _STEPS}
    )  # fmt: skip
    weights = problem.weights(found.x)
    return np.asarray(weights / np.sqrt((weights**2).mean()))


class _Problem:
    """Minus log posterior of (v, u, log length, log noise share), and its gradient."""

    def __init__(self, rows: FloatArray, targets: FloatArray, groups: IntArray, base: FloatArray) -> None:
        self.rows, self.squares, self.targets = rows, rows**2, targets
        _, self.groups = np.unique(groups, return_inverse=True)
        self.base = np.log(base / np.sqrt((base**2).mean()))
        self.columns, self.parts = len(base), int(self.groups.max()) + 1
        self.centre = np.concatenate([np.zeros(self.columns + self.parts), [_LENGTH, _NOISE]])
        deviations = np.repeat([_COLUMN_DEVIATION, _GROUP_DEVIATION, _SIZE_DEVIATION], [self.columns, self.parts, 2])
        self.precision = deviations**-2

    def weights(self, point: FloatArray) -> FloatArray:
        """`[d]` weights of the columns, not yet of mean square 1."""
        groups = point[self.columns : self.columns + self.parts][self.groups]
        return np.asarray(np.exp(self.base + point[: self.columns] + groups))

    def __call__(self, point: FloatArray) -> tuple[float, FloatArray]:
        from scipy.linalg import lapack

        length, noise = np.exp(point[-2]), np.exp(point[-1])
        squared = (self.weights(point) / length) ** 2 / self.columns
        scaled = self.rows * np.sqrt(squared)
        sizes = (scaled**2).sum(axis=1)
        r = _SQRT3 * np.sqrt(np.maximum(sizes[:, None] + sizes - 2 * scaled @ scaled.T, 0))
        decay = np.exp(-r)
        kernel = (1 + r) * decay
        np.fill_diagonal(kernel, 1 + noise)
        factor, failed = lapack.dpotrf(kernel, lower=1)
        away = point - self.centre
        if failed:  # a step far too long: the line search takes a shorter one
            return 1e12, self.precision * away
        inverse, _ = lapack.dpotri(factor, lower=1)
        inverse = np.tril(inverse) + np.tril(inverse, -1).T
        solved = inverse @ self.targets
        amplitude = max(float(self.targets @ solved) / len(solved), 1e-12)
        loss = 0.5 * len(solved) * np.log(amplitude) + np.log(np.diag(factor)).sum()
        by_kernel = 0.5 * (inverse - np.outer(solved, solved) / amplitude)
        by_distance = by_kernel * (-1.5 * decay)
        np.fill_diagonal(by_distance, 0)
        by_square = 2 * (self.squares * by_distance.sum(axis=1)[:, None]).sum(axis=0)
        by_square -= 2 * (self.rows * (by_distance @ self.rows)).sum(axis=0)
        by_column = 2 * by_square * squared
        ends = [-by_column.sum(), np.trace(by_kernel) * noise]
        gradient = np.concatenate([by_column, np.bincount(self.groups, by_column, self.parts), ends])
        return float(loss + 0.5 * (self.precision * away**2).sum()), gradient + self.precision * away
