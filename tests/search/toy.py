"""Toy spaces: their graphs are made by hand, so that nothing is built or captured."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Any

import numpy as np

from archcast.datasets.spaces import get_space
from archcast.graphs.graph import GraphBatch
from archcast.search.space import Space

ALL = tuple(".".join(map(str, digits)) for digits in product(range(5), repeat=4))


class CountingSpace(Space):
    """Four digits 0..4, `a.b.c.d`; the first two may be swapped without changing the network.

    The graphs are those of NATS-Bench's size space; the digits choose the channels.
    """

    name = "toy"
    NETWORKS = 25 * 15

    def sample(self, rng: np.random.Generator) -> str:
        return ".".join(str(digit) for digit in rng.integers(5, size=4))

    def neighbours(self, spec: str) -> list[str]:
        digits = spec.split(".")
        return [
            ".".join([*digits[:place], str(other), *digits[place + 1 :]])
            for place in range(4)
            for other in range(5)
            if str(other) != digits[place]
        ]

    def graphs(self, specs: Sequence[str]) -> GraphBatch:
        return get_space("nats-sss").stamp([_channels(spec) for spec in specs])

    def network(self, spec: str) -> Any:
        return get_space("nats-sss").module(_channels(spec))

    @property
    def size(self) -> float:
        return 625.0

    def specs(self) -> tuple[str, ...]:
        return ALL

    def contains(self, spec: str) -> bool:
        parts = spec.split(".")
        return len(parts) == 4 and all(part in "01234" and len(part) == 1 for part in parts)

    def identity(self, spec: str) -> str:
        a, b, *rest = spec.split(".")
        return ".".join([*sorted((a, b)), *rest])


class EndlessSpace(CountingSpace):
    """The same, but nobody can list it."""

    @property
    def size(self) -> float:
        return float("inf")

    def specs(self) -> None:  # type: ignore[override]  # a space that cannot be enumerated
        return None


def _channels(spec: str) -> str:
    """The two digits that may be swapped come in order, so that one network has one graph."""
    a, b, c, d = map(int, spec.split("."))
    return ":".join(str(8 * (1 + digit)) for digit in (min(a, b), max(a, b), c, d, 3))


def score(spec: str) -> float:
    """Smooth, with its best at 3.3.4.1 among 375 networks."""
    a, b, c, d = map(int, spec.split("."))
    return 90.0 - abs(a + b - 6) - 0.5 * (a - b) ** 2 - (c - 4) ** 2 - 2.0 * (d - 1) ** 2
