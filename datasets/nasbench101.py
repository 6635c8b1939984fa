"""NAS-Bench-101 (Ying et al., ICML 2019): 423,624 cells of up to seven vertices and nine edges.

A vertex is a 3x3 or 1x1 convolution with BN and ReLU, or a 3x3 max pool; it sums its inputs. The output concatenates
the vertices that feed it. The network: a stem of 128 channels, three stacks of three cells; between stacks a 2x2 max
pool halves the resolution and the channels double.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from archcast.datasets.nasbench101_cells import (
    MAX_EDGES,
    MAX_VERTICES,
    OPERATIONS,
    Operations,
    Predecessors,
    canonical_cell,
    catalogue,
    edge_count,
    members,
    prune,
)
from archcast.datasets.nasbench101_stamping import FULL, SkeletonSize, stamp_cells
from archcast.datasets.space import SearchSpace
from archcast.graphs.graph import GraphBatch, Shape

if TYPE_CHECKING:
    from torch import nn

SIZE = 423_624
_OFFICIAL_NAMES = {
    "conv1x1-bn-relu": "c1",
    "conv3x3-bn-relu": "c3",
    "maxpool3x3": "mp",
    "input": "i",
    "output": "o",
}


@dataclass(frozen=True)
class Cell:
    """A pruned cell.

    Attributes:
        predecessors: for every vertex the bit mask of the vertices that feed it; vertex 0 is the input.
        operations: `c1`, `c3` or `mp` of every inner vertex.
    """

    predecessors: Predecessors
    operations: Operations

    @property
    def matrix(self) -> tuple[tuple[int, ...], ...]:
        """Adjacency matrix, rows are sources."""
        vertices = range(len(self.predecessors))
        return tuple(tuple(self.predecessors[v] >> u & 1 for v in vertices) for u in vertices)


class NASBench101(SearchSpace[Cell]):
    """Specs look like `011001000:i-c1-o`: the adjacency matrix row by row, and the operations of the vertices.

    The official operation names are read too, and blanks or commas between operations. What no path from input to
    output passes through is pruned, as the official code does.

    Args:
        skeleton: width and depth of the network around the cell.
    """

    name: ClassVar[str] = "nasbench101"
    example: ClassVar[str] = "0110001000010000:i-c3-mp-o"

    def __init__(self, input_shape: Shape | None = None, *, skeleton: SkeletonSize = FULL) -> None:
        super().__init__(input_shape)
        self.skeleton = skeleton

    def parse(self, spec: str) -> Cell:
        return self.read(spec, _parse_cached)

    def format(self, arch: Cell) -> str:
        bits = "".join(str(bit) for row in arch.matrix for bit in row)
        return f"{bits}:{'-'.join(('i', *arch.operations, 'o'))}"

    @property
    def size(self) -> int:
        return SIZE

    def all_specs(self) -> Iterator[str]:
        """One spec, the canonical one, for each of the 423,624 cells that are not isomorphic."""
        return (self.format(Cell(*cell)) for cell in catalogue())

    def sample(self, rng: np.random.Generator) -> str:
        """Uniform over the 423,624 cells that are not isomorphic, in canonical form."""
        return self.format(Cell(*catalogue()[int(rng.integers(SIZE))]))

    def neighbours(self, spec: str) -> list[str]:
        """Canonical specs of all cells reached by one edge more or less, one other operation, or one vertex put on an
        edge."""
        cell = self.parse(spec)
        home = self.canonical(spec)
        reached = (self._reached(*change) for change in _changes(cell.predecessors, cell.operations))
        return [other for other in dict.fromkeys(reached) if other is not None and other != home]

    def mutate(self, spec: str, rng: np.random.Generator) -> str:
        """A random neighbour; the changes, not the neighbours, are equally likely."""
        cell = self.parse(spec)
        home = self.canonical(spec)
        changes = list(_changes(cell.predecessors, cell.operations))
        # Every cell has a change that leads elsewhere: another operation, or a vertex on its only edge.
        reached = (self._reached(*changes[index]) for index in rng.permutation(len(changes)))
        return next(other for other in reached if other is not None and other != home)

    def _reached(self, masks: Predecessors, operations: Operations) -> str | None:
        """The canonical spec of a cell that still has to be pruned; None if it is not valid."""
        cell = prune(masks, operations)
        if cell is None or edge_count(cell[0]) > MAX_EDGES:
            return None
        return self.format(Cell(*canonical_cell(*cell)))

    def canonical(self, spec: str) -> str:
        """The pruned cell with its vertices in canonical order.

        As the authors do, isomorphic cells count as one, though where channels do not divide evenly the order of the
        vertices decides which one gets the extra channel.
        """
        cell = self.parse(spec)
        return self.format(Cell(*canonical_cell(cell.predecessors, cell.operations)))

    def module(self, spec: str, num_classes: int = 10) -> nn.Module:
        from archcast.datasets.nasbench101_module import Network

        cell = self.parse(spec)
        return Network(cell.predecessors, cell.operations, num_classes, self.input_shape[1], self.skeleton)

    def stamp(self, specs: Sequence[str], num_classes: int = 10) -> GraphBatch:
        cells = [self.parse(spec) for spec in specs]
        pairs = [(cell.predecessors, cell.operations) for cell in cells]
        return stamp_cells(pairs, self.input_shape, num_classes, self.graph_names(specs), self.skeleton)

    def small(self) -> NASBench101:
        """Two cells a stack, 32 channels in the stem, images of 16 x 16: about a hundredth of the MACs."""
        skeleton = SkeletonSize(stem_channels=32, cells_per_stack=2)
        return NASBench101((1, self.input_shape[1], 16, 16), skeleton=skeleton)


@lru_cache(100_000)
def _parse_cached(spec: str) -> Cell:
    bits, colon, names = spec.partition(":")
    for official, short in _OFFICIAL_NAMES.items():
        names = names.replace(official, short)
    operations = names.replace("-", " ").replace(",", " ").split()
    vertices = len(operations)
    bits = bits.strip()
    if not colon:
        raise ValueError("it must be an adjacency matrix and operations joined by ':'")
    if not 2 <= vertices <= MAX_VERTICES:
        raise ValueError(f"it has {vertices} operations; use 2 to {MAX_VERTICES}, the first 'i', the last 'o'")
    if len(bits) != vertices**2 or bits.strip("01"):
        raise ValueError(f"{vertices} vertices need a matrix of {vertices**2} digits 0 or 1, row by row")
    if operations[0] != "i" or operations[-1] != "o":
        raise ValueError("the first operation must be 'i' (input) and the last 'o' (output)")
    unknown = [name for name in operations[1:-1] if name not in OPERATIONS]
    if unknown:
        raise ValueError(f"operation {unknown[0]!r} is unknown; inner vertices are one of {', '.join(OPERATIONS)}")
    masks = tuple(int(bits[v::vertices][::-1], 2) for v in range(vertices))
    if any(mask >> v for v, mask in enumerate(masks)):
        raise ValueError("the matrix must be strictly upper triangular: edges lead to later vertices")
    cell = prune(masks, tuple(operations[1:-1]))
    if cell is None:
        raise ValueError("no path leads from the input to the output")
    if edge_count(cell[0]) > MAX_EDGES:
        raise ValueError(f"it has {edge_count(cell[0])} edges; at most {MAX_EDGES} are allowed")
    return Cell(*cell)


def _changes(masks: Predecessors, operations: Operations) -> Iterator[tuple[Predecessors, Operations]]:
    """Cells one elementary change away, before pruning."""
    vertices = len(masks)
    for target in range(1, vertices):
        for source in range(target):
            toggled = masks[target] ^ 1 << source
            yield (*masks[:target], toggled, *masks[target + 1 :]), operations
    for vertex, old in enumerate(operations):
        for new in OPERATIONS:
            if new != old:
                yield masks, (*operations[:vertex], new, *operations[vertex + 1 :])
    if vertices == MAX_VERTICES:
        return
    for target in range(1, vertices):
        for source in members(masks[target]):
            for new in OPERATIONS:
                yield _split_edge(masks, source, target), (*operations[: target - 1], new, *operations[target - 1 :])


def _split_edge(masks: Predecessors, source: int, target: int) -> Predecessors:
    """Put a vertex in front of `target` on the edge from `source`."""
    below = (1 << target) - 1
    later = [(mask & below) | (mask & ~below) << 1 for mask in masks[target + 1 :]]
    rerouted = masks[target] ^ 1 << source | 1 << target
    return (*masks[:target], 1 << source, rerouted, *later)
