"""NAS-Bench-101 cells -> graphs.

Every cell gives five different blocks: one on the first stack, and on the second and third stack one for the first
cell, which receives half the channels, and one for the two others. Those two have the same edges.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from archcast.datasets.nasbench101_cells import Operations, Predecessors, members, vertex_channels
from archcast.datasets.stamping import INPUT, Block, BlockBuilder, NodeTable, assemble
from archcast.graphs.graph import GraphBatch, Shape
from archcast.graphs.nodes import batch_norm, concat, conv, gemm, global_average_pool, plain, pool

STACKS = 3


@dataclass(frozen=True)
class SkeletonSize:
    """Channels of the stem, which double with each stack, and cells in each of the three stacks."""

    stem_channels: int = 128
    cells_per_stack: int = 3


FULL = SkeletonSize()


def stamp_cells(
    cells: Sequence[tuple[Predecessors, Operations]],
    input_shape: Shape,
    num_classes: int,
    names: Sequence[str],
    size: SkeletonSize = FULL,
) -> GraphBatch:
    """The graphs of pruned cells."""
    skeleton = _skeleton(input_shape, num_classes, size)
    blocks = [*skeleton.fixed]
    for predecessors, operations in cells:
        blocks.extend(skeleton.cell(predecessors, operations))
    # Negative entries of the skeleton are cells: -1 the first block of a cell, -2 the second ...
    first = len(skeleton.fixed) + skeleton.blocks_per_cell * np.arange(len(cells))[:, None]
    layout = np.where(skeleton.layout < 0, first - skeleton.layout - 1, skeleton.layout)
    return assemble(skeleton.table.nodes, blocks, layout, names)


class _Skeleton:
    """The fixed parts of the network, and the kinds of all nodes cells have needed so far."""

    blocks_per_cell = 2 * STACKS - 1

    def __init__(self, input_shape: Shape, num_classes: int, size: SkeletonSize) -> None:
        self.table = NodeTable()
        self._stem_channels = size.stem_channels
        self._shapes: list[Shape] = [
            (1, size.stem_channels << stack, *(side >> stack for side in input_shape[2:])) for stack in range(STACKS)
        ]
        self._layers: dict[tuple[int, str, int, int], tuple[int, ...]] = {}
        self._concats: dict[tuple[int, tuple[int, ...]], int] = {}
        self.fixed = [self._stem(input_shape), *map(self._downsample, self._shapes[:-1]), self._head(num_classes)]
        head = len(self.fixed) - 1
        order = [0, *[-1] * size.cells_per_stack]
        for stack in range(1, STACKS):
            order += [stack, -2 * stack, *[-2 * stack - 1] * (size.cells_per_stack - 1)]
        self.layout = np.asarray([*order, head], dtype=np.int64)

    def _stem(self, input_shape: Shape) -> Block:
        block = BlockBuilder(self.table)
        image = block.add(plain("Input", input_shape))
        convolution = conv(input_shape, self._stem_channels, 3, padding=1)
        block.chain([convolution, batch_norm(convolution.shape), plain("Relu", convolution.shape)], image)
        return block.build()

    def _downsample(self, shape: Shape) -> Block:
        block = BlockBuilder(self.table)
        block.chain([pool("MaxPool", shape, 2, stride=2)])
        return block.build()

    def _head(self, num_classes: int) -> Block:
        shape = self._shapes[-1]
        block = BlockBuilder(self.table)
        logits = gemm(shape[:2], num_classes)
        block.chain([global_average_pool(shape), logits, plain("Output", logits.shape)])
        return block.build()

    def cell(self, predecessors: Predecessors, operations: Operations) -> list[Block]:
        """The blocks of one cell: stack 0; stack 1 first and later; stack 2 first and later."""
        blocks: list[Block] = []
        for stack in range(STACKS):
            output = self._stem_channels << stack
            widths = vertex_channels(predecessors, output)
            entering = (output >> 1, output) if stack else (output,)
            blocks += self._cell(stack, entering, widths, predecessors, operations)
        return blocks

    def _cell(
        self,
        stack: int,
        entering: tuple[int, ...],
        widths: list[int],
        predecessors: Predecessors,
        operations: Operations,
    ) -> list[Block]:
        """One cell for each number of channels that may enter it, nodes in the order in which the network runs them."""
        block = _Draft(len(entering))
        values = [INPUT]
        last = len(operations) + 1
        for vertex, operation in enumerate(operations, start=1):
            width, mask = widths[vertex], predecessors[vertex]
            terms = []
            for source in members(mask & ~1):
                value = values[source]
                if widths[source] != width:
                    value = block.chain(self._layer(stack, "Slice", 0, width), value)
                terms.append(value)
            if mask & 1:
                terms.append(block.fork([self._layer(stack, "c1", channels, width) for channels in entering]))
            value = block.total(self._layer(stack, "Add", 0, width), terms)
            values.append(block.chain(self._layer(stack, operation, width, width), value))
        feeding = [vertex for vertex in members(predecessors[last]) if vertex]
        output = [values[vertex] for vertex in feeding]
        if len(feeding) > 1:
            output = [block.join(self._concat(stack, tuple(widths[vertex] for vertex in feeding)), output)]
        if predecessors[last] & 1:
            output.append(block.fork([self._layer(stack, "c1", channels, widths[last]) for channels in entering]))
            block.total(self._layer(stack, "Add", 0, widths[last]), output)
        return block.build()

    def _layer(self, stack: int, operation: str, entering: int, width: int) -> tuple[int, ...]:
        """Kinds of the chain of nodes of one operation; convolutions bring their BN and ReLU."""
        key = (stack, operation, entering, width)
        found = self._layers.get(key)
        if found is None:
            spatial = self._shapes[stack][2:]
            shape = (1, width, *spatial)
            if operation in ("c1", "c3"):
                kernel = int(operation[1])
                convolution = conv((1, entering, *spatial), width, kernel, padding=kernel // 2)
                nodes = [convolution, batch_norm(shape), plain("Relu", shape)]
            elif operation == "mp":
                nodes = [pool("MaxPool", shape, 3, stride=1, padding=1)]
            else:
                nodes = [plain(operation, shape)]
            found = self._layers[key] = tuple(self.table[node] for node in nodes)
        return found

    def _concat(self, stack: int, widths: tuple[int, ...]) -> int:
        found = self._concats.get((stack, widths))
        if found is None:
            shapes = tuple((1, width, *self._shapes[stack][2:]) for width in widths)
            found = self._concats[stack, widths] = self.table[concat(shapes)]
        return found


class _Draft:
    """Blocks under construction that share their edges. Nodes are numbers of the node table already."""

    def __init__(self, variants: int) -> None:
        self._kinds: list[list[int]] = [[] for _ in range(variants)]
        self._sources: list[int] = []
        self._targets: list[int] = []

    def chain(self, kinds: tuple[int, ...], value: int) -> int:
        """One node after another behind `value`."""
        for variant in self._kinds:
            variant.extend(kinds)
        return self._link(len(kinds), value)

    def fork(self, kinds: list[tuple[int, ...]]) -> int:
        """A chain behind the input of the block, one for each variant."""
        for variant, own in zip(self._kinds, kinds, strict=True):
            variant.extend(own)
        return self._link(len(kinds[0]), INPUT)

    def join(self, kind: int, inputs: list[int]) -> int:
        """One node with several inputs."""
        for variant in self._kinds:
            variant.append(kind)
        number = len(self._kinds[0]) - 1
        self._sources += inputs
        self._targets += [number] * len(inputs)
        return number

    def total(self, add: tuple[int, ...], terms: list[int]) -> int:
        value = terms[0]
        for term in terms[1:]:
            value = self.join(add[0], [value, term])
        return value

    def _link(self, length: int, value: int) -> int:
        """Edges along the `length` nodes added last, the first of which reads `value`."""
        end = len(self._kinds[0])
        start = end - length
        self._sources.append(value)
        self._sources += range(start, end - 1)
        self._targets += range(start, end)
        return end - 1

    def build(self) -> list[Block]:
        edges = np.asarray(self._sources + self._targets, dtype=np.int64).reshape(2, -1)
        return [Block(np.asarray(kinds, dtype=np.int64), edges) for kinds in self._kinds]


@lru_cache(8)
def _skeleton(input_shape: Shape, num_classes: int, size: SkeletonSize) -> _Skeleton:
    return _Skeleton(input_shape, num_classes, size)
