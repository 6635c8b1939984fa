"""Gaussian process head: the smoothest guess from few labels.

Matern kernel between standardised feature rows x, z with d columns:

    k(x, z) = matern32(|x - z| / (l * sqrt(d))),  matern32(r) = (1 + sqrt(3) r) exp(-sqrt(3) r)

Where some of the columns are measured statistics, they have a distance and a kernel of their own, so that a few of them
are not drowned by hundreds of features; each length is tried with the kernel of the features and with the sum of both.

How much each feature counts can be learnt on other search spaces (`archcast.predictor.kernel_prior`): each such set
of weights w_k multiplies the columns and makes further kernels, |w_k (x - z)| for |x - z|, beside equal weights.

The observations have covariance a * (K + s I). For each length l of a grid, K is decomposed once; amplitude a
and noise share s then maximise the marginal likelihood, in closed form and over a grid. The predictions of the
kernels are averaged by their likelihood, which costs nothing and spares a choice that 50 labels cannot make.
(Rasmussen & Williams, "Gaussian Processes for Machine Learning", 2006, sections 2.2, 4.2, 5.4.)
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np
from numpy.typing import NDArray

from archcast.predictor.heads.networks import Networks
from archcast.predictor.heads.relevance import feature_groups, learn_relevance

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
        relevance: `[K, d]` weights of the columns, one row per metric.
        metric: `[L]` row of `relevance` that each kernel uses.
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
    measured: float
    relevance: FloatArray
    metric: FloatArray

    @classmethod
    def fit(
        cls,
        networks: Networks,
        targets: FloatArray,
        *,
        seed: int = 0,
        max_rows: int = 1600,
        relevance: FloatArray | None = None,
    ) -> Self:
        """Fit to `networks` and `targets` `[n]`.

        Args:
            max_rows: above this many rows a random subset is used (time grows with the cube).
            seed: of that subset.
            relevance: `[K, F]` weights of the first F columns learnt elsewhere; further columns count as the mean does.
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
        weights_of = cls._metrics_from(inputs[few], centred[few], relevance, columns, features.shape[1], kept)
        joints = (0.0, 1.0) if kept else (0.0,)
        forms = [
            (metric, length, joint) for metric in range(len(weights_of)) for joint in joints for length in _LENGTHS
        ]
        distances = _Distances.between(inputs[few], inputs[few], kept, weights_of)
        fits = [_best_noise(distances.kernel(*form), centred[few]) for form in forms]
        likelihood = np.asarray([fit.likelihood for fit in fits])
        shares = np.exp(likelihood - likelihood.max())
        best = np.flatnonzero(shares >= _MIN_SHARE * shares.sum())
        shares = shares[best] / shares[best].sum()
        used = sorted({forms[i][0] for i in best})
        distances = _Distances.between(inputs, inputs, kept, weights_of[used])
        forms = [(used.index(forms[i][0]), *forms[i][1:]) for i in best]
        weights = [_solve(distances.kernel(*form), fits[i].noise, centred) for form, i in zip(forms, best, strict=True)]
        metric, lengths, joint = np.asarray(forms, dtype=np.float64).T
        return cls(
            columns, center, scale, inputs, lengths, shares, joint, np.stack(weights), mean, float(kept),
            weights_of[used], metric,
        )  # fmt: skip

    @classmethod
    def _metrics_from(
        cls,
        rows: FloatArray,
        targets: FloatArray,
        relevance: FloatArray | None,
        columns: NDArray[np.int64],
        width: int,
        measured: int,
    ) -> FloatArray:
        """`[K, d]` the metrics to try."""
        del rows, targets, measured
        return _metrics(relevance, columns, width)

    def predict(self, networks: Networks, chunk: int = 4096) -> FloatArray:
        """`[m]` posterior means."""
        features = networks.features
        parts = [self._means(features[start : start + chunk]) for start in range(0, len(features), chunk)]
        return np.concatenate([np.zeros(0), *parts])

    def _means(self, features: FloatArray) -> FloatArray:
        distances = self._distances_to(features)
        mixed = sum(
            share * (distances.kernel(*form) @ weights)
            for share, form, weights in zip(self.shares, self._forms, self.weights, strict=True)
        )
        return np.asarray(mixed + self.mean)

    @property
    def _forms(self) -> list[tuple[int, float, float]]:
        """`[L]` metric, length and joint of each kernel."""
        return list(zip(self.metric.astype(int).tolist(), self.lengths.tolist(), self.joint.tolist(), strict=True))

    def _distances_to(self, features: FloatArray) -> _Distances:
        rows = _standardise(features[:, self.columns], self.center, self.scale)
        return _Distances.between(rows, self.inputs, int(self.measured), self.relevance)

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

        distances = self._distances_to(features)
        kept, factors, amplitudes = self._posterior
        means, variances = [], []
        for i, (metric, length, joint) in enumerate(self._forms):
            kernel = distances.kernel(metric, length, joint)
            explained = solve_triangular(factors[i], kernel[:, kept].T, lower=True, check_finite=False)
            means.append(kernel @ self.weights[i])
            variances.append(amplitudes[i] * np.maximum(1 + joint - (explained**2).sum(axis=0), 0))
        second = self.shares @ (np.stack(variances) + np.stack(means) ** 2)
        return np.asarray(np.sqrt(np.maximum(second - (self.shares @ np.stack(means)) ** 2, 0)))

    def correlation(self, features: FloatArray) -> FloatArray:
        """`[m, m]` correlations that the fitted kernels give networks by `features` `[m, F]`.

        Further columns of what the head was fitted to, the ranker's score and measured statistics, do not count.
        """
        kept = self.columns < features.shape[1]
        rows = _standardise(features[:, self.columns[kept]], self.center[kept], self.scale[kept])
        distances = _Distances.between(rows, rows, 0, self.relevance[:, kept])
        mixed = sum(
            share * distances.kernel(metric, length, 0.0)
            for share, (metric, length, _) in zip(self.shares, self._forms, strict=True)
        )
        return np.asarray(mixed)

    @cached_property
    def _posterior(self) -> tuple[NDArray[np.int64], FloatArray, FloatArray]:
        """`[q]` the rows that count, `[L, q, q]` Cholesky factors of K + s I among them, and `[L]` amplitudes a.

        Nothing of this is stored, because the weights w = (K + s I)^-1 t tell it: the centred targets t = K w + s w sum
        to zero, so s = -sum(K w) / sum(w), and the most likely amplitude is a = t' (K + s I)^-1 t / n = t'w / n.
        """
        from scipy.linalg import cholesky

        kept = np.sort(np.random.default_rng(0).permutation(len(self.inputs))[:_SPREAD_ROWS])
        distances = _Distances.between(self.inputs, self.inputs, int(self.measured), self.relevance)
        factors, amplitudes = [], []
        for form, weights in zip(self._forms, self.weights, strict=True):
            kernel = distances.kernel(*form)
            smooth, total = kernel @ weights, float(weights.sum())
            noise = -float(smooth.sum()) / total if abs(total) > 0 else _NOISES[-1]
            noise = float(np.clip(noise, _NOISES[0], _NOISES[-1]))
            amplitudes.append(max(float(weights @ (smooth + noise * weights)) / len(weights), 1e-12))
            few = kernel[np.ix_(kept, kept)]
            few[np.diag_indices_from(few)] += noise
            factors.append(cholesky(few, lower=True, check_finite=False))
        return kept, np.stack(factors), np.asarray(amplitudes)


