"""AutoFormer networks -> graphs: blocks cut out of captured networks of one and two blocks, then stamped.

A block reads nothing but the output of the one before, so a network is the part before the first block, its blocks and
the part behind the last one. All blocks with the same heads and MLP ratio are the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from archcast.datasets.stamping import Block, NodeTable, assemble
from archcast.graphs.graph import ComputationGraph, GraphBatch

Layer = tuple[int, float]
"""Heads and MLP ratio."""

Capture = Callable[[int, tuple[Layer, ...]], ComputationGraph]
"""(embedding dimension, blocks) -> the captured graph."""


class Stamper:
    """Parts met so far, for one size of image and number of classes.

    Args:
        captured: captures a network.
    """

    def __init__(self, captured: Capture) -> None:
        self._captured = captured
        self._table = NodeTable()
        self._parts: list[Block] = []
        self._ends: dict[int, tuple[int, int]] = {}
        self._blocks: dict[tuple[int, Layer], int] = {}

    def stamp(self, networks: Sequence[tuple[int, tuple[Layer, ...]]], names: Sequence[str]) -> GraphBatch:
        """The graphs of networks given as (embedding dimension, blocks)."""
        # Networks differ in depth: rows are filled up with a part that has no nodes.
        deepest = max((len(layers) for _, layers in networks), default=0)
        layout = np.zeros((len(networks), deepest + 2), dtype=np.int64)
        if not self._parts:
            self._parts.append(Block(np.zeros(0, dtype=np.int64), np.zeros((2, 0), dtype=np.int64)))
        for row, (embedding, layers) in zip(layout, networks, strict=True):
            stem, head = self._stem_and_head(embedding, layers[0])
            parts = [stem, *(self._block(embedding, layer) for layer in layers), head]
            row[: len(parts)] = parts
        return assemble(self._table.nodes, self._parts, layout, names)

    def _stem_and_head(self, embedding: int, layer: Layer) -> tuple[int, int]:
        if embedding not in self._ends:
            one, start, length = self._measure(embedding, layer)
            self._ends[embedding] = (self._cut(one, 0, start), self._cut(one, start + length, len(one)))
        return self._ends[embedding]

    def _block(self, embedding: int, layer: Layer) -> int:
        key = (embedding, layer)
        if key not in self._blocks:
            one, start, length = self._measure(embedding, layer)
            self._blocks[key] = self._cut(one, start, start + length)
        return self._blocks[key]

    def _measure(self, embedding: int, layer: Layer) -> tuple[ComputationGraph, int, int]:
        """The network of one block, where its block starts (at the first layer norm), and how long it is."""
        one = self._captured(embedding, (layer,))
        two = self._captured(embedding, (layer, layer))
        return one, one.ops.index("LayerNormalization"), len(two) - len(one)

    def _cut(self, graph: ComputationGraph, start: int, stop: int) -> int:
        """Keep the nodes from `start` to `stop` and the edges that lead to them; the number of the part."""
        kinds = np.asarray([self._table[node] for node in graph.nodes[start:stop]], dtype=np.int64)
        targets = graph.edge_index[1]
        edges = graph.edge_index[:, (targets >= start) & (targets < stop)] - start
        self._parts.append(Block(kinds, np.ascontiguousarray(edges)))
        return len(self._parts) - 1
