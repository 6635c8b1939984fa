"""Ours: a pretrained predictor starts; a Gaussian process and boosted trees, refitted after every batch, go on.

1. **Start.** Nothing is measured: the predictor's ranker orders the pool by relations that carry over from other
   search spaces (`archcast.predictor.ranker`). The first batch is taken from the top of it, spread out; without a
   predictor it is spread over the whole pool.
2. **Then.** Normal scores of what was measured teach a Gaussian process, whose inputs are the features and the
   ranker's score, and, if asked for, boosted trees. Their weighted mean is the forecast, and its spread is that of the
   process and how far both disagree.
3. **Batch.** The candidate of the highest upper confidence bound is taken; around it the spread shrinks as if it were
   measured, so that the next one lies elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from archcast.errors import ConfigError
from archcast.search.candidates import Pool
from archcast.search.strategy import Context, Proposal

FloatArray = NDArray[np.float64]

_CLIP = 4.0


@dataclass(frozen=True)
class Guided:
    """Settings of the strategy."""

    uses_predictor: ClassVar[bool] = True

    start: int = 10
    """Architectures that are evaluated before anything is fitted."""
    diversity: float = 1.0
    """How much distance counts beside the zero-shot score in the first batch; 0 takes the top."""
    trees: float = 0.0
    """Weight of boosted trees in the forecast, 0 to 1."""
    optimism: float = 1.0
    """Standard deviations that count for a candidate."""
    top: int = 1000
    """Candidates, the best forecasts, whose acquisition is computed."""
    parents: int = 10
    """Best architectures whose mutants are candidates, where the space cannot be enumerated."""

    def __post_init__(self) -> None:
        if self.start < 2 or self.top < 1 or self.parents < 1 or not 0 <= self.trees <= 1 or self.diversity < 0:
            raise ConfigError("start must be 2 or more, top and parents 1 or more, trees in 0..1, diversity 0 or more")

    def propose(self, context: Context, count: int) -> Iterator[Proposal]:
        done = context.history.done
        values = context.history.values[:, 0] if done else np.zeros(0)
        order = np.argsort(-values, kind="stable")
        pool = context.candidates.pool(context.rng, [done[i].spec for i in order[: self.parents]])
        if not len(pool):
            return
        if len(done) < self.start or np.ptp(values) == 0:
            yield from self._first(context, pool, count)
            return
        yield from self._next(context, pool, [trial.spec for trial in done], values, count)

    def _first(self, context: Context, pool: Pool, count: int) -> Iterator[Proposal]:
        """The top of the zero-shot order, spread out: score + `diversity` min(1, distance to what is taken)."""
        rows = _standardised(pool.features, pool.features)
        score = context.rng.normal(size=len(pool)) * 0.3
        if context.predictor is not None:
            score += zero_shot(context, pool)
        taken = [trial.spec for trial in context.history]
        nearest = np.full(len(pool), np.inf)
        for row in _standardised(context.candidates.features(taken), pool.features) if taken else ():
            nearest = np.minimum(nearest, np.linalg.norm(rows - row, axis=1))
        for _ in range(min(count, len(pool))):
            spread = np.minimum(nearest / np.sqrt(rows.shape[1]), 1.0) if np.isfinite(nearest).all() else 0.0
            best = int((score + self.diversity * spread).argmax())
            yield Proposal(pool.specs[best], origin="zero-shot" if context.predictor else "spread")
            score[best] = -np.inf
            nearest = np.minimum(nearest, np.linalg.norm(rows - rows[best], axis=1))

    def _next(
        self, context: Context, pool: Pool, known: list[str], values: FloatArray, count: int
    ) -> Iterator[Proposal]:
        from archcast.predictor.acquisition import upper_confidence_bound
        from archcast.predictor.calibration import rank_gauss

        labels = rank_gauss(values)
        mean, spread, rows = self._forecast(context, pool, known, labels)
        measured = np.interp(mean, np.sort(labels), np.sort(values))
        taken = np.zeros(len(rows), dtype=bool)
        inputs = _standardised(pool.features[rows], pool.features)
        for _ in range(min(count, len(rows))):
            bound = upper_confidence_bound(mean, spread, weight=self.optimism)
            chosen = int(np.where(taken, -np.inf, bound).argmax())
            yield Proposal(pool.specs[rows[chosen]], float(measured[chosen]), "model")
            taken[chosen] = True
            distance = np.linalg.norm(inputs - inputs[chosen], axis=1) / np.sqrt(inputs.shape[1])
            spread = spread * np.sqrt(np.clip(1 - 0.9 * np.exp(-((2 * distance) ** 2)), 0.05, 1))

    def _forecast(
        self, context: Context, pool: Pool, known: list[str], labels: FloatArray
    ) -> tuple[FloatArray, FloatArray, NDArray[np.int64]]:
        """Forecast and spread of the `top` candidates, and their places in the pool."""
        from threadpoolctl import threadpool_limits

        from archcast.predictor.heads.gaussian_process import GaussianProcessHead
        from archcast.predictor.heads.gbdt import GBDTHead
        from archcast.predictor.heads.networks import Networks

        learnt = context.candidates.features(known).astype(np.float64)
        asked = pool.features.astype(np.float64)
        if context.predictor is not None:
            both = zero_shot_rows(context, np.concatenate([learnt, asked]).astype(np.float32), pool)
            learnt = np.column_stack([learnt, both[: len(learnt)]])
            asked = np.column_stack([asked, both[len(learnt) :]])
        with threadpool_limits(1, user_api="blas"):
            process = GaussianProcessHead.fit(Networks(learnt), labels)
            mean = process.predict(Networks(asked))
            doubt = np.zeros(len(mean))
            if self.trees > 0:
                trees = GBDTHead.fit(Networks(learnt), labels, seed=context.seed).predict(Networks(asked))
                doubt = np.sqrt(self.trees * (1 - self.trees)) * np.abs(mean - trees)
                mean = (1 - self.trees) * mean + self.trees * trees
            rows = np.argsort(-mean, kind="stable")[: self.top]
            spread = np.hypot(process.spread(Networks(asked[rows])), doubt[rows])
        return mean[rows], spread, rows


def zero_shot(context: Context, pool: Pool) -> FloatArray:
    """`[n]` the predictor's order of the pool before anything is measured, of zero mean and unit spread."""
    return zero_shot_rows(context, pool.features, pool)


def zero_shot_rows(context: Context, features: NDArray[np.float32], pool: Pool) -> FloatArray:
    """`[m]` the same for other rows of features, ranked in `pool`."""
    from archcast.encoders.pool import Pool as FeaturePool
    from archcast.predictor.calibration import standardised

    predictor = context.predictor
    assert predictor is not None  # callers have looked
    if predictor.ranker is None:
        raise ConfigError("this predictor was fitted on labels alone; pass a pretrained one, or predictor=None")
    return standardised(predictor.ranker.scores(features, FeaturePool.of(pool.features)))


def _standardised(features: NDArray[np.float32], pool: NDArray[np.float32]) -> FloatArray:
    """Rows of columns that vary in `pool`, in its standard deviations."""
    varying = pool.std(axis=0) > 1e-6
    centre, scale = pool[:, varying].mean(axis=0), pool[:, varying].std(axis=0)
    return np.asarray(np.clip((features[:, varying] - centre) / scale, -_CLIP, _CLIP), dtype=np.float64)
