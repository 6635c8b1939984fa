"""`ComputationGraph`, the one form every network takes, and `GraphBatch`, many of them as arrays.

A graph is a tuple of nodes in topological order plus directed edges. Nodes are immutable and
compare by value, and networks repeat themselves: the 15,625 cells of NAS-Bench-201 are built from about a
hundred distinct nodes. A `GraphBatch` therefore stores each distinct node once and a graph as indices
into that table; whatever depends on one node alone is computed once per distinct node.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from archcast.errors import GraphError
from archcast.graphs.vocabulary import OP_CLASS

Shape = tuple[int, ...]
AttributeValue = int | float | str | bool | tuple[int, ...] | tuple[float, ...]
IntArray = NDArray[np.int64]


class Node:
    """One operation. Immutable, hashable, compared by value.

    Args:
        op: canonical name from `archcast.graphs.vocabulary`.
        attributes: everything else that defines the operation (`kernel`, `stride`, `groups`, ...).
        shape: shape of its output, batch first (batch 1 unless the network fixes another).
        params: number of trainable parameters this node is the first to use.
        macs: multiply-accumulates of one forward pass at `shape`.
    """

    __slots__ = ("_attributes", "_hash", "macs", "op", "params", "shape")

    op: str
    shape: Shape
    params: int
    macs: int
    _attributes: tuple[tuple[str, AttributeValue], ...]
    _hash: int

    def __init__(
        self,
        op: str,
        attributes: Mapping[str, AttributeValue] | None = None,
        shape: Sequence[int] = (),
        params: int = 0,
        macs: int = 0,
    ) -> None:
        if op not in OP_CLASS:
            raise GraphError(f"{op!r} is not in the op vocabulary; use 'Unknown' with attribute name={op!r}")
        set_ = object.__setattr__
        set_(self, "op", op)
        set_(self, "_attributes", tuple(sorted((attributes or {}).items())))
        set_(self, "shape", tuple(int(size) for size in shape))
        set_(self, "params", int(params))
        set_(self, "macs", int(macs))
        set_(self, "_hash", hash((op, self._attributes, self.shape, self.params, self.macs)))

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"Node is immutable; build a new one with replace({name}=...)")

    @property
    def attributes(self) -> Mapping[str, AttributeValue]:
        return MappingProxyType(dict(self._attributes))

    @property
    def op_class(self) -> str:
        return OP_CLASS[self.op]

    @property
    def key(self) -> tuple[Any, ...]:
        """All fields as one sortable, printable tuple."""
        return (self.op, self._attributes, self.shape, self.params, self.macs)

    def get(self, name: str, default: Any = None) -> Any:
        for key, value in self._attributes:
            if key == name:
                return value
        return default

    def replace(self, **changes: Any) -> Node:
        fields = {
            "op": self.op, "attributes": dict(self._attributes), "shape": self.shape,
            "params": self.params, "macs": self.macs,
        }  # fmt: skip
        return Node(**{**fields, **changes})

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, Node) and self._hash == other._hash and self.key == other.key)

    def __hash__(self) -> int:
        return self._hash

    def __repr__(self) -> str:
        attributes = ", ".join(f"{name}={value}" for name, value in self._attributes)
        return f"{self.op}({attributes}) -> {list(self.shape)}"

    def __reduce__(self) -> tuple[Any, ...]:  # for worker processes: the hash of a str differs between them
        return (Node, (self.op, dict(self._attributes), self.shape, self.params, self.macs))


@dataclass(frozen=True, eq=False)
class ComputationGraph:
    """A network as typed nodes and directed edges.

    Attributes:
        nodes: the operations in topological order.
        edge_index: `[2, E]` source and target positions; source < target. Edges are sorted by target,
            the edges of one target in the order of its inputs.
        unused_params: trainable parameters of the network that no node uses.
        name: where the graph came from, for people.
    """

    nodes: tuple[Node, ...]
    edge_index: IntArray
    unused_params: int = 0
    name: str = ""

    def __post_init__(self) -> None:
        edges = np.ascontiguousarray(self.edge_index, dtype=np.int64)
        if edges.ndim != 2 or edges.shape[0] != 2:
            raise GraphError(f"edge_index has shape {edges.shape}; it must be [2, number of edges]")
        if edges.size and (edges.min() < 0 or edges.max() >= len(self.nodes)):
            raise GraphError(f"an edge names a node outside 0..{len(self.nodes) - 1}")
        if np.any(edges[0] >= edges[1]):
            raise GraphError("edges must point forward (source < target): the graph is cyclic or not sorted")
        order = np.argsort(edges[1], kind="stable")
        object.__setattr__(self, "edge_index", edges[:, order])

    def __len__(self) -> int:
        return len(self.nodes)

    @property
    def ops(self) -> tuple[str, ...]:
        return tuple(node.op for node in self.nodes)

    @property
    def attributes(self) -> tuple[Mapping[str, AttributeValue], ...]:
        return tuple(node.attributes for node in self.nodes)

    @property
    def shapes(self) -> tuple[Shape, ...]:
        return tuple(node.shape for node in self.nodes)

    @cached_property
    def params(self) -> int:
        """Trainable parameters, each counted once, unused ones included."""
        return sum(node.params for node in self.nodes) + self.unused_params

    @cached_property
    def macs(self) -> int:
        """Multiply-accumulates of one forward pass (FLOPs = 2 x MACs)."""
        return sum(node.macs for node in self.nodes)

    @property
    def op_counts(self) -> dict[str, int]:
        return dict(Counter(self.ops).most_common())

    @cached_property
    def unknown_ops(self) -> dict[str, int]:
        """Names of operations outside the vocabulary, with how often each occurs."""
        return dict(Counter(str(node.get("name", "?")) for node in self.nodes if node.op == "Unknown"))

    def inputs_of(self, index: int) -> IntArray:
        """Positions of the nodes that feed node `index`, in the order of its inputs."""
        targets = self.edge_index[1]
        start, stop = np.searchsorted(targets, [index, index + 1])
        return self.edge_index[0, start:stop]

    def text(self) -> str:
        from archcast.graphs.text import render

        return render(self)

    def hash(self) -> str:
        from archcast.graphs.hashing import graph_hashes

        return graph_hashes(GraphBatch.from_graphs([self]))[0]

    def svg(self) -> str:
        from archcast.graphs.drawing import draw_svg

        return draw_svg(self)

    def __repr__(self) -> str:
        name = f"{self.name}: " if self.name else ""
        return (
            f"ComputationGraph({name}{len(self)} nodes, {self.edge_index.shape[1]} edges, "
            f"{self.params / 1e6:.2f} M parameters, {self.macs / 1e6:.1f} M MACs)"
        )


@dataclass(frozen=True, eq=False)
class GraphBatch(Sequence[ComputationGraph]):
    """Many graphs as flat arrays.

    Attributes:
        nodes: the distinct nodes, each once.
        kinds: `[N]` for every node of every graph its position in `nodes`.
        edge_index: `[2, E]` edges between positions in `kinds`, graph after graph.
        ptr: `[G + 1]` graph g owns the nodes `ptr[g]:ptr[g + 1]`.
        edge_ptr: `[G + 1]` graph g owns the edges `edge_ptr[g]:edge_ptr[g + 1]`.
        unused_params: `[G]` parameters that no node uses.
        names: `[G]` names of the graphs, or empty.
    """

    nodes: tuple[Node, ...]
    kinds: IntArray
    edge_index: IntArray
    ptr: IntArray
    edge_ptr: IntArray
    unused_params: IntArray
    names: tuple[str, ...] = field(default=())

    @classmethod
    def from_graphs(cls, graphs: Iterable[ComputationGraph]) -> GraphBatch:
        table: dict[Node, int] = {}
        kinds: list[int] = []
        edges: list[IntArray] = []
        ptr, edge_ptr, unused, names = [0], [0], [], []
        for graph in graphs:
            edges.append(graph.edge_index + ptr[-1])
            kinds.extend(table.setdefault(node, len(table)) for node in graph.nodes)
            ptr.append(len(kinds))
            edge_ptr.append(edge_ptr[-1] + graph.edge_index.shape[1])
            unused.append(graph.unused_params)
            names.append(graph.name)
        return cls(
            tuple(table),
            np.asarray(kinds, dtype=np.int64),
            np.concatenate(edges, axis=1) if edges else np.zeros((2, 0), dtype=np.int64),
            np.asarray(ptr, dtype=np.int64),
            np.asarray(edge_ptr, dtype=np.int64),
            np.asarray(unused, dtype=np.int64),
            tuple(names) if any(names) else (),
        )

    @classmethod
    def concatenate(cls, batches: Sequence[GraphBatch]) -> GraphBatch:
        table: dict[Node, int] = {}
        kinds, edges, ptr, edge_ptr = [], [], [np.zeros(1, np.int64)], [np.zeros(1, np.int64)]
        nodes_before, edges_before = 0, 0
        for batch in batches:
            remap = np.asarray([table.setdefault(node, len(table)) for node in batch.nodes], dtype=np.int64)
            kinds.append(remap[batch.kinds] if len(batch.kinds) else batch.kinds)
            edges.append(batch.edge_index + nodes_before)
            ptr.append(batch.ptr[1:] + nodes_before)
            edge_ptr.append(batch.edge_ptr[1:] + edges_before)
            nodes_before += len(batch.kinds)
            edges_before += batch.edge_index.shape[1]
        named = all(batch.names for batch in batches)
        return cls(
            tuple(table),
            np.concatenate([*kinds, np.zeros(0, np.int64)]),
            np.concatenate([*edges, np.zeros((2, 0), np.int64)], axis=1),
            np.concatenate(ptr),
            np.concatenate(edge_ptr),
            np.concatenate([*(batch.unused_params for batch in batches), np.zeros(0, np.int64)]),
            tuple(name for batch in batches for name in batch.names) if named else (),
        )

    def __len__(self) -> int:
        return len(self.ptr) - 1

    def __getitem__(self, index: Any) -> Any:
        """The graph at an integer position, or the batch of the graphs at a slice or index array."""
        if not isinstance(index, (int, np.integer)):
            return self.take(np.arange(len(self))[index])
        position = range(len(self))[index]
        start, stop = self.ptr[position], self.ptr[position + 1]
        first, last = self.edge_ptr[position], self.edge_ptr[position + 1]
        return ComputationGraph(
            tuple(self.nodes[kind] for kind in self.kinds[start:stop]),
            self.edge_index[:, first:last] - start,
            int(self.unused_params[position]),
            self.names[position] if self.names else "",
        )

    def __iter__(self) -> Iterator[ComputationGraph]:
        return (self[index] for index in range(len(self)))

    def take(self, indices: NDArray[Any]) -> GraphBatch:
        """The graphs at `indices`, in that order, as a new batch that shares the node table."""
        indices = np.asarray(indices, dtype=np.int64)
        node_position, ptr = _ragged_take(self.ptr, indices)
        edge_position, edge_ptr = _ragged_take(self.edge_ptr, indices)
        shift = np.repeat(ptr[:-1] - self.ptr[indices], np.diff(edge_ptr))
        return GraphBatch(
            self.nodes,
            self.kinds[node_position],
            self.edge_index[:, edge_position] + shift,
            ptr,
            edge_ptr,
            self.unused_params[indices],
            tuple(self.names[index] for index in indices) if self.names else (),
        )

    @cached_property
    def graph_of_node(self) -> IntArray:
        """`[N]` the graph each node belongs to."""
        return np.repeat(np.arange(len(self)), np.diff(self.ptr))

    def column(self, values: Sequence[Any] | NDArray[Any]) -> NDArray[Any]:
        """Spread one value per distinct node over all nodes: `values[kinds]`."""
        return np.asarray(values)[self.kinds]

    def sum_per_graph(self, per_node: NDArray[Any]) -> NDArray[Any]:
        """Sum `[N]` or `[N, F]` values over the nodes of each graph; empty graphs get 0."""
        total = np.concatenate([np.zeros_like(per_node[:1], shape=(1, *per_node.shape[1:])), per_node.cumsum(axis=0)])
        result: NDArray[Any] = total[self.ptr[1:]] - total[self.ptr[:-1]]
        return result

    @cached_property
    def params(self) -> IntArray:
        """`[G]` trainable parameters of each graph."""
        per_node = self.column(np.asarray([node.params for node in self.nodes], dtype=np.int64))
        return np.asarray(self.sum_per_graph(per_node) + self.unused_params)

    @cached_property
    def macs(self) -> IntArray:
        """`[G]` multiply-accumulates of each graph."""
        per_node = self.column(np.asarray([node.macs for node in self.nodes], dtype=np.int64))
        return np.asarray(self.sum_per_graph(per_node))


def _ragged_take(ptr: IntArray, indices: IntArray) -> tuple[IntArray, IntArray]:
    """Positions of the rows that belong to `indices` in a ragged layout, and the new `ptr`."""
    sizes = ptr[indices + 1] - ptr[indices]
    new_ptr = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    positions = np.arange(new_ptr[-1]) + np.repeat(ptr[indices] - new_ptr[:-1], sizes)
    return positions, new_ptr
