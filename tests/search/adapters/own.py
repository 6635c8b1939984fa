"""A space of one's own whose graphs are stamped, so that nothing is captured: widths of NATS-Bench's size space.

A depth decides how many widths there are to choose. `score` is smooth, with its best, 0, at one of 30 networks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from archcast.datasets.spaces import get_space
from archcast.graphs.graph import GraphBatch
from archcast.search.spaces import ChoiceSpace

NETWORKS = 5 + 25


def choices(choose: Callable[..., Any]) -> list[int]:
    return [choose(f"width{place}", [8, 16, 24, 32, 40]) for place in range(choose("depth", [1, 2]))]


def build(widths: list[int]) -> Any:
    return get_space("nats-sss").module(_channels(widths))


def _channels(widths: list[int]) -> str:
    return ":".join(map(str, [*widths, *[64] * (5 - len(widths))]))


class Widths(ChoiceSpace):
    """The space."""

    def graphs(self, specs: Sequence[str]) -> GraphBatch:
        return get_space("nats-sss").stamp([_channels(self.config(spec)) for spec in specs])


def three_choices(choose: Callable[..., Any]) -> list[int]:
    return [choose(f"width{place}", [8, 16, 24, 32, 40, 48, 56, 64]) for place in range(3)]


space = Widths(choices, build, (1, 3, 32, 32), name="widths")
three = Widths(three_choices, build, (1, 3, 32, 32), name="three")


def score(spec: str) -> float:
    widths = space.config(spec)
    return -float(abs(widths[0] - 24) + abs(sum(widths[1:]) - 16)) / 8


def three_score(spec: str) -> float:
    """Of `three`: the best is 0, at 40, 24, 48."""
    return -float(sum(abs(width - best) for width, best in zip(three.config(spec), (40, 24, 48), strict=True))) / 8
