"""BANANAS (White et al., "BANANAS: Bayesian optimization with neural architectures for neural architecture search",
AAAI 2021) with trees: an ensemble that tells its doubt, and independent Thompson sampling.

Candidates are mutants of the best, as in the paper; the five members are boosted trees on resampled networks, where
the paper trains perceptrons, and their inputs our features, where it has paths.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from archcast.errors import ConfigError
from archcast.search.candidates import Pool
from archcast.search.strategy import Context, Proposal
from archcast.search.surrogate import best_specs, learn_trees, rank_targets


@dataclass(frozen=True)
class Thompson:
    """Settings of BANANAS."""

    start: int = 10
    """Random architectures before the first ensemble."""
    members: int = 5
    """Of the ensemble."""
    parents: int = 10
    """Best architectures whose mutants are candidates."""
    everywhere: bool = False
    """Candidates are the whole space, where it can be enumerated, instead of mutants."""

    def __post_init__(self) -> None:
        if self.start < 2 or self.members < 2 or self.parents < 1:
            raise ConfigError("start and members must be 2 or more, parents 1 or more")

    def propose(self, context: Context, count: int) -> Iterator[Proposal]:
        targets = rank_targets(context, self.start)
        if targets is None:
            return
        pool = self._pool(context)
        if not len(pool):
            return
        forecasts = np.stack(
            [
                learn_trees(targets, context.seed + member, context.rng).forecast(pool.features)
                for member in range(self.members)
            ]
        )
        mean, spread = forecasts.mean(axis=0), forecasts.std(axis=0)
        drawn = mean + spread * context.rng.normal(size=len(pool))
        for row in np.argsort(-drawn, kind="stable")[: 20 * count]:
            yield Proposal(pool.specs[row], targets.measured(mean[row]), "model")

    def _pool(self, context: Context) -> Pool:
        parents = best_specs(context, self.parents)
        if self.everywhere:
            return context.candidates.pool(context.rng, parents)
        near = [context.space.mutate(parent, context.rng) for parent in parents for _ in range(30)]
        return context.candidates.selection(near) or context.candidates.pool(context.rng, parents)
