"""Regularised evolution (Real et al., "Regularized evolution for image classifier architecture search", 2019)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from archcast.errors import ConfigError
from archcast.search.strategy import Context, Proposal

_TRIES = 50


@dataclass(frozen=True)
class RegularisedEvolution:
    """A mutant of the best of a random few; the oldest die, however good they are."""

    population: int = 50
    """The youngest architectures that may have children."""
    tournament: int = 10
    """Of them compete for each child."""

    def __post_init__(self) -> None:
        if not 1 <= self.tournament <= self.population:
            raise ConfigError("tournament must be 1 or more and at most population")

    def propose(self, context: Context, count: int) -> Iterator[Proposal]:
        missing = self.population - len(context.history)
        for spec in context.candidates.random(context.rng, min(missing, count)) if missing > 0 else ():
            yield Proposal(spec, origin="random")
        alive = context.history.done[-self.population :]
        if not alive:
            return
        values = context.history.values[-self.population :, 0]
        for _ in range(_TRIES * count):
            rivals = context.rng.choice(len(alive), min(self.tournament, len(alive)), replace=False)
            parent = alive[int(rivals[np.argmax(values[rivals])])]
            child = context.space.mutate(parent.spec, context.rng)
            if context.candidates.is_new(child):
                yield Proposal(child, origin=f"mutant of {parent.number}")
