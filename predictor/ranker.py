"""Zero-shot ranking of networks from a search space nobody has labelled.

Spaces do not transfer, relations do: each labelled *source* pool teaches one expert, a ridge regression from
pool-relative features (`archcast.encoders.pool`) to the normal scores of its labels. A target pool is ranked by the
experts of the sources that vary in the same way, and by a prior that needs no labels:

    score = s * sum_k w_k expert_k + (1 - s) * prior,   w_k ~ similarity_k ^ 4,   s = max_k similarity_k ^ 4

similarity_k is the correlation of the two pools' amplitudes (how much each feature varies), negative ones being 0.
The prior (`archcast.predictor.prior`) adds up the capacity laws that suit what varies in the pool. Where
graph encoders (`archcast.predictor.graph_ranker`) rank the pool too, they join the prior,

    prior + GRAPH_SHARE wiring max(0, rho)^4 graphs,    rho = Spearman's correlation of prior and graphs,

as far as wiring is what varies: places matter there, elsewhere amounts say it all. Where the two contradict each other
the encoders are far from home, and are not heard.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from archcast.encoders.features import FEATURE_NAMES
from archcast.encoders.pool import Pool
from archcast.encoders.variation import KINDS
from archcast.predictor.calibration import rank_gauss
from archcast.predictor.prior import prior as capacity_prior
from archcast.predictor.prior import prior_weights

FloatArray = NDArray[np.float64]

GRAPH_SHARE: Final = 0.5
"""Weight of graph encoders that agree with the prior, both in units of their spread inside the pool."""

_STRENGTHS: Final = (0.05, 0.25)  # ridge penalties per training row; experts average over them
_SHARPNESS: Final = 4.0
_LEAST_WIRING: Final = 0.05
_MAX_ROWS: Final = 3000
_CARRIES_OVER: Final = np.asarray([not name.startswith(("motif/", "signal/")) for name in FEATURE_NAMES])
"""Motifs and signals describe the wiring of one family of cells: experts that see them rank other spaces worse."""


@dataclass(frozen=True)
class PoolRanker:
    """Experts of labelled pools and the pools themselves.

    Attributes:
        names: `[K]` the source pools.
        weights: `[K, F]` linear weights of each expert on pool-relative features.
        amplitudes: `[K, F]` how much each feature varies in each source.
        reference: the union of the sources, the pool of a network that comes alone.
    """

    names: tuple[str, ...]
    weights: FloatArray
    amplitudes: FloatArray
    reference: Pool

    @classmethod
    def fit(cls, sources: Mapping[str, tuple[NDArray[np.float32], FloatArray]], *, seed: int = 0) -> PoolRanker:
        """Learn one expert from each source, name -> (features `[n, F]`, labels `[n]`)."""
        rng = np.random.default_rng(seed)
        weights, amplitudes, union = [], [], []
        for features, labels in sources.values():
            chosen = rng.permutation(len(labels))[:_MAX_ROWS]
            pool = Pool.of(features[chosen])
            relative = pool.relative(features[chosen]) * _CARRIES_OVER
            weights.append(_expert(relative, rank_gauss(labels[chosen])))
            amplitudes.append(pool.amplitude)
            union.append(features[chosen][:512])
        return cls(tuple(sources), np.stack(weights), np.stack(amplitudes), Pool.of(np.concatenate(union)))

    def similarities(self, pool: Pool) -> FloatArray:
        """`[K]` how alike the variation of `pool` and of each source is, 0..1."""
        used = _CARRIES_OVER
        values = [_correlation(pool.amplitude[used], amplitude[used]) for amplitude in self.amplitudes]
        return np.maximum(values, 0.0)

    def scores(
        self,
        features: NDArray[np.float32],
        pool: Pool | None = None,
        graphs: FloatArray | None = None,
        *,
        members: NDArray[np.float32] | None = None,
    ) -> FloatArray:
        """`[m]` scores of `features` `[m, F]` inside `pool` (default: the reference pool).

        Args:
            features: of the networks.
            pool: what they are ranked in.
            graphs: `[m]` scores of the same networks by graph encoders, of zero mean and unit spread.
            members: `[n, F]` networks of the pool whose spread is the unit, so that no score depends on what else is
                asked about; `features` when left out.
        """
        among, pool = pool, pool or self.reference
        relative = pool.relative(features)
        unit = relative if members is None else pool.relative(members)
        weights = prior_weights(unit, pool, among is not None)
        trust = self.similarities(pool) ** _SHARPNESS
        share = float(trust.max(initial=0.0))
        experts = trust / max(float(trust.sum()), 1e-9) @ self.weights
        if graphs is None or not hears_graphs(pool):
            return relative @ (share * experts + (1 - share) * weights)
        prior = relative @ weights
        agreement = max(_correlation(rankdata(prior), rankdata(graphs)), 0.0)
        prior += GRAPH_SHARE * _wiring(pool) * agreement**_SHARPNESS * graphs
        return np.asarray(share * (relative @ experts) + (1 - share) * prior / max(float(prior.std()), 1e-9))

    def prior(self, features: NDArray[np.float32], pool: Pool) -> FloatArray:
        """`[m]` what the ranker falls back on where no source is like `pool`."""
        return capacity_prior(pool.relative(features), pool, True)


def hears_graphs(pool: Pool) -> bool:
    """Whether wiring varies enough in a pool for graph encoders to be asked."""
    return _wiring(pool) >= _LEAST_WIRING


def _wiring(pool: Pool) -> float:
    return float(pool.variation[KINDS.index("wiring")])


def _expert(relative: FloatArray, targets: FloatArray) -> FloatArray:
    """`[F]` mean of ridge solutions of two strengths, each scaled to unit variance of its scores."""
    gram, moment = relative.T @ relative, relative.T @ targets
    total = np.zeros(relative.shape[1])
    for strength in _STRENGTHS:
        penalty = strength * len(targets) * np.eye(len(gram))
        weights = np.linalg.solve(gram + penalty, moment)
        total += weights / max(float((relative @ weights).std()), 1e-9)
    scale = float((relative @ total).std())
    return total / max(scale, 1e-9)


def _correlation(left: FloatArray, right: FloatArray) -> float:
    if left.std() < 1e-12 or right.std() < 1e-12:
        return 0.0
    return float(np.corrcoef(left, right)[0, 1])
