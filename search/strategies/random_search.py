"""Random search: the line every other strategy has to beat."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from archcast.search.strategy import Context, Proposal


@dataclass(frozen=True)
class RandomSearch:
    """Uniform over the architectures that are left."""

    def propose(self, context: Context, count: int) -> Iterator[Proposal]:
        for spec in context.candidates.random(context.rng, count):
            yield Proposal(spec, origin="random")
