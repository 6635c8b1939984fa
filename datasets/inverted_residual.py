"""Inverted residual blocks (Sandler et al., CVPR 2018) with squeeze-excite, and chains of them, as graphs.

Mobile networks such as MnasNet and MobileNetV3 are a stem, a chain of these blocks and a head. A block widens its input
by a 1x1 convolution, filters it depthwise, weighs its channels by squeeze-excite (Hu et al., CVPR 2018) and projects it
by a 1x1 convolution without activation. Where the shape stays the same, the input is added.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from archcast.datasets.stamping import INPUT, Block, BlockBuilder, NodeTable, assemble
from archcast.graphs.graph import GraphBatch, Node, Shape
from archcast.graphs.nodes import batch_norm, conv, gemm, global_average_pool, plain


@dataclass(frozen=True)
class InvertedResidual:
    """Everything about one block but its resolution.

    Attributes:
        expansion: width of the depthwise convolution over `in_channels`; 1 leaves the widening convolution out.
        squeeze: channels between the two convolutions of squeeze-excite; 0 for none.
        activation: "Relu" or "HardSwish", behind the first two convolutions.
        gate: "Sigmoid" or "HardSigmoid", the end of squeeze-excite.
    """

    in_channels: int
    out_channels: int
    kernel: int
    stride: int
    expansion: int
    squeeze: int
    activation: str
    gate: str

    @property
    def wide(self) -> int:
        """Channels of the depthwise convolution."""
        return self.in_channels * self.expansion

    @property
    def shortcut(self) -> bool:
        return self.stride == 1 and self.in_channels == self.out_channels


@dataclass(frozen=True)
class Chain:
    """A whole network: a 3x3 stem of stride 2, blocks, and a head.

    Attributes:
        stem: output channels of the stem.
        stem_activation: "Relu" or "HardSwish".
        blocks: the inverted residual blocks.
        head: channels of the 1x1 convolution with batch normalisation before the pool.
        mix: channels of a 1x1 convolution without batch normalisation behind the pool; 0 for none.
        head_activation: "Relu" or "HardSwish", of `head` and `mix`.
        dropout: probability of dropping a feature in front of the classifier, while training.
    """

    stem: int
    stem_activation: str
    blocks: tuple[InvertedResidual, ...]
    head: int
    mix: int
    head_activation: str
    dropout: float


class ChainStamper:
    """Blocks met so far, and batches of graphs made of them.

    A block depends on its settings and on the resolution that enters it, so most are shared by many networks.
    """

    def __init__(self, num_classes: int) -> None:
        self._num_classes = num_classes
        self._table = NodeTable()
        self._blocks: list[Block] = [BlockBuilder(self._table).build()]  # the empty block that fills up short chains
        self._ends: list[Shape] = [()]
        self._known: dict[tuple[object, ...], int] = {}

    def stamp(self, chains: Sequence[Chain], images: Sequence[Shape], names: Sequence[str]) -> GraphBatch:
        """The graphs of `chains`, each for images of its own shape `(1, channels, height, width)`."""
        rows = [self._layout(chain, image) for chain, image in zip(chains, images, strict=True)]
        layout = np.zeros((len(rows), max(map(len, rows), default=0)), dtype=np.int64)
        for target, row in zip(layout, rows, strict=True):
            target[: len(row)] = row
        used, positions = np.unique(layout, return_inverse=True)
        blocks = [self._blocks[number] for number in used]
        return assemble(self._table.nodes, blocks, positions.reshape(layout.shape), names)

    def _layout(self, chain: Chain, image: Shape) -> list[int]:
        """Positions of the blocks of one network."""
        row = [self._block(("stem", chain.stem, chain.stem_activation), image, _stem)]
        for block in chain.blocks:
            row.append(self._block((block,), self._ends[row[-1]], _inverted_residual))
        settings = ("head", chain.head, chain.mix, chain.head_activation, self._num_classes)
        return [*row, self._block(settings, self._ends[row[-1]], _head)]

    def _block(self, settings: tuple[object, ...], shape: Shape, make: Callable[..., BlockBuilder]) -> int:
        key = (*settings, shape)
        found = self._known.get(key)
        if found is None:
            arguments = settings[1:] if isinstance(settings[0], str) else settings
            builder = make(self._table, shape, *arguments)
            found = self._known[key] = len(self._blocks)
            block = builder.build()
            self._blocks.append(block)
            self._ends.append(builder.shape(len(block.kinds) - 1))
        return found


def _stem(table: NodeTable, image: Shape, channels: int, activation: str) -> BlockBuilder:
    block = BlockBuilder(table)
    value = block.add(plain("Input", image))
    block.chain(_conv_bn(image, channels, 3, stride=2, activation=activation), value)
    return block


def _inverted_residual(table: NodeTable, shape: Shape, settings: InvertedResidual) -> BlockBuilder:
    block = BlockBuilder(table, shape)
    value, wide = INPUT, settings.wide
    if settings.expansion > 1:
        value = block.chain(_conv_bn(shape, wide, 1, activation=settings.activation))
    depthwise = _conv_bn(
        block.shape(value),
        wide,
        settings.kernel,
        stride=settings.stride,
        groups=wide,
        activation=settings.activation,
    )
    value = block.chain(depthwise, value)
    if settings.squeeze:
        value = block.add(plain("Mul", block.shape(value)), value, _gate(block, value, settings))
    value = block.chain(_conv_bn(block.shape(value), settings.out_channels, 1), value)
    if settings.shortcut:
        block.add(plain("Add", shape), value, INPUT)
    return block


def _gate(block: BlockBuilder, value: int, settings: InvertedResidual) -> int:
    """Squeeze-excite up to its gate: pool, 1x1 convolution, ReLU, 1x1 convolution, (hard) sigmoid."""
    pooled = global_average_pool(block.shape(value))
    reduce = conv(pooled.shape, settings.squeeze, 1, bias=True)
    expand = conv(reduce.shape, settings.wide, 1, bias=True)
    return block.chain([pooled, reduce, plain("Relu", reduce.shape), expand, plain(settings.gate, expand.shape)], value)


def _head(table: NodeTable, shape: Shape, channels: int, mix: int, activation: str, classes: int) -> BlockBuilder:
    block = BlockBuilder(table, shape)
    value = block.chain(_conv_bn(shape, channels, 1, activation=activation))
    value = block.chain([global_average_pool(block.shape(value))], value)
    if mix:
        mixed = conv(block.shape(value), mix, 1)
        value = block.chain([mixed, plain(activation, mixed.shape)], value)
    logits = gemm(block.shape(value)[:2], classes)
    block.chain([logits, plain("Output", logits.shape)], value)
    return block


def _conv_bn(
    shape: Shape, channels: int, kernel: int, *, stride: int = 1, groups: int = 1, activation: str = ""
) -> list[Node]:
    convolution = conv(shape, channels, kernel, stride=stride, padding=kernel // 2, groups=groups)
    nodes = [convolution, batch_norm(convolution.shape)]
    return [*nodes, plain(activation, convolution.shape)] if activation else nodes
