"""Gaussian process head: the smoothest guess from few labels.

Matern kernel between standardised feature rows x, z with d columns:

    k(x, z) = matern32(|x - z| / (l * sqrt(d))),  matern32(r) = (1 + sqrt(3) r) exp(-sqrt(3) r)

Where some of the columns are measured statistics, they have a distance and a kernel of their own, so that a few of them
are not drowned by hundreds of features; each length is tried with the kernel of the features and with the sum of both.

The observations have covariance a * (K + s I). For each length l of a grid, K is decomposed once; amplitude a
and noise share s then maximise the marginal likelihood, in closed form and over a grid. The predictions of the
kernels are averaged by their likelihood, which costs nothing and spares a choice that 50 labels cannot make.
(Rasmussen & Williams, "Gaussian Processes for Machine Learning", 2006, sections 2.2, 4.2, 5.4.)
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from archcast.predictor.heads.networks import Networks

FloatArray = NDArray[np.float64]

_SQRT3 = 3.0**0.5
_CLIP = 4.0  # standard deviations: one odd network must not stretch every distance
_LENGTHS = np.geomspace(0.5, 16.0, 6)
_NOISES = np.geomspace(1e-4, 10.0, 26)
_LIKELIHOOD_ROWS = 400  # rows that choose length and noise: decompositions of all would cost most of the time
_MIN_SHARE = 0.01  # lengths of a smaller posterior share are dropped
_SPREAD_ROWS = 400  # training rows that narrow the posterior: time grows with their square for every network asked


@dataclass(frozen=True)
class GaussianProcessHead:
    """A fitted Gaussian process. Build it with `GaussianProcessHead.fit`.

    Attributes:
        columns: `[d]` feature columns in use.
        center, scale: `[d]` standardisation.
        inputs: `[n, d]` standardised training rows.
        lengths, shares: `[L]` kernel lengths and their posterior shares.
        joint: `[L]` 1 where the kernel is the sum of both, 0 where measured columns do not count.
        weights: `[L, n]` kernel weights of the posterior mean.
        mean: mean of the targets.
        measured: how many of the columns in use, the last ones, are measured statistics.
    """

    columns: NDArray[np.int64]
    center: FloatArray
    scale: FloatArray
    inputs: FloatArray
    lengths: FloatArray
    shares: FloatArray
    joint: FloatArray
    weights: FloatArray
    mean: float
    measured: float = 0

    @classmethod
    def fit(
        cls, networks: Networks, targets: FloatArray, *, seed: int = 0, max_rows: int = 1600
    ) -> GaussianProcessHead:
        """Fit to `networks` and `targets` `[n]`.

        Args:
            max_rows: above this many rows a random subset is used (time grows with the cube).
            seed: of that subset.
        """
        features, measured = networks.features, networks.measured
        if len(targets) > max_rows:
            chosen = np.random.default_rng(seed).choice(len(targets), max_rows, replace=False)
            features, targets = features[chosen], targets[chosen]
        columns = np.flatnonzero(features.std(axis=0) > 1e-6)
        center, scale = features[:, columns].mean(axis=0), features[:, columns].std(axis=0)
        inputs = _standardise(features[:, columns], center, scale)
        kept = int((columns >= features.shape[1] - measured).sum())
        mean = float(targets.mean())
        centred = targets - mean
        few = np.random.default_rng(seed).permutation(len(targets))[:_LIKELIHOOD_ROWS]
        forms = [(length, joint) for joint in ((0.0, 1.0) if kept else (0.0,)) for length in _LENGTHS]
        distances = _distances(inputs[few], inputs[few], kept)
        fits = [_best_noise(_kernel(distances, *form), centred[few]) for form in forms]
        likelihood = np.asarray([fit.likelihood for fit in fits])
        shares = np.exp(likelihood - likelihood.max())
        best = np.flatnonzero(shares >= _MIN_SHARE * shares.sum())
        shares = shares[best] / shares[best].sum()
        distances = _distances(inputs, inputs, kept)
        weights = [_solve(_kernel(distances, *forms[i]), fits[i].noise, centred) for i in best]
        lengths, joint = np.asarray([forms[i] for i in best]).T
        return cls(columns, center, scale, inputs, lengths, shares, joint, np.stack(weights), mean, float(kept))

    def predict(self, networks: Networks, chunk: int = 4096) -> FloatArray:
        """`[m]` posterior means."""
        features = networks.features
        parts = [self._means(features[start : start + chunk]) for start in range(0, len(features), chunk)]
        return np.concatenate([np.zeros(0), *parts])

    def _means(self, features: FloatArray) -> FloatArray:
        rows = _standardise(features[:, self.columns], self.center, self.scale)
        distances = _distances(rows, self.inputs, int(self.measured))
        mixed = sum(
            share * (_kernel(distances, length, joint) @ weights)
            for share, length, joint, weights in zip(self.shares, self.lengths, self.joint, self.weights, strict=True)
        )
        return np.asarray(mixed + self.mean)

    def spread(self, networks: Networks, chunk: int = 4096) -> FloatArray:
        """`[m]` posterior standard deviations of the scores, without the noise of a label.

        That of the mixture over kernels i of share p_i, so that kernels that disagree count (Rasmussen & W., 2.26):

            v_i = a_i (k_i(x, x) - k_i(x)' (K_i + s_i I)^-1 k_i(x)),   sqrt(sum p_i (v_i + m_i^2) - (sum p_i m_i)^2)

        More than 400 training rows are thinned to 400, which makes it an upper bound.
        """
        features = networks.features
        parts = [self._spreads(features[start : start + chunk]) for start in range(0, len(features), chunk)]
        return np.concatenate([np.zeros(0), *parts])

    def _spreads(self, features: FloatArray) -> FloatArray:
        from scipy.linalg import solve_triangular

        rows = _standardise(features[:, self.columns], self.center, self.scale)
        distances = _distances(rows, self.inputs, int(self.measured))
        kept, factors, amplitudes = self._posterior
        means, variances = [], []
        for i, (length, joint) in enumerate(zip(self.lengths, self.joint, strict=True)):
            kernel = _kernel(distances, length, joint)
            explained = solve_triangular(factors[i], kernel[:, kept].T, lower=True, check_finite=False)
            means.append(kernel @ self.weights[i])
            variances.append(amplitudes[i] * np.maximum(1 + joint - (explained**2).sum(axis=0), 0))
        second = self.shares @ (np.stack(variances) + np.stack(means) ** 2)
        return np.asarray(np.sqrt(np.maximum(second - (self.shares @ np.stack(means)) ** 2, 0)))

    @cached_property
    def _posterior(self) -> tuple[NDArray[np.int64], FloatArray, FloatArray]:
        """`[q]` the rows that count, `[L, q, q]` Cholesky factors of K + s I among them, and `[L]` amplitudes a.

        Nothing of this is stored, because the weights w = (K + s I)^-1 t tell it: the centred targets t = K w + s w sum
        to zero, so s = -sum(K w) / sum(w), and the most likely amplitude is a = t' (K + s I)^-1 t / n = t'w / n.
        """
        from scipy.linalg import cholesky

        kept = np.sort(np.random.default_rng(0).permutation(len(self.inputs))[:_SPREAD_ROWS])
        distances = _distances(self.inputs, self.inputs, int(self.measured))
        factors, amplitudes = [], []
        for length, joint, weights in zip(self.lengths, self.joint, self.weights, strict=True):
            kernel = _kernel(distances, length, joint)
            smooth, total = kernel @ weights, float(weights.sum())
            noise = -float(smooth.sum()) / total if abs(total) > 0 else _NOISES[-1]
            noise = float(np.clip(noise, _NOISES[0], _NOISES[-1]))
            amplitudes.append(max(float(weights @ (smooth + noise * weights)) / len(weights), 1e-12))
            few = kernel[np.ix_(kept, kept)]
            few[np.diag_indices_from(few)] += noise
            factors.append(cholesky(few, lower=True, check_finite=False))
        return kept, np.stack(factors), np.asarray(amplitudes)


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


def _distances(left: FloatArray, right: FloatArray, measured: int) -> tuple[FloatArray, FloatArray | None]:
    """`[m, n]` distances by features, and by measured statistics where there are some."""
    if not measured:
        return _distance(left, right), None
    return _distance(left[:, :-measured], right[:, :-measured]), _distance(left[:, -measured:], right[:, -measured:])


def _kernel(distances: tuple[FloatArray, FloatArray | None], length: float, joint: float) -> FloatArray:
    by_features, by_measured = distances
    kernel = _matern(by_features / length)
    if joint and by_measured is not None:
        kernel += _matern(by_measured / length)
    return kernel


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
