"""Gaussian process head: the smoothest guess from few labels.

Matern kernel between standardised feature rows x, z with d columns:

    k(x, z) = matern32(|x - z| / (l * sqrt(d))),  matern32(r) = (1 + sqrt(3) r) exp(-sqrt(3) r)

The observations have covariance a * (K + s I). For each length l of a grid, K is decomposed once; amplitude a
and noise share s then maximise the marginal likelihood, in closed form and over a grid. The predictions of the
lengths are averaged by their likelihood, which costs nothing and spares a choice that 50 labels cannot make.
(Rasmussen & Williams, "Gaussian Processes for Machine Learning", 2006, sections 2.2, 4.2, 5.4.)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

_SQRT3 = 3.0**0.5
_CLIP = 4.0  # standard deviations: one odd network must not stretch every distance
_LENGTHS = np.geomspace(0.5, 16.0, 6)
_NOISES = np.geomspace(1e-4, 10.0, 26)
_LIKELIHOOD_ROWS = 400  # rows that choose length and noise: decompositions of all would cost most of the time
_MIN_SHARE = 0.01  # lengths of a smaller posterior share are dropped


@dataclass(frozen=True)
class GaussianProcessHead:
    """A fitted Gaussian process. Build it with `GaussianProcessHead.fit`.

    Attributes:
        columns: `[d]` feature columns in use.
        center, scale: `[d]` standardisation.
        inputs: `[n, d]` standardised training rows.
        lengths, shares: `[L]` kernel lengths and their posterior shares.
        weights: `[L, n]` kernel weights of the posterior mean.
        mean: mean of the targets.
    """

    columns: NDArray[np.int64]
    center: FloatArray
    scale: FloatArray
    inputs: FloatArray
    lengths: FloatArray
    shares: FloatArray
    weights: FloatArray
    mean: float

    @classmethod
    def fit(
        cls, features: FloatArray, targets: FloatArray, *, max_rows: int = 1600, seed: int = 0
    ) -> GaussianProcessHead:
        """Fit to `features` `[n, F]` and `targets` `[n]`.

        Args:
            max_rows: above this many rows a random subset is used (time grows with the cube).
            seed: of that subset.
        """
        if len(targets) > max_rows:
            chosen = np.random.default_rng(seed).choice(len(targets), max_rows, replace=False)
            features, targets = features[chosen], targets[chosen]
        columns = np.flatnonzero(features.std(axis=0) > 1e-6)
        center, scale = features[:, columns].mean(axis=0), features[:, columns].std(axis=0)
        inputs = _standardise(features[:, columns], center, scale)
        mean = float(targets.mean())
        centred = targets - mean
        few = np.random.default_rng(seed).permutation(len(targets))[:_LIKELIHOOD_ROWS]
        distance = _distance(inputs[few], inputs[few])
        fits = [_best_noise(_matern(distance / length), centred[few]) for length in _LENGTHS]
        likelihood = np.asarray([fit.likelihood for fit in fits])
        shares = np.exp(likelihood - likelihood.max())
        kept = np.flatnonzero(shares >= _MIN_SHARE * shares.sum())
        shares = shares[kept] / shares[kept].sum()
        distance = _distance(inputs, inputs)
        weights = [_solve(_matern(distance / _LENGTHS[i]), fits[i].noise, centred) for i in kept]
        return cls(columns, center, scale, inputs, _LENGTHS[kept], shares, np.stack(weights), mean)

    def predict(self, features: FloatArray, chunk: int = 4096) -> FloatArray:
        """`[m]` posterior means of `features` `[m, F]`."""
        parts = [self._means(features[start : start + chunk]) for start in range(0, len(features), chunk)]
        return np.concatenate([np.zeros(0), *parts])

    def _means(self, features: FloatArray) -> FloatArray:
        rows = _standardise(features[:, self.columns], self.center, self.scale)
        distance = _distance(rows, self.inputs)
        mixed = sum(
            share * (_matern(distance / length) @ weights)
            for share, length, weights in zip(self.shares, self.lengths, self.weights, strict=True)
        )
        return np.asarray(mixed + self.mean)


def _standardise(features: FloatArray, center: FloatArray, scale: FloatArray) -> FloatArray:
    return np.clip((features - center) / scale, -_CLIP, _CLIP)


def _distance(left: FloatArray, right: FloatArray) -> FloatArray:
    """`[m, n]` Euclidean distances / sqrt(d), by one matrix product (ten times faster than pairwise loops)."""
    squared = left @ (-2 * right.T)
    squared += (left**2).sum(axis=1)[:, None]
    squared += (right**2).sum(axis=1)
    np.maximum(squared, 0, out=squared)
    squared /= max(left.shape[1], 1)
    return np.asarray(np.sqrt(squared, out=squared))


def _matern(distance: FloatArray) -> FloatArray:
    r = _SQRT3 * distance
    decay = np.exp(-r)
    r += 1
    r *= decay
    return r


@dataclass(frozen=True)
class _NoiseFit:
    likelihood: float
    noise: float


def _best_noise(kernel: FloatArray, targets: FloatArray) -> _NoiseFit:
    """Log marginal likelihood at the most likely noise share s, and that share.

    With K = V diag(e) V' and b = V't: the most likely amplitude is a = mean(b^2 / (e + s)), and the log likelihood is
    -n/2 log a - 1/2 sum log(e + s) + constant.
    """
    from scipy.linalg import eigh

    values, vectors = eigh(kernel, check_finite=False, driver="evd")
    projected = vectors.T @ targets
    spectra = np.maximum(values, 0)[:, None] + _NOISES
    amplitude = np.maximum((projected[:, None] ** 2 / spectra).mean(axis=0), 1e-12)
    likelihood = -0.5 * (len(targets) * np.log(amplitude) + np.log(spectra).sum(axis=0))
    best = int(likelihood.argmax())
    return _NoiseFit(float(likelihood[best]), float(_NOISES[best]))


def _solve(kernel: FloatArray, noise: float, targets: FloatArray) -> FloatArray:
    """Kernel weights of the posterior mean."""
    from scipy.linalg import cho_factor, cho_solve

    kernel[np.diag_indices_from(kernel)] += noise
    return np.asarray(cho_solve(cho_factor(kernel, lower=True, check_finite=False), targets, check_finite=False))
