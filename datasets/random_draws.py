"""Random decisions by name: what is decided for a network depends on the seed and on what is asked, not on the order.

A random network asks for its width, depth, wiring ... one decision after the other. Each decision is a number derived
from a key, the *dimension* it belongs to and its place in the network (stage, block, edge). The networks of one pool
share the key of most dimensions and have a key of their own for a few: these are what varies in the pool.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Final, TypeVar

from archcast.errors import UnknownNameError

T = TypeVar("T")
Place = int | str

DIMENSIONS: Final = ("width", "depth", "topology", "operations", "resolution", "kernel", "expansion", "style")
"""What can vary inside a pool.

width: channels of stem, stages and tokens. depth: stages, and blocks per stage. topology: which edges a cell has, which
branches and shortcuts. operations: what stands on an edge, the kind of the block of each stage. resolution: image size,
patches and where strides stand. kernel: window sizes. expansion: ratios inside a block, groups, heads, squeeze-excite.
style: activations, normalisation, order of both, positions, classifier.
"""


class Draws:
    """Decisions of one network.

    Args:
        shared: key of the dimensions that all networks of the pool have in common.
        own: key of those that are this network's own.
        varied: the dimensions with the key `own`.

    Raises:
        UnknownNameError: `varied` names a dimension that does not exist.
    """

    def __init__(self, shared: str, own: str, varied: Iterable[str] = DIMENSIONS) -> None:
        varied = frozenset(varied)
        unknown = varied - set(DIMENSIONS)
        if unknown:
            raise UnknownNameError(f"no dimension is called {min(unknown)!r}; there are {', '.join(DIMENSIONS)}")
        self._shared, self._own, self.varied = shared, own, varied

    def number(self, dimension: str, *place: Place) -> float:
        """A number in [0, 1). A `dimension` outside `DIMENSIONS` (such as "family") is shared by the pool."""
        key = self._own if dimension in self.varied else self._shared
        return _number(key, dimension, place)

    def pick(self, dimension: str, options: Sequence[T], *place: Place) -> T:
        """One of `options`, each as likely as the others."""
        return options[int(self.number(dimension, *place) * len(options))]

    def chance(self, dimension: str, probability: float, *place: Place) -> bool:
        return self.number(dimension, *place) < probability

    def between(self, dimension: str, low: int, high: int, *place: Place) -> int:
        """A whole number from `low` to `high`, both included."""
        return low + int(self.number(dimension, *place) * (high - low + 1))

    def subset(self, dimension: str, options: Sequence[T], low: int, *place: Place) -> tuple[T, ...]:
        """At least `low` of `options`, in their order."""
        count = self.between(dimension, low, len(options), *place, "count")
        order = sorted(range(len(options)), key=lambda item: self.number(dimension, *place, item))
        return tuple(options[item] for item in sorted(order[:count]))


@lru_cache(16_384)  # the networks of a pool share most decisions, the blocks of a stage many
def _number(key: str, dimension: str, place: tuple[Place, ...]) -> float:
    text = f"{key}/{dimension}/{'/'.join(map(str, place))}"
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    return (int.from_bytes(digest, "little") >> 11) * 2.0**-53
