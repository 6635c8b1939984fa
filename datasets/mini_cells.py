"""`mini-cells`: small cells of four nodes with an operation on every edge, trained in seconds (archcast's own pool).

Patches of 2x2 pixels, a cell of 16 channels, 2x2 pooling and a 1x1 convolution, a cell of 24 channels, global average
pooling and a linear classifier: nothing but the cell looks at neighbouring places. In a cell every node adds up its
incoming edges; the outputs of nodes 1 to 3 that the input reaches are concatenated and projected back by a 1x1
convolution. The spec is that of one cell for both.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise, permutations, product
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from archcast.datasets.space import SearchSpace
from archcast.graphs.graph import Shape

if TYPE_CHECKING:
    from torch import nn

OPERATIONS = ("zero", "skip", "avg3", "max3", "conv1", "dw3", "dw5", "conv3")
NODES = 3
"""Nodes behind the input of a cell."""

Edges = tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Cell:
    """`edges[j - 1][i]` is the operation from node `i` to node `j`, for i < j."""

    edges: Edges

    def live(self) -> tuple[int, ...]:
        """The nodes that the input of the cell (node 0) reaches, without the input itself."""
        reached = {0}
        for node, operations in enumerate(self.edges, start=1):
            if any(op != "zero" and source in reached for source, op in enumerate(operations)):
                reached.add(node)
        return tuple(sorted(reached - {0}))


class MiniCells(SearchSpace[Cell]):
    """Specs such as `conv3;zero,dw3;skip,max3,conv1`: nodes by semicolons, edges from nodes 0, 1, 2 by commas."""

    name: ClassVar[str] = "mini-cells"
    example: ClassVar[str] = "conv3;zero,dw3;skip,max3,conv1"
    default_input_shape: ClassVar[Shape] = (1, 3, 12, 12)
    multiple: ClassVar[int] = 4

    def parse(self, spec: str) -> Cell:
        if not isinstance(spec, str):
            raise self.refuse(spec, f"a spec is text, not {type(spec).__name__}")
        edges = tuple(tuple(node.split(",")) for node in spec.split(";"))
        if [len(node) for node in edges] != list(range(1, NODES + 1)):
            raise self.refuse(spec, "give the edges of nodes 1, 2 and 3: one, two and three operations")
        unknown = [op for node in edges for op in node if op not in OPERATIONS]
        if unknown:
            raise self.refuse(spec, f"{unknown[0][:20]!r} is none of {', '.join(OPERATIONS)}")
        cell = Cell(edges)
        if not cell.live():
            raise self.refuse(spec, "at least one edge from the input (the first of each node) must not be zero")
        return cell

    def format(self, arch: Cell) -> str:
        return ";".join(",".join(node) for node in arch.edges)

    @property
    def size(self) -> int:
        edges = NODES * (NODES + 1) // 2
        return int(len(OPERATIONS) ** edges - len(OPERATIONS) ** (edges - NODES))

    def all_specs(self) -> Iterator[str]:
        for ops in product(OPERATIONS, repeat=NODES * (NODES + 1) // 2):
            cell = _cell(ops)
            if cell.live():
                yield self.format(cell)

    def sample(self, rng: np.random.Generator) -> str:
        """A random cell. Half of the edges are `zero`: fully connected cells differ little in accuracy."""
        edges = NODES * (NODES + 1) // 2
        while True:
            used, choices = rng.random(edges) < 0.5, rng.integers(1, len(OPERATIONS), size=edges)
            cell = _cell(tuple(OPERATIONS[k] for k in used * choices))
            if cell.live():
                return self.format(cell)

    def neighbours(self, spec: str) -> list[str]:
        ops = [op for node in self.parse(spec).edges for op in node]
        changed = [
            _cell((*ops[:edge], other, *ops[edge + 1 :]))
            for edge in range(len(ops))
            for other in OPERATIONS
            if other != ops[edge]
        ]
        return [self.format(cell) for cell in changed if cell.live()]

    def canonical(self, spec: str) -> str:
        """Edges of dead nodes become zero; of all orders of the nodes the first in the alphabet is taken.

        A node that only repeats another one (a single skip) passes its outgoing edges on to that one, as far as these
        are free.
        """
        cell = self.parse(spec)
        live = {0, *cell.live()}
        kept = {
            (source, node): op
            for node, operations in enumerate(cell.edges, start=1)
            for source, op in enumerate(operations)
            if op != "zero" and source in live
        }
        kept = _from_origins(kept)
        forms = []
        for order in permutations(range(1, NODES + 1)):
            place = dict(zip(range(NODES + 1), (0, *order), strict=True))
            moved = {(place[source], place[node]): op for (source, node), op in kept.items()}
            if all(source < node for source, node in moved):
                moved = _from_origins(moved)
                rows = [[moved.get((source, node), "zero") for source in range(node)] for node in range(1, NODES + 1)]
                forms.append(";".join(map(",".join, rows)))
        return min(forms)

    def module(self, spec: str, num_classes: int = 10) -> nn.Module:
        from archcast.datasets.mini_cells_module import CellNetwork

        return CellNetwork(self.parse(spec), num_classes, in_channels=self.input_shape[1])


def _cell(operations: tuple[str, ...]) -> Cell:
    starts = [node * (node - 1) // 2 for node in range(1, NODES + 2)]
    return Cell(tuple(operations[a:b] for a, b in pairwise(starts)))


def _from_origins(edges: dict[tuple[int, int], str]) -> dict[tuple[int, int], str]:
    """The same sums with every edge taken from the node whose value it is, or from the first of its repetitions."""
    incoming = {node: {s: op for (s, n), op in edges.items() if n == node} for node in range(1, NODES + 1)}
    origin = {0: 0}
    for node in range(1, NODES + 1):
        ((source, op), *others) = incoming[node].items() or [(0, "zero")]
        origin[node] = origin[source] if op == "skip" and not others else node
    moved = {}
    for node, sources in incoming.items():
        for value in {origin[source] for source in sources}:
            same = sorted(source for source in origin if origin[source] == value and source < node)
            operations = sorted(op for source, op in sources.items() if origin[source] == value)
            moved.update({(source, node): op for source, op in zip(same, operations, strict=False)})
    return moved
