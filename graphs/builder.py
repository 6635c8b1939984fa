"""`GraphBuilder`: how every front end (torch, ONNX, text, benchmark specs) assembles a graph.

A front end adds nodes in execution order and gets back the number of the value each one makes. Views and no-ops
are never added: the front end hands on the number of their input instead.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from archcast.errors import GraphError
from archcast.graphs.graph import ComputationGraph, Node, Shape
from archcast.graphs.nodes import plain


class GraphBuilder:
    """Collects nodes and edges; `build` returns the `ComputationGraph`.

    Examples:
        >>> builder = GraphBuilder()
        >>> image = builder.input((1, 3, 32, 32))
        >>> hidden = builder.add(conv((1, 3, 32, 32), 16, 3, padding=1), image)
        >>> builder.output(hidden)
        >>> graph = builder.build()
    """

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self.sources: list[tuple[int, ...]] = []

    def __len__(self) -> int:
        return len(self.nodes)

    def add(self, node: Node, *inputs: int) -> int:
        """Append `node`, fed by the values `inputs`, and return the number of its value."""
        for value in inputs:
            if not 0 <= value < len(self.nodes):
                raise GraphError(f"node {len(self.nodes)} ({node.op}) reads value {value}, which is not made before it")
        self.nodes.append(node)
        self.sources.append(inputs)
        return len(self.nodes) - 1

    def input(self, shape: Shape) -> int:
        return self.add(plain("Input", tuple(shape)))

    def output(self, value: int) -> int:
        return self.add(plain("Output", self.shape(value)), value)

    def shape(self, value: int) -> Shape:
        return self.nodes[value].shape

    def chain(self, nodes: Iterable[Node], value: int) -> int:
        """Append nodes one after another behind `value`."""
        for node in nodes:
            value = self.add(node, value)
        return value

    def build(self, *, unused_params: int = 0, name: str = "") -> ComputationGraph:
        return ComputationGraph(tuple(self.nodes), edges_of(self.sources), unused_params, name)


def edges_of(sources: Sequence[Sequence[int]]) -> np.ndarray[tuple[int, int], np.dtype[np.int64]]:
    """`[2, E]` edge index from the list of inputs of every node."""
    targets = np.repeat(np.arange(len(sources)), [len(inputs) for inputs in sources])
    flat = np.fromiter((value for inputs in sources for value in inputs), dtype=np.int64, count=len(targets))
    return np.stack([flat, targets])
