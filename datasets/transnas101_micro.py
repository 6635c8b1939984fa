"""The cell space of TransNAS-Bench-101 (Duan et al., CVPR 2021): 4,096 cells in a fixed chain of five modules.

A cell has four points and an operation on each of the six edges between them; point j sums its incoming edges. The
modules 4-1-4-1-4 take 64 channels to 512; where a module halves the resolution, the edges from the input of its first
cell do so: convolutions by their stride, a skip by two shifted 1x1 convolutions (factorized reduction), a zero by
dropping.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby, permutations, product
from typing import Any, ClassVar, Self

import numpy as np

from archcast.datasets.nasbench201 import EDGES
from archcast.datasets.stamping import INPUT, Block, BlockBuilder, NodeTable, assemble
from archcast.datasets.transnas101 import Frame, TransNasSpace, block_output, relu_conv_bn
from archcast.graphs.graph import GraphBatch, Shape
from archcast.graphs.nodes import batch_norm, concat, conv, plain

MODULES = "41414"
"""Codes of the five modules."""

PREFIX = f"64-{MODULES}-"

OPERATIONS = (0, 1, 2, 3)
"""0 zero, 1 skip, 2 ReLU-conv1x1-BN, 3 ReLU-conv3x3-BN."""

ZERO, SKIP = 0, 1
KERNELS = {2: 1, 3: 3}


@dataclass(frozen=True)
class TransNasCell:
    """The six operations in the order of `EDGES`."""

    operations: tuple[int, ...]


class TransNas101Micro(TransNasSpace[TransNasCell]):
    """Specs look like `64-41414-1_02_333`: base channels, modules, the operations into points 1, 2 and 3."""

    name: ClassVar[str] = "transnas101-micro"
    example: ClassVar[str] = "64-41414-1_02_333"
    multiple: ClassVar[int] = 32

    def for_task(self, task: str) -> Self:
        """Also SVHN, on which others measured 192 of the cells."""
        return type(self)((1, 3, 32, 32)) if task == "svhn" else super().for_task(task)

    def parse(self, spec: str) -> TransNasCell:
        return TransNasCell(self._operations(spec))

    def format(self, arch: TransNasCell) -> str:
        return _spec(arch.operations)

    @property
    def size(self) -> int:
        return int(len(OPERATIONS) ** len(EDGES))

    def all_specs(self) -> Iterator[str]:
        return map(_spec, product(OPERATIONS, repeat=len(EDGES)))

    def sample(self, rng: np.random.Generator) -> str:
        return _spec(tuple(rng.integers(len(OPERATIONS), size=len(EDGES)).tolist()))

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

    def skeleton(self, spec: str) -> tuple[str, tuple[int, ...] | None]:
        return MODULES, self._operations(spec)

    def stamp(self, specs: Sequence[str], num_classes: int = 10) -> GraphBatch:
        frame = _frame(self.key, num_classes)
        distinct = {spec: index for index, spec in enumerate(dict.fromkeys(specs))}
        blocks = [frame.stem, frame.decoder_block]
        for spec in distinct:
            blocks.extend(frame.cells(self._operations(spec)))
        cell = np.fromiter((distinct[spec] for spec in specs), dtype=np.int64, count=len(specs))
        layout = np.empty((len(specs), len(frame.positions) + 2), dtype=np.int64)
        layout[:, 0], layout[:, -1] = 0, 1
        layout[:, 1:-1] = 2 + cell[:, None] * len(frame.forms) + frame.positions
        return assemble(frame.table.nodes, blocks, layout, self.graph_names(specs))

    def _operations(self, spec: str) -> tuple[int, ...]:
        if not isinstance(spec, str):
            raise self.refuse(spec, f"a spec is text, not {type(spec).__name__}")
        text = spec.strip()
        groups = text.removeprefix(PREFIX).split("_")
        if not text.startswith(PREFIX) or [len(group) for group in groups] != [1, 2, 3]:
            raise self.refuse(spec, f"it must be {PREFIX}a_bc_def, one operation for each edge into points 1, 2 and 3")
        digits = "".join(groups)
        if digits.strip("0123"):
            raise self.refuse(spec, "an operation is 0 (zero), 1 (skip), 2 (conv 1x1) or 3 (conv 3x3)")
        return tuple(map(int, digits))


def _spec(operations: Sequence[int]) -> str:
    a, b, c, d, e, f = operations
    return f"{PREFIX}{a}_{b}{c}_{d}{e}{f}"


def function_of(operations: Sequence[int]) -> str:
    """What the cells of a network compute, as text; equal for cells that are the same network.

    A network holds a cell in two forms. In most modules a skip passes its input on; in the first cell of a module that
    halves the resolution, a skip from the input has weights of its own. Both forms must agree. In either, a zero adds
    nothing and an operation on nothing gives nothing (BN starts without an offset). Unlike the rule of NAS-Bench-201,
    a layer used twice differs from two layers.
    """
    return f"{_layers_of(operations, reduces=False)} | {_layers_of(operations, reduces=True)}"


def _layers_of(operations: Sequence[int], *, reduces: bool) -> str:
    """Canonical text of the weighted layers that reach the output, and of the sums they read."""
    layers: list[tuple[int, tuple[int, ...]]] = []
    points: list[tuple[int, ...]] = [(-1,), (), (), ()]  # terms of each point's sum: -1 the input, else a layer
    for operation, (source, target) in zip(operations, EDGES, strict=True):
        terms = points[source]
        if operation == ZERO or not terms:
            continue
        if operation != SKIP or (reduces and source == 0):
            layers.append((operation, terms))
            terms = (len(layers) - 1,)
        points[target] += terms
    return _canonical_text(layers, points[3])


def _canonical_text(layers: Sequence[tuple[int, tuple[int, ...]]], output: tuple[int, ...]) -> str:
    """The least text over all numberings of the layers that `output` depends on."""
    unfolded: list[str] = []
    needs: list[set[int]] = []
    for number, (operation, terms) in enumerate(layers):
        unfolded.append(f"{operation}({'+'.join(sorted(unfolded[t] if t >= 0 else 'x' for t in terms))})")
        needs.append({number}.union(*(needs[term] for term in terms if term >= 0)))
    live: set[int] = set().union(*(needs[term] for term in output if term >= 0))
    ordered = sorted(live, key=lambda number: (len(unfolded[number]), unfolded[number]))
    groups = [list(group) for _, group in groupby(ordered, key=lambda number: unfolded[number])]
    texts = []
    for choice in product(*(permutations(group) for group in groups)):
        names = {-1: -1} | {number: name for name, number in enumerate(n for group in choice for n in group)}
        parts = [f"{layers[number][0]}{sorted(names[t] for t in layers[number][1])}" for number in list(names)[1:]]
        texts.append(f"{';'.join(parts)}={sorted(names[term] for term in output)}")
    return min(texts)


@lru_cache(1)
def _representatives() -> dict[str, str]:
    """Function of a cell -> the first spec that computes it."""
    found: dict[str, str] = {}
    for operations in product(OPERATIONS, repeat=len(EDGES)):
        found.setdefault(function_of(operations), _spec(operations))
    return found


class _CellFrame(Frame):
    """The frame with its one decoder, and the cells met so far in each of the forms the network holds."""

    def __init__(self, key: tuple[Any, ...], num_classes: int) -> None:
        super().__init__(key, num_classes)
        self.decoder_block = self.head(MODULES)
        steps = list(self.steps(MODULES))
        self.forms = list(dict.fromkeys(steps))
        self.positions = np.asarray([self.forms.index(step) for step in steps], dtype=np.int64)
        self._cells: dict[tuple[int, ...], tuple[Block, ...]] = {}

    def cells(self, operations: tuple[int, ...]) -> tuple[Block, ...]:
        """The cell in each of `forms`."""
        found = self._cells.get(operations)
        if found is None:
            found = tuple(_cell_block(self.table, operations, *form) for form in self.forms)
            self._cells[operations] = found
        return found


@lru_cache(8)
def _frame(key: tuple[Any, ...], num_classes: int) -> _CellFrame:
    return _CellFrame(key, num_classes)


def _cell_block(table: NodeTable, operations: Sequence[int], shape: Shape, channels: int, stride: int) -> Block:
    """One cell on `shape`, in the order in which the network runs it."""
    block = BlockBuilder(table, shape)
    points = [INPUT]
    total: int | None = None
    for operation, (source, target) in zip(operations, EDGES, strict=True):
        value = _operation(block, operation, points[source], channels, stride if source == 0 else 1)
        total = value if total is None else block.add(plain("Add", block.shape(value)), total, value)
        if source == target - 1:
            points.append(total)
            total = None
    return block.build()


def _operation(block: BlockBuilder, operation: int, value: int, channels: int, stride: int) -> int:
    shape = block.shape(value)
    out = block_output(shape, channels, stride)
    if operation in KERNELS:
        return block.chain(relu_conv_bn(shape, channels, KERNELS[operation], stride), value)
    if operation == ZERO:
        kept = [] if out == shape else [plain("Slice", (shape[0], 1, *out[2:]))]
        return block.chain([*kept, plain("Zero", out)], value)
    return value if out == shape else _factorized_reduction(block, value, channels, stride)


def _factorized_reduction(block: BlockBuilder, value: int, channels: int, stride: int) -> int:
    """Half of the channels from the even pixels, half from those one further down and right; together into BN."""
    shape = block.shape(value)
    half = conv(shape, channels // 2, 1, stride=stride)
    value = block.add(plain("Relu", shape), value)
    padded = block.add(plain("Pad", (*shape[:2], *(size + 1 for size in shape[2:]))), value)
    even = block.add(half, value)
    odd = block.chain([plain("Slice", shape), half], padded)
    both = concat((half.shape, half.shape))
    return block.chain([batch_norm(both.shape)], block.add(both, even, odd))