class AutomaticProcessHead(GaussianProcessHead):
    """A Gaussian process with one metric, learnt from the labels at hand (`relevance.learn_relevance`).

    Learning starts from the first of the metrics that other spaces taught, if there are any. It errs in other places
    than the process that averages over fixed metrics: with few labels it overfits, but the two together are better.
    """

    @classmethod
    def _metrics_from(
        cls,
        rows: FloatArray,
        targets: FloatArray,
        relevance: FloatArray | None,
        columns: NDArray[np.int64],
        width: int,
        measured: int,
    ) -> FloatArray:
        known = _metrics(None if relevance is None else relevance[:1], columns, width)[-1]
        last = len(columns) - measured
        if not last:
            return np.asarray(known[None])
        weights = learn_relevance(rows[:, :last], targets, feature_groups(width)[columns[:last]], known[:last])
        return np.concatenate([weights, np.ones(measured)])[None]  # measured columns have a kernel of their own


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


@dataclass(frozen=True)
class _Distances:
    """Distances between two sets of rows: by features under each metric, and by measured statistics.

    Attributes:
        by_features: `[K]` matrices `[m, n]`.
        by_measured: `[m, n]`; None where nothing was measured.
    """

    by_features: tuple[FloatArray, ...]
    by_measured: FloatArray | None

    @classmethod
    def between(cls, left: FloatArray, right: FloatArray, measured: int, relevance: FloatArray) -> _Distances:
        last = left.shape[1] - measured
        features = tuple(
            _distance(left[:, :last] * weights[:last], right[:, :last] * weights[:last]) for weights in relevance
        )
        return cls(features, _distance(left[:, last:], right[:, last:]) if measured else None)

    def kernel(self, metric: int, length: float, joint: float) -> FloatArray:
        kernel = matern(self.by_features[metric] / length)
        if joint and self.by_measured is not None:
            kernel += matern(self.by_measured / length)
        return kernel


def _metrics(relevance: FloatArray | None, columns: NDArray[np.int64], width: int) -> FloatArray:
    """`[1 + K, d]` weights of the columns in use: ones, then each relevance, its mean square 1 among them."""
    ones = np.ones((1, len(columns)))
    if relevance is None or not len(columns):
        return ones
    filled = np.concatenate([relevance, np.ones((len(relevance), width - relevance.shape[1]))], axis=1)[:, columns]
    size = np.sqrt((filled**2).mean(axis=1, keepdims=True))
    return np.concatenate([ones, filled / np.maximum(size, 1e-12)])


def matern(distance: FloatArray) -> FloatArray:
    """Matern 3/2 correlations of distances."""
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
