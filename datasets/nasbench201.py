"""NAS-Bench-201 (Dong and Yang, ICLR 2020; the topology space of NATS-Bench): 15,625 cells.

A cell has four points and an operation on each of the six edges between them; point j sums its incoming edges. The
network: a stem of 16 channels, three stages of five cells (16, 32, 64 channels) with residual reduction blocks between
them, then BN-ReLU, global pooling and a linear classifier.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from archcast.datasets.space import SearchSpace
from archcast.datasets.stamping import INPUT, Block, BlockBuilder, NodeTable, assemble
from archcast.graphs.graph import GraphBatch, IntArray, Node, Shape
from archcast.graphs.nodes import batch_norm, conv, gemm, global_average_pool, plain, pool

if TYPE_CHECKING:
    from torch import nn

OPERATIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
"""What an edge can hold."""

EDGES = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
"""Source and target point of each edge, in the order of the spec."""

CELLS_PER_STAGE = 5
CHANNELS = (16, 32, 64)


@dataclass(frozen=True)
class Cell:
    """The six operations in the order of `EDGES`."""

    operations: tuple[str, ...]


class NASBench201(SearchSpace[Cell]):
    """Specs look like `|op~0|+|op~0|op~1|+|op~0|op~1|op~2|`, where `~j` is the point an edge comes from.

    Args:
        cells: cells in each stage.
    """

    name: ClassVar[str] = "nasbench201"
    example: ClassVar[str] = (
        "|nor_conv_3x3~0|+|nor_conv_3x3~0|avg_pool_3x3~1|+|skip_connect~0|nor_conv_3x3~1|skip_connect~2|"
    )

    def __init__(self, input_shape: Shape | None = None, *, cells: int = CELLS_PER_STAGE) -> None:
        super().__init__(input_shape)
        self.cells = cells

    def parse(self, spec: str) -> Cell:
        return Cell(self._operations(spec))

    def format(self, arch: Cell) -> str:
        return _spec(arch.operations)

    @property
    def size(self) -> int:
        return int(len(OPERATIONS) ** len(EDGES))

    def all_specs(self) -> Iterator[str]:
        return map(_spec, product(OPERATIONS, repeat=len(EDGES)))

    def sample(self, rng: np.random.Generator) -> str:
        return _spec(tuple(OPERATIONS[index] for index in rng.integers(len(OPERATIONS), size=len(EDGES))))

    def neighbours(self, spec: str) -> list[str]:
        operations = self._operations(spec)
        return [
            _spec((*operations[:edge], other, *operations[edge + 1 :]))
            for edge in range(len(EDGES))
            for other in OPERATIONS
            if other != operations[edge]
        ]

    def canonical(self, spec: str) -> str:
        """The first spec, in the order of `all_specs`, with the same `function_of`."""
        return _representatives()[function_of(self._operations(spec))]

    def isomorphism_hash(self, spec: str) -> str:
        text = f"{self.name}:{function_of(self._operations(spec))}"
        return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()

    def module(self, spec: str, num_classes: int = 10) -> nn.Module:
        from archcast.datasets.nasbench201_module import TinyNetwork

        return TinyNetwork(self._operations(spec), num_classes, in_channels=self.input_shape[1], cells=self.cells)

    def stamp(self, specs: Sequence[str], num_classes: int = 10) -> GraphBatch:
        skeleton = _skeleton(self.input_shape, num_classes, self.cells)
        distinct = {spec: index for index, spec in enumerate(dict.fromkeys(specs))}
        blocks = [*skeleton.fixed]
        for spec in distinct:
            blocks.extend(skeleton.cells(self._operations(spec)))
        cell = np.fromiter((distinct[spec] for spec in specs), dtype=np.int64, count=len(specs))
        layout = np.tile(skeleton.layout, (len(specs), 1))
        # Negative entries of the skeleton are cells: -1, -2, -3 for the three stages.
        first = len(skeleton.fixed) + cell[:, None] * len(CHANNELS)
        layout = np.where(layout < 0, first - layout - 1, layout)
        return assemble(skeleton.table.nodes, blocks, layout, self.graph_names(specs))

    def small(self) -> NASBench201:
        """Three cells a stage on images of 16 x 16: a seventh of the MACs.

        Depth matters more than resolution: with one cell a stage the statistics rank much worse.
        """
        return NASBench201((1, self.input_shape[1], 16, 16), cells=3)

    def _operations(self, spec: str) -> tuple[str, ...]:
        return self.read(spec, _parse_cached)


@lru_cache(20_000)
def _parse_cached(spec: str) -> tuple[str, ...]:
    points = spec.strip().split("+")
    if len(points) != 3:
        raise ValueError(f"it must have three groups joined by '+', one a point, but has {len(points)}")
    operations = []
    for target, point in enumerate(points, start=1):
        tokens = point.split("|")
        if len(tokens) != target + 2 or tokens[0] or tokens[-1]:
            raise ValueError(f"group {target} must be |op~0|...| with {target} operation(s), but is {point!r}")
        for source, token in enumerate(tokens[1:-1]):
            operation, _, index = token.partition("~")
            if operation not in OPERATIONS:
                raise ValueError(f"operation {operation!r} is unknown; use one of {', '.join(OPERATIONS)}")
            if index != str(source):
                raise ValueError(f"operation {source + 1} of group {target} must end with '~{source}', not {token!r}")
            operations.append(operation)
    return tuple(operations)


def _spec(operations: Sequence[str]) -> str:
    a, b, c, d, e, f = operations
    return f"|{a}~0|+|{b}~0|{c}~1|+|{d}~0|{e}~1|{f}~2|"


def function_of(operations: Sequence[str]) -> str:
    """What a cell computes, as text: sums of nested operations on the input `x`.

    `skip_connect` passes its input on, `none` adds nothing, an operation on nothing gives nothing (convolutions have no
    bias), and sums are flat and sorted. Two cells with the same text are the same network. There are 4,930 of them; the
    authors count 6,466, because their rule keeps zeros as terms of a sum.
    """
    points: list[list[str]] = [["x"], [], [], []]
    for operation, (source, target) in zip(operations, EDGES, strict=True):
        terms = points[source]
        if operation == "none" or not terms:
            continue
        if operation == "skip_connect":
            points[target].extend(terms)
        else:
            points[target].append(f"{operation}({'+'.join(sorted(terms))})")
    return "+".join(sorted(points[3])) or "0"


@lru_cache(1)
def _representatives() -> dict[str, str]:
    """Function of a cell -> the first spec that computes it."""
    found: dict[str, str] = {}
    for operations in product(OPERATIONS, repeat=len(EDGES)):
        found.setdefault(function_of(operations), _spec(operations))
    return found


def _relu_conv_bn(shape: Shape, channels: int, kernel: int, stride: int = 1) -> list[Node]:
    convolution = conv(shape, channels, kernel, stride=stride, padding=kernel // 2)
    return [plain("Relu", shape), convolution, batch_norm(convolution.shape)]


def operation_nodes(operation: str, shape: Shape, channels: int | None = None) -> list[Node]:
    """The chain of nodes of one operation on `shape`; `channels` defaults to those of `shape`."""
    channels = shape[1] if channels is None else channels
    if operation == "nor_conv_1x1":
        return _relu_conv_bn(shape, channels, 1)
    if operation == "nor_conv_3x3":
        return _relu_conv_bn(shape, channels, 3)
    if operation == "avg_pool_3x3":
        return [pool("AveragePool", shape, 3, stride=1, padding=1)]
    if operation == "none":
        return [plain("Zero", shape)]
    if channels == shape[1]:
        return []
    # NATS-Bench's size space: a skip that changes the channels is a 1x1 convolution and BN.
    projection = conv(shape, channels, 1)
    return [projection, batch_norm(projection.shape)]


def cell_block(table: NodeTable, operations: Sequence[str], shape: Shape, channels: int | None = None) -> Block:
    """One cell on `shape`, in the order in which the official network runs it."""
    block = BlockBuilder(table, shape)
    points = [INPUT]
    terms: list[int] = []
    for operation, (source, target) in zip(operations, EDGES, strict=True):
        value = points[source]
        out = block.chain(operation_nodes(operation, block.shape(value), channels), value)
        terms.append(out)
        if len(terms) > 1:
            terms = [block.add(plain("Add", block.shape(out)), *terms)]
        if source == target - 1:
            points.append(terms[0])
            terms = []
    return block.build()


def reduction_block(table: NodeTable, shape: Shape, channels: int) -> Block:
    """Residual block of stride 2 with an average-pooled, projected shortcut."""
    block = BlockBuilder(table, shape)
    main = block.chain(_relu_conv_bn(shape, channels, 3, stride=2))
    main = block.chain(_relu_conv_bn(block.shape(main), channels, 3), main)
    halved = pool("AveragePool", shape, 2, stride=2)
    shortcut = block.chain([halved, conv(halved.shape, channels, 1)])
    block.add(plain("Add", block.shape(main)), shortcut, main)
    return block.build()


def stem_block(table: NodeTable, input_shape: Shape, channels: int) -> Block:
    block = BlockBuilder(table)
    image = block.add(plain("Input", input_shape))
    convolution = conv(input_shape, channels, 3, padding=1)
    block.chain([convolution, batch_norm(convolution.shape)], image)
    return block.build()


def head_block(table: NodeTable, shape: Shape, num_classes: int) -> Block:
    logits = (shape[0], num_classes)
    block = BlockBuilder(table, shape)
    block.chain(
        [
            batch_norm(shape),
            plain("Relu", shape),
            global_average_pool(shape),
            gemm(shape[:2], num_classes),
            plain("Output", logits),
        ]
    )
    return block.build()


class _Skeleton:
    """Everything of the networks that does not depend on the cell, and the cells met so far.

    A cell is built once, on the first stage; the other stages have the same edges and other kinds.
    """

    def __init__(self, input_shape: Shape, num_classes: int, n: int) -> None:
        self.table = NodeTable()
        batch, _, height, width = input_shape
        self._shapes: list[Shape] = []
        for stage, channels in enumerate(CHANNELS):
            self._shapes.append((batch, channels, height >> stage, width >> stage))
        shapes = self._shapes
        self.fixed = [
            stem_block(self.table, input_shape, CHANNELS[0]),
            reduction_block(self.table, shapes[0], CHANNELS[1]),
            reduction_block(self.table, shapes[1], CHANNELS[2]),
            head_block(self.table, shapes[2], num_classes),
        ]
        self.layout = np.asarray([0, *[-1] * n, 1, *[-2] * n, 2, *[-3] * n, 3], dtype=np.int64)
        self._moves = self._kinds_on_later_stages()
        self._cells: dict[tuple[str, ...], tuple[Block, ...]] = {}

    def _kinds_on_later_stages(self) -> list[IntArray]:
        """For the second and third stage: kind of a cell's node on the first stage -> its kind there."""
        kinds = np.asarray(
            [
                [
                    self.table[node]
                    for operation in OPERATIONS
                    for node in (*operation_nodes(operation, shape), plain("Add", shape))
                ]
                for shape in self._shapes
            ],
            dtype=np.int64,
        )
        moves = []
        for stage_kinds in kinds[1:]:
            move = np.zeros(len(self.table.nodes), dtype=np.int64)
            move[kinds[0]] = stage_kinds
            moves.append(move)
        return moves

    def cells(self, operations: tuple[str, ...]) -> tuple[Block, ...]:
        """The cell on each of the three stages."""
        found = self._cells.get(operations)
        if found is None:
            first = cell_block(self.table, operations, self._shapes[0])
            found = (first, *(Block(move[first.kinds], first.edges) for move in self._moves))
            self._cells[operations] = found
        return found


@lru_cache(8)
def _skeleton(input_shape: Shape, num_classes: int, cells: int) -> _Skeleton:
    return _Skeleton(input_shape, num_classes, cells)
