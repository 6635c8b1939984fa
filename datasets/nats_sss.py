"""The size space of NATS-Bench (Dong et al., TPAMI 2021): 32,768 choices of five channel counts around one cell.

The cell is the best one of the topology space. The layers are stem, cell, reduction, cell, reduction, cell; the stem
and the first cell share the first count, every later layer has its own. Where a cell changes the channels, its edges
from the input do so: convolutions directly, the skip by a 1x1 convolution with BN.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from archcast.datasets.nasbench201 import cell_block, head_block, reduction_block, stem_block
from archcast.datasets.space import SearchSpace
from archcast.datasets.stamping import Block, NodeTable, assemble
from archcast.graphs.graph import GraphBatch, Shape

if TYPE_CHECKING:
    from torch import nn

CHOICES = (8, 16, 24, 32, 40, 48, 56, 64)
LAYERS = 5
REDUCTIONS = (False, True, False, True, False)
"""Whether each layer is a reduction block; the others are cells."""

CELL = ("nor_conv_3x3", "nor_conv_3x3", "nor_conv_3x3", "skip_connect", "nor_conv_3x3", "nor_conv_3x3")
"""`|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|skip_connect~0|nor_conv_3x3~1|nor_conv_3x3~2|`"""


@dataclass(frozen=True)
class Channels:
    """Output channels of the five layers; the first also of the stem."""

    counts: tuple[int, ...]


class NatsSizeSpace(SearchSpace[Channels]):
    """Specs look like `16:24:32:40:64`: five counts out of 8, 16, ..., 64."""

    name: ClassVar[str] = "nats-sss"
    example: ClassVar[str] = "16:24:32:40:64"

    def parse(self, spec: str) -> Channels:
        return Channels(self._counts(spec))

    def format(self, arch: Channels) -> str:
        return ":".join(map(str, arch.counts))

    @property
    def size(self) -> int:
        return int(len(CHOICES) ** LAYERS)

    def all_specs(self) -> Iterator[str]:
        return (":".join(counts) for counts in product(map(str, CHOICES), repeat=LAYERS))

    def sample(self, rng: np.random.Generator) -> str:
        return ":".join(str(CHOICES[index]) for index in rng.integers(len(CHOICES), size=LAYERS))

    def neighbours(self, spec: str) -> list[str]:
        counts = self._counts(spec)
        return [
            ":".join(map(str, (*counts[:layer], other, *counts[layer + 1 :])))
            for layer in range(LAYERS)
            for other in CHOICES
            if other != counts[layer]
        ]

    def canonical(self, spec: str) -> str:
        """The spec without stray blanks: no two of them are the same network."""
        return ":".join(map(str, self._counts(spec)))

    def module(self, spec: str, num_classes: int = 10) -> nn.Module:
        from archcast.datasets.nasbench201_module import CellNetwork

        counts = self._counts(spec)
        layers = list(zip(counts, REDUCTIONS, strict=True))
        return CellNetwork(CELL, counts[0], layers, num_classes, in_channels=self.input_shape[1])

    def stamp(self, specs: Sequence[str], num_classes: int = 10) -> GraphBatch:
        skeleton = _skeleton(self.input_shape, num_classes)
        layout = np.empty((len(specs), LAYERS + 2), dtype=np.int64)
        for row, spec in zip(layout, specs, strict=True):
            row[:] = skeleton.layout(self._counts(spec))
        return assemble(skeleton.table.nodes, skeleton.blocks, layout, self.graph_names(specs))

    def small(self) -> NatsSizeSpace:
        """The same networks on images of 16 x 16: a quarter of the MACs."""
        return NatsSizeSpace((1, self.input_shape[1], 16, 16))

    def _counts(self, spec: str) -> tuple[int, ...]:
        allowed = ", ".join(map(str, CHOICES))
        if not isinstance(spec, str):
            raise self.refuse(spec, f"a spec is text, not {type(spec).__name__}")
        counts = tuple(_COUNT_OF.get(token, 0) for token in spec.strip().split(":"))
        if len(counts) != LAYERS or 0 in counts:
            raise self.refuse(spec, f"it must be {LAYERS} channel counts joined by ':', each one of {allowed}")
        return counts


_COUNT_OF = {str(count): count for count in CHOICES}


class _Skeleton:
    """Blocks met so far. A block depends on its layer and on the channels that enter and leave it."""

    def __init__(self, input_shape: Shape, num_classes: int) -> None:
        self.table = NodeTable()
        self.blocks: list[Block] = []
        self._input_shape = input_shape
        self._num_classes = num_classes
        self._known: dict[tuple[int, int, int], int] = {}

    def layout(self, counts: tuple[int, ...]) -> list[int]:
        """Positions in `blocks` of the stem, the five layers and the head."""
        first, last = counts[0], counts[-1]
        layers = enumerate(zip((first, *counts[:-1]), counts, strict=True))
        middle = [self._block(layer, entering, leaving) for layer, (entering, leaving) in layers]
        return [self._block(-1, 0, first), *middle, self._block(LAYERS, last, 0)]

    def _block(self, layer: int, entering: int, leaving: int) -> int:
        key = (layer, entering, leaving)
        found = self._known.get(key)
        if found is None:
            found = self._known[key] = len(self.blocks)
            self.blocks.append(self._make(layer, entering, leaving))
        return found

    def _make(self, layer: int, entering: int, leaving: int) -> Block:
        if layer < 0:
            return stem_block(self.table, self._input_shape, leaving)
        halvings = sum(REDUCTIONS[:layer])
        shape = (1, entering, *(size >> halvings for size in self._input_shape[2:]))
        if layer == LAYERS:
            return head_block(self.table, shape, self._num_classes)
        if REDUCTIONS[layer]:
            return reduction_block(self.table, shape, leaving)
        return cell_block(self.table, CELL, shape, leaving)


@lru_cache(8)
def _skeleton(input_shape: Shape, num_classes: int) -> _Skeleton:
    return _Skeleton(input_shape, num_classes)
