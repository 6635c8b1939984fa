"""`Space`: what a search needs of a search space. Architectures are printable texts, called specs."""

from __future__ import annotations

import math
import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from archcast.search.costs import Encoded

if TYPE_CHECKING:
    from archcast.graphs.graph import GraphBatch

ENUMERABLE = 200_000
"""Spaces of at most so many architectures are listed."""

_TRIES = 20


class Space(ABC):
    """Where architectures come from.

    Attributes:
        name: for people and for the journal, which refuses to go on with another space.
        scored_whole: a listed space of at most so many architectures is encoded whole, once. Of a larger one each step
            looks at a pool.
    """

    name: str
    scored_whole: ClassVar[int] = ENUMERABLE

    @abstractmethod
    def sample(self, rng: np.random.Generator) -> str:
        """A random spec."""

    @abstractmethod
    def neighbours(self, spec: str) -> list[str]:
        """Specs one elementary change away, without `spec` itself, always in the same order."""

    @abstractmethod
    def graphs(self, specs: Sequence[str]) -> GraphBatch:
        """The computation graphs; no weights are made."""

    @abstractmethod
    def network(self, spec: str) -> Any:
        """The network to train, freshly built."""

    def encode(self, specs: Sequence[str]) -> Encoded:
        """Features and counted costs of architectures, by their graphs."""
        return Encoded.of(self.graphs(specs))

    @property
    def size(self) -> float:
        """Number of specs, infinite where nobody has counted."""
        return math.inf

    def specs(self) -> tuple[str, ...] | None:
        """All specs in a fixed order; None where there are more than `ENUMERABLE`."""
        return None

    def contains(self, spec: str) -> bool:
        """Whether `spec` belongs here; True unless a space knows better."""
        del spec
        return True

    def identity(self, spec: str) -> str:
        """Text that is equal for specs that are the same network."""
        return spec

    def mutate(self, spec: str, rng: np.random.Generator) -> str:
        """A random neighbour; a random spec where there is none."""
        near = self.neighbours(spec)
        return near[int(rng.integers(len(near)))] if near else self.sample(rng)

    def crossover(self, one: str, other: str, rng: np.random.Generator) -> str:
        """A spec that takes each token from one of two parents; a mutant of the first where that makes none.

        Tokens are the runs of letters and digits of a spec, single digits where it has nothing else.
        """
        left, right = _tokens(one), _tokens(other)
        if len(left) == len(right):
            for _ in range(_TRIES):
                takes = rng.random(len(left)) < 0.5
                child = "".join(a if take else b for a, b, take in zip(left, right, takes, strict=True))
                if child not in (one, other) and self.contains(child):
                    return child
        return self.mutate(one, rng)


def _tokens(spec: str) -> list[str]:
    return list(spec) if spec.isdecimal() else re.split(r"(\W+)", spec)
