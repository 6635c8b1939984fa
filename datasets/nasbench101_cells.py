"""The cells of NAS-Bench-101 as graphs: pruning, canonical form, enumeration, channels of the vertices.

A cell is given by the predecessors of its vertices: `predecessors[v]` is a bit mask over the vertices before v, so
cells are acyclic by construction. Vertex 0 is the input, the last one the output.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import permutations, product

import numpy as np
from numpy.typing import NDArray

MAX_VERTICES = 7
MAX_EDGES = 9
OPERATIONS = ("c1", "c3", "mp")
"""What an inner vertex can be: 1x1 convolution, 3x3 convolution, 3x3 max pool."""

Predecessors = tuple[int, ...]
Operations = tuple[str, ...]


def members(mask: int) -> list[int]:
    """The vertices of a bit mask, in rising order."""
    return [vertex for vertex in range(mask.bit_length()) if mask >> vertex & 1]


def edge_count(predecessors: Predecessors) -> int:
    return sum(mask.bit_count() for mask in predecessors)


def prune(predecessors: Predecessors, operations: Operations) -> tuple[Predecessors, Operations] | None:
    """The cell without vertices that lie on no path from input to output; None if there is no such path.

    Args:
        predecessors: `[n]` masks.
        operations: `[n - 2]` operations of the inner vertices.
    """
    last = len(predecessors) - 1
    reached = 1
    for vertex in range(1, last + 1):
        if predecessors[vertex] & reached:
            reached |= 1 << vertex
    needed = 1 << last
    for vertex in range(last, 0, -1):
        if needed >> vertex & 1:
            needed |= predecessors[vertex]
    if not reached >> last & 1:
        return None
    kept = members(reached & needed)
    if len(kept) == last + 1:
        return predecessors, operations
    position = {vertex: index for index, vertex in enumerate(kept)}
    masks = (sum(1 << position[u] for u in members(predecessors[v]) if u in position) for v in kept)
    return tuple(masks), tuple(operations[vertex - 1] for vertex in kept[1:-1])


def canonical_cell(predecessors: Predecessors, operations: Operations) -> tuple[Predecessors, Operations]:
    """The same cell with its vertices in the order that makes (predecessors, operations) smallest.

    All orders that share the smallest predecessors so far are kept, vertex by vertex; among the survivors the
    operations decide. Two pruned cells are isomorphic exactly if their canonical cells are equal.
    """
    inner = len(operations)
    orders: list[tuple[int, ...]] = [(0,)]
    masks = [0]
    for _ in range(inner):
        best = 1 << MAX_VERTICES
        extended: list[tuple[int, ...]] = []
        for order in orders:
            placed = sum(1 << vertex for vertex in order)
            for vertex in range(1, inner + 1):
                if placed >> vertex & 1 or predecessors[vertex] & ~placed:
                    continue
                mask = _renumber(predecessors[vertex], order)
                if mask < best:
                    best, extended = mask, []
                if mask == best:
                    extended.append((*order, vertex))
        orders = extended
        masks.append(best)
    ends = [_renumber(predecessors[-1], order) for order in orders]
    end = min(ends)
    finalists = (order for order, mask in zip(orders, ends, strict=True) if mask == end)
    return (*masks, end), min(tuple(operations[vertex - 1] for vertex in order[1:]) for order in finalists)


def _renumber(mask: int, order: Sequence[int]) -> int:
    return sum(1 << position for position, vertex in enumerate(order) if mask >> vertex & 1)


def vertex_channels(predecessors: Predecessors, output: int) -> list[int]:
    """Channels of every vertex of a pruned cell with `output` channels (index 0, the input, stays 0).

    The vertices that feed the output share its channels; where that does not divide evenly, the first ones get one
    more. Every other vertex has as many as the widest vertex it feeds.
    """
    last = len(predecessors) - 1
    channels = [0] * last + [output]
    feeding = [vertex for vertex in members(predecessors[last]) if vertex]
    for rank, vertex in enumerate(feeding):
        share, rest = divmod(output, len(feeding))
        channels[vertex] = share + (rank < rest)
    for vertex in range(last - 1, 0, -1):
        if vertex not in feeding:
            channels[vertex] = max(channels[v] for v in range(vertex + 1, last) if predecessors[v] >> vertex & 1)
    return channels


class Catalogue:
    """Every pruned cell up to isomorphism, in canonical form and in a fixed order: 423,624 of them.

    Cells are grouped by their predecessors; of each group the operations are kept as one array.
    """

    def __init__(self) -> None:
        self._masks: list[Predecessors] = []
        self._operations: list[NDArray[np.int8]] = []
        for vertices in range(2, MAX_VERTICES + 1):
            labels = np.asarray(list(product(range(len(OPERATIONS)), repeat=vertices - 2)), dtype=np.int64)
            weights = len(OPERATIONS) ** np.arange(vertices - 2)[::-1]
            codes = labels @ weights if vertices > 2 else np.zeros(1, dtype=np.int64)
            for masks, automorphisms in _topologies(vertices):
                # Among the operations that an automorphism exchanges, the smallest stands for all.
                smallest = np.min([codes, *(codes[labels[:, order] @ weights] for order in automorphisms)], axis=0)
                self._masks.append(masks)
                self._operations.append(labels[codes == smallest].astype(np.int8))
        self._ends = np.cumsum([len(rows) for rows in self._operations])

    def __len__(self) -> int:
        return int(self._ends[-1])

    def __getitem__(self, index: int) -> tuple[Predecessors, Operations]:
        group = int(np.searchsorted(self._ends, index, side="right"))
        row = self._operations[group][index - int(self._ends[group])]
        return self._masks[group], tuple(OPERATIONS[code] for code in row)

    def __iter__(self) -> Iterator[tuple[Predecessors, Operations]]:
        for masks, rows in zip(self._masks, self._operations, strict=True):
            for row in rows.tolist():
                yield masks, tuple(OPERATIONS[code] for code in row)


@lru_cache(1)
def catalogue() -> Catalogue:
    """The one `Catalogue`; making it takes about a second."""
    return Catalogue()


def _topologies(vertices: int) -> Iterator[tuple[Predecessors, list[list[int]]]]:
    """Canonical predecessors of all pruned cells of that many vertices, with the orders that leave them unchanged."""
    masks = _pruned_masks(vertices)
    inner = vertices - 2
    code = _code(masks)
    smallest = code.copy()
    same: dict[tuple[int, ...], NDArray[np.bool_]] = {}
    for order in permutations(range(inner)):
        moved, valid = _permute(masks, order)
        moved_code = np.where(valid, _code(moved), np.iinfo(np.int64).max)
        smallest = np.minimum(smallest, moved_code)
        same[order] = moved_code == code
    for row in np.flatnonzero(code == smallest):
        yield tuple(masks[row].tolist()), [list(order) for order, unchanged in same.items() if unchanged[row]]


def _code(masks: NDArray[np.int64]) -> NDArray[np.int64]:
    """One integer per row that sorts like the row itself."""
    total = np.zeros(len(masks), dtype=np.int64)
    for column in masks.T:
        total = (total << MAX_VERTICES) | column
    return total


def _pruned_masks(vertices: int) -> NDArray[np.int64]:
    """`[cells, vertices]` predecessors of all pruned cells with at most nine edges, isomorphic ones included."""
    rows = np.zeros((1, 1), dtype=np.int64)
    for vertex in range(1, vertices):
        choices = np.arange(1, 1 << vertex, dtype=np.int64)
        rows = np.column_stack([np.repeat(rows, len(choices), axis=0), np.tile(choices, len(rows))])
        rows = rows[np.bitwise_count(rows).sum(axis=1) <= MAX_EDGES]
    used = np.bitwise_or.reduce(rows, axis=1)
    pruned: NDArray[np.int64] = rows[used == (1 << (vertices - 1)) - 1]
    return pruned


def _permute(masks: NDArray[np.int64], order: tuple[int, ...]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Put inner vertex `order[p] + 1` at position p + 1; second result: whether edges still point forward."""
    full = (0, *(vertex + 1 for vertex in order), len(order) + 1)
    moved = np.zeros_like(masks)
    valid = np.ones(len(masks), dtype=bool)
    for position, vertex in enumerate(full):
        for before, source in enumerate(full):
            bit = masks[:, vertex] >> source & 1
            moved[:, position] |= bit << before
            if before >= position:
                valid &= bit == 0
    return moved, valid
