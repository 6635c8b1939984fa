"""Blocks of nodes, written once, stamped into whole batches of graphs by index arithmetic.

The networks of a benchmark are chains of blocks (stem, cells, reductions, head). A block holds the kinds of its
nodes and the edges relative to its own start; `INPUT` (-1) is whatever the block before ends with. Because every block
ends with its output, putting blocks one behind the other is a gather and a cumulative sum for all networks at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from archcast.graphs.graph import GraphBatch, IntArray, Node, Shape

INPUT = -1
"""Number of the value that a block receives: the last node of the block before."""


class NodeTable:
    """Distinct nodes in the order in which they were first asked for."""

    def __init__(self) -> None:
        self._index: dict[Node, int] = {}

    def __getitem__(self, node: Node) -> int:
        return self._index.setdefault(node, len(self._index))

    @property
    def nodes(self) -> tuple[Node, ...]:
        return tuple(self._index)


@dataclass(frozen=True, eq=False)
class Block:
    """Part of a network, relative to its own first node.

    Attributes:
        kinds: `[n]` position of each node in the node table.
        edges: `[2, e]` edges sorted by target; source -1 is the last node of the block before.
    """

    kinds: IntArray
    edges: IntArray


class BlockBuilder:
    """Collects the nodes of one block in execution order; the last one added is the output of the block.

    Args:
        table: the node table shared by all blocks of a space.
        shape: shape of the value the block receives.
    """

    def __init__(self, table: NodeTable, shape: Shape = ()) -> None:
        self._table = table
        self._shapes = [shape]
        self._kinds: list[int] = []
        self._edges: list[tuple[int, int]] = []

    def add(self, node: Node, *inputs: int) -> int:
        """Append `node`, fed by the values `inputs`; returns the number of its value."""
        number = len(self._kinds)
        self._kinds.append(self._table[node])
        self._edges.extend((value, number) for value in inputs)
        self._shapes.append(node.shape)
        return number

    def chain(self, nodes: Iterable[Node], value: int = INPUT) -> int:
        """Append nodes one after another behind `value`."""
        for node in nodes:
            value = self.add(node, value)
        return value

    def shape(self, value: int) -> Shape:
        return self._shapes[value + 1]

    def build(self) -> Block:
        edges = np.asarray(self._edges, dtype=np.int64).reshape(-1, 2).T
        return Block(np.asarray(self._kinds, dtype=np.int64), np.ascontiguousarray(edges))


def assemble(
    nodes: tuple[Node, ...], blocks: Sequence[Block], layout: NDArray[np.int64], names: Sequence[str] = ()
) -> GraphBatch:
    """Put blocks one behind the other.

    Args:
        nodes: the node table that `Block.kinds` index.
        blocks: the distinct blocks.
        layout: `[G, L]` for every graph the positions of its blocks in `blocks`.
        names: `[G]` names of the graphs.
    """
    graphs, length = layout.shape
    order = layout.ravel()
    node_pool = np.concatenate([np.zeros(0, dtype=np.int64), *(block.kinds for block in blocks)])
    edge_pool = np.concatenate([np.zeros((2, 0), dtype=np.int64), *(block.edges for block in blocks)], axis=1)
    node_sizes = np.asarray([len(block.kinds) for block in blocks], dtype=np.int64)
    edge_sizes = np.asarray([block.edges.shape[1] for block in blocks], dtype=np.int64)
    node_positions, starts, ptr = _gather(node_sizes, order, graphs, length)
    edge_positions, _, edge_ptr = _gather(edge_sizes, order, graphs, length)
    edge_index = edge_pool[:, edge_positions]
    edge_index += np.repeat(starts, edge_sizes[order])
    return GraphBatch(
        nodes,
        node_pool[node_positions],
        edge_index,
        ptr,
        edge_ptr,
        np.zeros(graphs, dtype=np.int64),
        tuple(names),
    )


def _gather(sizes: IntArray, order: IntArray, graphs: int, length: int) -> tuple[IntArray, IntArray, IntArray]:
    """Positions in the pool of everything in `order`, the start of each block in the result, and the row pointer."""
    pool_starts = np.cumsum(sizes) - sizes
    taken = sizes[order]
    ends = np.cumsum(taken)
    starts = ends - taken
    positions = np.arange(ends[-1] if len(ends) else 0) + np.repeat(pool_starts[order] - starts, taken)
    ptr = np.zeros(graphs + 1, dtype=np.int64)
    ptr[1:] = ends[length - 1 :: length] if length else 0
    return positions, starts, ptr
