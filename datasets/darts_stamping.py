"""DARTS cells -> graphs.

A cell reads the outputs of the two cells before it, so a block also has edges into the block before the previous one,
and depends on how long the previous one is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from archcast.datasets.stamping import INPUT, Block, BlockBuilder, NodeTable, assemble
from archcast.graphs.graph import GraphBatch, Node, Shape
from archcast.graphs.nodes import batch_norm, concat, conv, gemm, global_average_pool, plain, pool

if TYPE_CHECKING:
    from archcast.datasets.darts import Cell, Genotype

STEM_MULTIPLIER = 3


def reductions(layers: int) -> tuple[int, int]:
    """The two layers that halve the resolution and double the channels."""
    return layers // 3, 2 * layers // 3


def stamp_genotypes(
    genotypes: Sequence[Genotype],
    input_shape: Shape,
    channels: int,
    layers: int,
    num_classes: int,
    names: Sequence[str],
) -> GraphBatch:
    """The graphs of genotypes whose nodes all reach the output."""
    stamper = _Stamper(input_shape, channels, layers, num_classes)
    layout = np.asarray([stamper.add(genotype) for genotype in genotypes], dtype=np.int64)
    return assemble(stamper.table.nodes, stamper.blocks, layout.reshape(len(genotypes), layers + 2), names)


class _Stamper:
    """Blocks met so far: the same cell at the same place, behind a block of the same length, is written once."""

    def __init__(self, input_shape: Shape, channels: int, layers: int, num_classes: int) -> None:
        self.table = NodeTable()
        self.blocks: list[Block] = []
        self._known: dict[tuple[object, ...], int] = {}
        self._channels, self._layers, self._classes = channels, layers, num_classes
        self._stem_shape: Shape = (1, STEM_MULTIPLIER * channels, *input_shape[2:])
        stem = BlockBuilder(self.table)
        image = stem.add(plain("Input", input_shape))
        convolution = conv(input_shape, self._stem_shape[1], 3, padding=1)
        stem.chain([convolution, batch_norm(convolution.shape)], image)
        self.blocks.append(stem.build())

    def add(self, genotype: Genotype) -> list[int]:
        """Positions of the blocks of one network."""
        row, channels, after_reduction = [0], self._channels, False
        shapes = (self._stem_shape, self._stem_shape)
        for layer in range(self._layers):
            reduce = layer in reductions(self._layers)
            channels *= 2 if reduce else 1
            cell = genotype.reduce if reduce else genotype.normal
            # Both inputs of the first cell are the stem.
            distance = len(self.blocks[row[-1]].kinds) if layer else 0
            key = (cell, *shapes, channels, reduce, distance)
            if key not in self._known:
                self._known[key] = len(self.blocks)
                self.blocks.append(self._cell(cell, shapes, channels, reduce, after_reduction, distance))
            row.append(self._known[key])
            height, width = shapes[1][2:]
            scale = 2 if reduce else 1
            shapes = (shapes[1], (1, channels * len(cell.concat), height // scale, width // scale))
            after_reduction = reduce
        head = ("head", shapes[1])
        if head not in self._known:
            self._known[head] = len(self.blocks)
            self.blocks.append(self._head(shapes[1]))
        return [*row, self._known[head]]

    def _cell(
        self,
        cell: Cell,
        shapes: tuple[Shape, Shape],
        channels: int,
        reduce: bool,
        after_reduction: bool,
        distance: int,
    ) -> Block:
        block = BlockBuilder(self.table, shapes[1])
        before_last = INPUT - distance
        if after_reduction:
            first = _factorized_reduce(block, before_last, shapes[0], channels)
        else:
            first = block.chain(_relu_conv_bn(shapes[0], channels), before_last)
        states = [first, block.chain(_relu_conv_bn(shapes[1], channels))]
        for node in cell.nodes:
            terms = [
                _operation(block, operation, states[source], 2 if reduce and source < 2 else 1)
                for operation, source in node
            ]
            states.append(block.add(plain("Add", block.shape(terms[0])), *terms))
        taken = [states[state] for state in cell.concat]
        block.add(concat(tuple(block.shape(value) for value in taken)), *taken)
        return block.build()

    def _head(self, shape: Shape) -> Block:
        block = BlockBuilder(self.table, shape)
        logits = gemm(shape[:2], self._classes)
        block.chain([global_average_pool(shape), logits, plain("Output", logits.shape)])
        return block.build()


def _relu_conv_bn(shape: Shape, channels: int) -> list[Node]:
    convolution = conv(shape, channels, 1)
    return [plain("Relu", shape), convolution, batch_norm(convolution.shape)]


def _factorized_reduce(block: BlockBuilder, value: int, shape: Shape, channels: int) -> int:
    relu = block.add(plain("Relu", shape), value)
    even = conv(shape, channels // 2, 1, stride=2)
    left = block.add(even, relu)
    moved: Shape = (*shape[:2], shape[2] - 1, shape[3] - 1)
    cut = block.add(plain("Slice", moved), relu)
    odd = conv(moved, channels // 2, 1, stride=2)
    right = block.add(odd, cut)
    joined = concat((even.shape, odd.shape))
    return block.chain([batch_norm(joined.shape)], block.add(joined, left, right))


def _depthwise_separable(shape: Shape, kernel: int, stride: int, dilation: int = 1) -> list[Node]:
    channels = shape[1]
    padding = dilation * (kernel // 2)
    depthwise = conv(shape, channels, kernel, stride=stride, padding=padding, dilation=dilation, groups=channels)
    pointwise = conv(depthwise.shape, channels, 1)
    return [plain("Relu", shape), depthwise, pointwise, batch_norm(pointwise.shape)]


def _operation(block: BlockBuilder, name: str, value: int, stride: int) -> int:
    shape = block.shape(value)
    if name == "skip_connect":
        return value if stride == 1 else _factorized_reduce(block, value, shape, shape[1])
    kernel = int(name[-1])
    if name.endswith("pool_3x3"):
        op = "MaxPool" if name.startswith("max") else "AveragePool"
        return block.add(pool(op, shape, kernel, stride=stride, padding=1), value)
    if name.startswith("dil_conv"):
        return block.chain(_depthwise_separable(shape, kernel, stride, dilation=2), value)
    first = _depthwise_separable(shape, kernel, stride)
    return block.chain([*first, *_depthwise_separable(first[-1].shape, kernel, 1)], value)
