"""WeakNAS (Wu et al., "Stronger NAS with weaker predictors", NeurIPS 2021): progressive weak predictors.

Each predictor, boosted trees on features, learns from everything measured so far, and the next architectures are drawn
at random from its top. The top shrinks to where good ones are, so a weak predictor is enough.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from archcast.errors import ConfigError
from archcast.search.strategy import Context, Proposal
from archcast.search.surrogate import learn_trees, task


@dataclass(frozen=True)
class WeakPredictors:
    """Settings of WeakNAS."""

    start: int = 10
    """Random architectures before the first predictor."""
    top: int = 100
    """Best forecasts the next architectures are drawn from."""

    def __post_init__(self) -> None:
        if self.start < 2 or self.top < 1:
            raise ConfigError("start must be 2 or more and top 1 or more")

    def propose(self, context: Context, count: int) -> Iterator[Proposal]:
        given = task(context, self.start)
        if given is None:
            return
        targets, pool = given
        forecast = learn_trees(targets, context.seed).forecast(pool.features)
        best = np.argsort(-forecast, kind="stable")[: max(self.top, count)]
        for row in context.rng.permutation(best):
            yield Proposal(pool.specs[row], targets.measured(forecast[row]), "model")
