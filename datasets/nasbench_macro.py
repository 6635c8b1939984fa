"""NAS-Bench-Macro (Su et al., CVPR 2021): 6,561 networks of eight layers, three choices each.

A stem of 32 channels, three stages of 2, 3 and 3 layers, a 1x1 convolution to 1,280 channels and a linear classifier.
The first layer of each stage doubles the channels and halves the resolution.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from archcast.datasets.space import SearchSpace
from archcast.datasets.stamping import INPUT, Block, BlockBuilder, NodeTable, assemble
from archcast.graphs.graph import GraphBatch, Node, Shape
from archcast.graphs.nodes import batch_norm, conv, gemm, global_average_pool, plain

if TYPE_CHECKING:
    from torch import nn

STAGES = (2, 3, 3)
STEM_CHANNELS = 32
HEAD_WIDTH = 40
"""Channels of the last convolution, as a multiple of those of the stem: 1,280."""
EXPANSION_AND_KERNEL = {1: (3, 3), 2: (6, 5)}
"""Inverted residual blocks by choice; choice 0 is the identity."""

LAYERS = sum(STAGES)
_FIRST = tuple(sum(STAGES[:stage]) for stage in range(len(STAGES)))


@dataclass(frozen=True)
class Choices:
    """0 identity, 1 inverted residual (expansion 3, kernel 3), 2 inverted residual (expansion 6, kernel 5)."""

    layers: tuple[int, ...]


class NASBenchMacro(SearchSpace[Choices]):
    """Specs are eight digits out of 0, 1, 2, such as `02012100`.

    Args:
        stem_channels: channels of the stem, which all others are multiples of.
    """

    name: ClassVar[str] = "nas-bench-macro"
    example: ClassVar[str] = "02012100"

    def __init__(self, input_shape: Shape | None = None, *, stem_channels: int = STEM_CHANNELS) -> None:
        super().__init__(input_shape)
        self.stem_channels = stem_channels

    def parse(self, spec: str) -> Choices:
        return Choices(self._choices(spec))

    def format(self, arch: Choices) -> str:
        return "".join(map(str, arch.layers))

    @property
    def size(self) -> int:
        return int(3**LAYERS)

    def all_specs(self) -> Iterator[str]:
        return map("".join, product("012", repeat=LAYERS))

    def sample(self, rng: np.random.Generator) -> str:
        return "".join(map(str, rng.integers(3, size=LAYERS)))

    def neighbours(self, spec: str) -> list[str]:
        text = "".join(map(str, self._choices(spec)))
        return [
            text[:layer] + other + text[layer + 1 :]
            for layer in range(LAYERS)
            for other in "012"
            if other != text[layer]
        ]

    def canonical(self, spec: str) -> str:
        """Identities behind the first layer of a stage do nothing, so they are moved to the end of their stage."""
        choices = self._choices(spec)
        stages = []
        for first, length in zip(_FIRST, STAGES, strict=True):
            later = choices[first + 1 : first + length]
            stages.append((choices[first], *(c for c in later if c), *(c for c in later if not c)))
        return "".join(str(choice) for stage in stages for choice in stage)

    def module(self, spec: str, num_classes: int = 10) -> nn.Module:
        from archcast.datasets.nasbench_macro_module import MacroNetwork

        return MacroNetwork(self._choices(spec), num_classes, self.input_shape[1], self.stem_channels)

    def stamp(self, specs: Sequence[str], num_classes: int = 10) -> GraphBatch:
        nodes, blocks = _blocks(self.input_shape, num_classes, self.stem_channels)
        choices = np.asarray([self._choices(spec) for spec in specs], dtype=np.int64).reshape(-1, LAYERS)
        layout = np.empty((len(specs), LAYERS + 2), dtype=np.int64)
        layout[:, 0], layout[:, -1] = 0, len(blocks) - 1
        layout[:, 1:-1] = 1 + 3 * np.arange(LAYERS) + choices
        return assemble(nodes, blocks, layout, self.graph_names(specs))

    def small(self) -> NASBenchMacro:
        """A stem of 16 channels instead of 32, images of 16 x 16: a sixteenth of the MACs."""
        return NASBenchMacro((1, self.input_shape[1], 16, 16), stem_channels=16)

    def _choices(self, spec: str) -> tuple[int, ...]:
        if not isinstance(spec, str):
            raise self.refuse(spec, f"a spec is text, not {type(spec).__name__}; mind the leading zeros")
        text = spec.strip()
        if len(text) != LAYERS or text.strip("012"):
            raise self.refuse(spec, f"it must be {LAYERS} digits, each 0 (identity), 1 or 2 (inverted residual)")
        return tuple(map(int, text))


@lru_cache(8)
def _blocks(input_shape: Shape, num_classes: int, stem_channels: int) -> tuple[tuple[Node, ...], list[Block]]:
    """Node table and blocks: the stem, three choices for each of the eight layers, the head."""
    table = NodeTable()
    stem = BlockBuilder(table)
    image = stem.add(plain("Input", input_shape))
    value = stem.chain(_conv_bn_relu(input_shape, stem_channels, 3), image)
    shape = stem.shape(value)
    blocks = [stem.build()]
    for layer in range(LAYERS):
        stride = 2 if layer in _FIRST else 1
        blocks += [_layer(table, shape, choice, stride) for choice in range(3)]
        shape = (1, shape[1] * stride, *(size // stride for size in shape[2:]))
    blocks.append(_head(table, shape, stem_channels * HEAD_WIDTH, num_classes))
    return table.nodes, blocks


def _layer(table: NodeTable, shape: Shape, choice: int, stride: int) -> Block:
    block = BlockBuilder(table, shape)
    channels = shape[1] * stride
    if choice == 0:
        if stride > 1:
            projection = conv(shape, channels, 1, stride=stride)
            block.chain([projection, batch_norm(projection.shape)])
        return block.build()
    expansion, kernel = EXPANSION_AND_KERNEL[choice]
    wide = shape[1] * expansion
    value = block.chain(_conv_bn_relu(shape, wide, 1))
    value = block.chain(_conv_bn_relu(block.shape(value), wide, kernel, stride=stride, groups=wide), value)
    value = block.chain(_conv_bn_relu(block.shape(value), channels, 1)[:2], value)
    if stride == 1:
        block.add(plain("Add", shape), value, INPUT)
    return block.build()


def _head(table: NodeTable, shape: Shape, channels: int, num_classes: int) -> Block:
    block = BlockBuilder(table, shape)
    value = block.chain(_conv_bn_relu(shape, channels, 1))
    pooled = global_average_pool(block.shape(value))
    logits = gemm(pooled.shape[:2], num_classes)
    block.chain([pooled, logits, plain("Output", logits.shape)], value)
    return block.build()


def _conv_bn_relu(shape: Shape, channels: int, kernel: int, *, stride: int = 1, groups: int = 1) -> list[Node]:
    convolution = conv(shape, channels, kernel, stride=stride, padding=kernel // 2, groups=groups)
    return [convolution, batch_norm(convolution.shape), plain("Relu", convolution.shape)]
