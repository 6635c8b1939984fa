"""Ridge head: the linear guess, its strength chosen by closed-form leave-one-out error."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

_STRENGTHS = np.geomspace(1e-1, 1e5, 25)
_CLIP = 4.0


@dataclass(frozen=True)
class RidgeHead:
    """`score = (x - center) / scale @ weights + mean`. Build it with `RidgeHead.fit`."""

    center: FloatArray
    scale: FloatArray
    weights: FloatArray
    mean: float

    @classmethod
    def fit(cls, features: FloatArray, targets: FloatArray) -> RidgeHead:
        """Fit to `features` `[n, F]`, `targets` `[n]`.

        With X = U diag(s) V' and shrinkage h(a) = s^2 / (s^2 + a), the leave-one-out residual of row i is
        (t_i - fit_i) / (1 - 1/n - (U^2 h)_i); the strength a of the smallest mean square is taken.
        """
        center, scale = features.mean(axis=0), features.std(axis=0)
        scale = np.where(scale > 1e-6, scale, np.inf)  # constant columns get no weight
        rows = np.clip((features - center) / scale, -_CLIP, _CLIP)
        mean = float(targets.mean())
        u, s, vt = np.linalg.svd(rows, full_matrices=False)
        projected = u.T @ (targets - mean)
        shrink = s[:, None] ** 2 / (s[:, None] ** 2 + _STRENGTHS)
        residual = (targets - mean)[:, None] - u @ (shrink * projected[:, None])
        leverage = np.minimum(1 / len(targets) + (u**2) @ shrink, 1 - 1e-6)
        best = int(((residual / (1 - leverage)) ** 2).mean(axis=0).argmin())
        weights = vt.T @ (s / (s**2 + _STRENGTHS[best]) * projected)
        return cls(center, scale, weights, mean)

    def predict(self, features: FloatArray) -> FloatArray:
        """`[m]` scores of `features` `[m, F]`."""
        rows = np.clip((features - self.center) / self.scale, -_CLIP, _CLIP)
        return np.asarray(rows @ self.weights + self.mean)
