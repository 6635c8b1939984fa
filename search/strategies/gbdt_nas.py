"""GBDT-NAS (Luo et al., "Accuracy prediction with non-neural model for neural architecture search", 2020).

Boosted trees rank candidates; candidates with a feature value that hurts, by SHAP values, are not looked at (see
`archcast.predictor.heads.gbdt_nas`). With the paper's 20 networks a leaf, trees have something to say from 40
measured architectures on; before, the choice is random.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from archcast.errors import ConfigError
from archcast.search.strategy import Context, Proposal
from archcast.search.surrogate import task


@dataclass(frozen=True)
class GBDTNAS:
    """Settings of GBDT-NAS."""

    start: int = 20
    """Random architectures before the first trees."""
    keep: float = 0.5
    """Share of the measured architectures that survives pruning; 1 prunes nothing."""

    def __post_init__(self) -> None:
        if self.start < 2 or not 0 < self.keep <= 1:
            raise ConfigError("start must be 2 or more and keep in 0..1")

    def propose(self, context: Context, count: int) -> Iterator[Proposal]:
        from archcast.predictor.heads.gbdt_nas import GBDTNASConfig, GBDTNASHead
        from archcast.predictor.heads.networks import Networks

        given = task(context, self.start)
        if given is None:
            return
        targets, pool = given
        head = GBDTNASHead.fit(Networks(targets.features), targets.labels, seed=context.seed, config=GBDTNASConfig())
        alive = head.pruning(keep=self.keep)(pool.features) if self.keep < 1 else np.ones(len(pool), dtype=bool)
        forecast = head.predict(Networks(pool.features.astype(np.float64)))
        # What is pruned comes last, for the case that nothing else is left; ties are broken at random.
        order = np.lexsort((context.rng.random(len(pool)), -forecast, ~alive))
        for row in order[: 20 * count]:
            yield Proposal(pool.specs[row], targets.measured(forecast[row]), "model")
