"""Ours: a pretrained predictor starts; a Gaussian process, refitted after every batch, goes on.

1. **Start.** Nothing is measured: the predictor's ranker orders the pool by relations that carry over from other
   search spaces (`archcast.predictor.ranker`). The first architectures come from the top of it, spread out; without a
   predictor they are spread over the whole pool.
2. **Then.** Normal scores of what was measured teach a Gaussian process, whose inputs are the features and the
   zero-shot order, and, if asked for, boosted trees. Their weighted mean is the forecast; its spread is that of the
   process and how far both disagree.
3. **Batch.** The candidate of the highest upper confidence bound is taken; around it the spread shrinks as if it were
   measured, so that the next one lies elsewhere. With several objectives it is the candidate whose bounds add the
   most to the hypervolume, and its forecasts join the front.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from archcast.errors import ConfigError
from archcast.search.batches import by_bound, by_hypervolume, spread_out
from archcast.search.candidates import Pool
from archcast.search.strategy import Context, Proposal
from archcast.search.surrogate import Targets, best_specs, learn_trees
from archcast.search.zero_shot import zero_shot

FloatArray = NDArray[np.float64]

_OUTLIER = 4.0  # robust standard deviations: networks that learnt nothing must not flatten the others
_FLOOR = -2.0
_HALF_WAY = 0.0  # what is forecast to be worse than the average is not worth its low cost


@dataclass(frozen=True)
class Guided:
    """Settings of the strategy."""

    start: int = 10
    """Architectures that are measured before anything is fitted; twice as many for several objectives."""
    diversity: float = 1.0
    """How much distance counts beside the zero-shot score in the first batch; 0 takes the top."""
    optimism: float = 1.0
    """Standard deviations that are added to a forecast."""
    trees: float = 0.0
    """Weight of boosted trees in the forecast, 0 to 1."""
    top: int = 1000
    """Candidates, the best forecasts, whose spread is computed."""
    parents: int = 10
    """Best architectures whose mutants are candidates, where the space cannot be enumerated."""

    uses_predictor: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.start < 2 or self.top < 1 or self.parents < 1 or not 0 <= self.trees <= 1:
            raise ConfigError("start must be 2 or more, top and parents 1 or more, and trees lie in 0..1")
        if self.diversity < 0 or self.optimism < 0:
            raise ConfigError("diversity and optimism must not be negative")

    def propose(self, context: Context, count: int) -> Iterator[Proposal]:
        history = context.history
        pool = context.candidates.pool(context.rng, best_specs(context, self.parents))
        if not len(pool):
            return
        known = len(history.done)
        # Every further objective has to be met as well before it can be learnt.
        start = self.start * min(len(history.objectives), 2)
        if known < start or any(np.ptp(column) == 0 for column in history.values.T):
            yield from self._first(context, pool, min(count, max(start - known, 1)))
        elif len(history.objectives) == 1:
            yield from self._one(context, pool, count)
        else:
            yield from self._several(context, pool, count)

    def _first(self, context: Context, pool: Pool, count: int) -> Iterator[Proposal]:
        score = 0.3 * context.rng.normal(size=len(pool))
        if context.predictor is not None:
            score += zero_shot(context.candidates, context.predictor, pool)[0]
        origin = "spread" if context.predictor is None else "zero-shot"
        proposed = [trial.spec for trial in context.history]
        taken = context.candidates.features(proposed) if proposed else pool.features[:0]
        if len(context.history.objectives) == 1:
            for row in spread_out(score, pool.features, taken, count, self.diversity):
                yield Proposal(pool.specs[row], origin=origin)
            return
        # Every second network is only unlike the others: nobody knows what the other objectives look like.
        promising = _promising(context, pool, score, count)
        rows: list[int] = []
        for turn in range(count):
            if (len(proposed) + turn) % 2:
                known = np.concatenate([taken, pool.features[rows]])
                blind = np.where(np.isin(np.arange(len(pool)), rows), -np.inf, 0.0)
                rows.append(next(spread_out(blind, pool.features, known, 1, 1.0)))
            else:
                rows.append(next(row for row in promising if row not in rows))
            yield Proposal(pool.specs[rows[-1]], origin=origin)

    def _one(self, context: Context, pool: Pool, count: int) -> Iterator[Proposal]:
        targets = Targets.of(context)
        mean, spread, rows = self._forecast(context, pool, targets, targets.labels)
        pending = self._pending(context)
        for place in by_bound(mean, self.optimism * spread, pool.features[rows], count, pending):
            yield Proposal(pool.specs[rows[place]], targets.measured(mean[place]), "model")

    def _several(self, context: Context, pool: Pool, count: int) -> Iterator[Proposal]:
        """Every objective on a scale of its own: robust standard deviations of what was measured, cut at `_FLOOR`.

        What lies below the floor is of no use in this objective, however little; else the cheapest of all networks,
        which learn nothing, would make up most of the hypervolume.
        """
        history = context.history
        objectives = history.objectives
        columns = []
        for k, (name, sign, measured) in enumerate(
            zip(objectives.names, objectives.signs, objectives.measured, strict=True)
        ):
            targets = Targets.of(context, k)
            centre, scale = targets.robust
            labels = np.clip((targets.values - centre) / scale, -_OUTLIER, _OUTLIER)
            if measured:
                mean, spread, order = self._forecast(context, pool, targets, labels, len(pool))
                back = np.argsort(order)
                columns.append((mean[back], (mean + self.optimism * spread)[back], labels))
            else:
                known = np.clip((sign * pool.costs[name] - centre) / scale, -_OUTLIER, _OUTLIER)
                columns.append((known, known, labels))
        means, bounds, values = (np.maximum(np.stack(parts, axis=1), _FLOOR) for parts in zip(*columns, strict=True))
        reference = np.full(len(objectives), _FLOOR - 0.1)
        centre, scale = Targets.of(context).robust
        for row in by_hypervolume(means, bounds, values, reference, count):
            forecast = objectives.signs[0] * (centre + scale * means[row, 0])
            yield Proposal(pool.specs[row], float(forecast), "model")

    def _forecast(
        self, context: Context, pool: Pool, targets: Targets, labels: FloatArray, top: int | None = None
    ) -> tuple[FloatArray, FloatArray, NDArray[np.int64]]:
        """Forecast and spread of `labels` for the `top` candidates, and their places in the pool, best first."""
        from threadpoolctl import threadpool_limits

        from archcast.predictor.heads.gaussian_process import GaussianProcessHead
        from archcast.predictor.heads.networks import Networks

        learnt, asked = targets.features, pool.features.astype(np.float64)
        if context.predictor is not None:
            known = [trial.spec for trial in context.history.done]
            order, learnt_order = zero_shot(context.candidates, context.predictor, pool, known)
            asked, learnt = np.column_stack([asked, order]), np.column_stack([learnt, learnt_order])
        with threadpool_limits(1, user_api="blas"):
            process = GaussianProcessHead.fit(Networks(learnt), labels, relevance=_relevance(context))
            mean, doubt = process.predict(Networks(asked)), np.zeros(len(pool))
            if self.trees > 0:
                other = learn_trees(Targets(learnt, targets.values, labels), context.seed).forecast(asked)
                doubt = np.sqrt(self.trees * (1 - self.trees)) * np.abs(mean - other)
                mean = (1 - self.trees) * mean + self.trees * other
            rows = np.argsort(-mean, kind="stable")[: self.top if top is None else top]
            spread = np.hypot(process.spread(Networks(asked[rows])), doubt[rows])
        return mean[rows], spread, rows

    def _pending(self, context: Context) -> NDArray[np.float32] | None:
        """Features of what is under way, where the spread shrinks as well."""
        pending = [trial.spec for trial in context.history.pending]
        return context.candidates.features(pending) if pending else None


def _relevance(context: Context) -> FloatArray | None:
    """How much each feature counts in other search spaces, if the predictor knows."""
    prior = None if context.predictor is None else context.predictor.kernel_prior
    return None if prior is None else prior.relevance


def _promising(context: Context, pool: Pool, score: FloatArray, count: int) -> Iterator[int]:
    """Rows along the front of the zero-shot score and of the costs that are objectives."""
    from archcast.predictor.calibration import rank_gauss

    objectives = context.history.objectives
    columns = [np.maximum(score, _HALF_WAY)]
    for name, sign, measured in zip(objectives.names, objectives.signs, objectives.measured, strict=True):
        if not measured:
            columns.append(np.maximum(rank_gauss(sign * pool.costs[name]), _FLOOR))
    table = np.stack(columns, axis=1)
    reference = np.asarray([_HALF_WAY, *[_FLOOR] * (len(columns) - 1)]) - 0.1
    return by_hypervolume(table, table, table[:0], reference, 2 * count)
