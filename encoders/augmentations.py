"""Augmentations: other renderings of a network that compute the same function, or nearly.

- `reorder`: nodes numbered in another topological order, inputs of commutative operations swapped. The function is the
  same; text sees other lines, a graph encoder that reads positions of inputs must not care.
- `mask`: some nodes lose their attributes, parameters and MACs; op and output shape stay.
- `drop`: a connected set of nodes that keep the shape of what they read (normalisations, activations, square
  convolutions) is left out, and what they read goes where they went.
- `widen`: all channels of the network become somewhat more or fewer; its inputs and outputs keep theirs.

Each takes a batch and gives a batch of as many graphs, with the row every surviving node had before, so that what is
known about nodes can follow them. All draw from the generator they are given and from nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import lru_cache
from math import prod
from typing import Final

import numpy as np
from numpy.typing import NDArray

from archcast.errors import ConfigError
from archcast.graphs.graph import GraphBatch, IntArray, Node
from archcast.graphs.hashing import COMMUTATIVE
from archcast.graphs.paths import Levels

MASKED: Final = 0.15
"""Share of nodes that `mask` strips, as in BERT."""

FACTORS: Final = (0.75, 0.875, 1.125, 1.25)
"""What `widen` multiplies channels by; widths that are multiples of 8 stay whole."""

HOPS: Final = 3
"""How many steps `drop` grows from the node it starts at."""

_KEPT: Final = frozenset({"Input", "Output", "Zero", "Constant", "Random"})  # `drop` and `mask` leave these alone
_CHANNELS: Final = (
    "in_channels", "out_channels", "in_features", "out_features", "channels", "input_size", "hidden_size", "width",
    "head_width",
)  # fmt: skip
_NARROW: Final = 8  # sizes below this are colours and flags rather than widths


@dataclass(frozen=True, eq=False)
class Augmented:
    """Graphs and, for each of their nodes, the row it had in the batch they came from (`[N]`)."""

    graphs: GraphBatch
    rows: IntArray

    @classmethod
    def of(cls, graphs: GraphBatch) -> Augmented:
        """Graphs before any augmentation, without the distinct nodes that none of them uses."""
        return cls(compact(graphs), np.arange(len(graphs.kinds)))


Augmentation = Callable[[Augmented, np.random.Generator], Augmented]


def augment(graphs: GraphBatch, rng: np.random.Generator, names: Iterable[str] | None = None) -> Augmented:
    """One random rendering of every graph.

    Args:
        graphs: the networks.
        rng: what all choices are drawn from.
        names: augmentations to apply, one after another in the order of `AUGMENTATIONS`; all when left out.

    Raises:
        ConfigError: a name that does not exist.
    """
    chosen = set(AUGMENTATIONS if names is None else names)
    if unknown := sorted(chosen - set(AUGMENTATIONS)):
        raise ConfigError(f"unknown augmentations {', '.join(unknown)}; there are {', '.join(AUGMENTATIONS)}")
    result = Augmented.of(graphs)
    for name, augmentation in AUGMENTATIONS.items():
        if name in chosen:
            result = augmentation(result, rng)
    return result


def reorder(source: Augmented, rng: np.random.Generator) -> Augmented:
    """Another topological order, and another order of the inputs of commutative operations.

    Every node gets a random duration; nodes are sorted by when they end if all start as soon as their inputs are there.
    """
    graphs = source.graphs
    sources, targets = graphs.edge_index
    ends = Levels(sources, targets, len(graphs.kinds)).accumulate(rng.exponential(size=(len(graphs.kinds), 1)), "max")
    order = np.lexsort((ends[:, 0], graphs.graph_of_node))
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    swaps = _flags(graphs.nodes, lambda node: node.op in COMMUTATIVE)[graphs.kinds[targets]]
    edges = rank[graphs.edge_index]
    by_target = np.lexsort((np.where(swaps, rng.random(len(swaps)), np.arange(len(swaps))), edges[1]))
    graphs = replace(graphs, kinds=graphs.kinds[order], edge_index=edges[:, by_target])
    return Augmented(graphs, source.rows[order])


def mask(source: Augmented, rng: np.random.Generator) -> Augmented:
    """`MASKED` of the nodes keep their op and output shape alone."""
    graphs = source.graphs
    free = _flags(graphs.nodes, lambda node: node.op not in _KEPT)[graphs.kinds]
    chosen = np.flatnonzero(free & (rng.random(len(free)) < MASKED))
    return _with_nodes(source, chosen, [_stripped(graphs.nodes[kind]) for kind in graphs.kinds[chosen].tolist()])


def drop(source: Augmented, rng: np.random.Generator) -> Augmented:
    """In every graph a connected set of nodes is left out, up to `HOPS` steps around a random one."""
    graphs = source.graphs
    sources, targets = graphs.edge_index
    open_ = _bypassable(graphs)
    chosen = np.zeros(len(open_), dtype=bool)
    score = np.where(open_, rng.random(len(open_)), -1.0)
    chosen[_largest(score, graphs)] = True
    chosen &= open_
    for _ in range(HOPS):
        near = np.zeros_like(chosen)
        near[targets[chosen[sources]]] = True
        near[sources[chosen[targets]]] = True
        chosen |= near & open_ & (rng.random(len(open_)) < 0.5)
    return _without(source, chosen)


def widen(source: Augmented, rng: np.random.Generator) -> Augmented:
    """The channels of each graph times one of `FACTORS`, parameters and MACs along with them."""
    graphs = source.graphs
    factors = rng.choice(FACTORS, size=len(graphs))
    changed: list[Node] = []
    for graph, factor in enumerate(factors.tolist()):
        kinds = graphs.kinds[graphs.ptr[graph] : graphs.ptr[graph + 1]].tolist()
        distinct = {kind: graphs.nodes[kind] for kind in kinds}
        ends = [node for node in distinct.values() if node.op in ("Input", "Output")]
        fixed = frozenset(node.shape[axis] for node in ends if (axis := _channel_axis(node)) is not None)
        widths = frozenset(int(node.get(name)) for node in distinct.values() for name in _CHANNELS if node.get(name))
        wider = {kind: _wider(node, factor, widths - fixed) for kind, node in distinct.items()}
        changed += [wider[kind] for kind in kinds]
    return _with_nodes(source, np.arange(len(graphs.kinds)), changed)


AUGMENTATIONS: Final[dict[str, Augmentation]] = {"widen": widen, "drop": drop, "mask": mask, "reorder": reorder}
"""Every augmentation by name, in the order `augment` applies them."""


def compact(graphs: GraphBatch) -> GraphBatch:
    """The same graphs with only the distinct nodes they use; `take` keeps the whole table."""
    used, kinds = np.unique(graphs.kinds, return_inverse=True)
    return replace(graphs, nodes=tuple(graphs.nodes[kind] for kind in used.tolist()), kinds=kinds.astype(np.int64))


def _flags(nodes: tuple[Node, ...], test: Callable[[Node], bool]) -> NDArray[np.bool_]:
    return np.asarray([test(node) for node in nodes], dtype=bool)


def _with_nodes(source: Augmented, rows: IntArray, nodes: list[Node]) -> Augmented:
    """The batch with other nodes at `rows`."""
    table = {node: kind for kind, node in enumerate(source.graphs.nodes)}
    kinds = source.graphs.kinds.copy()
    kinds[rows] = [table.setdefault(node, len(table)) for node in nodes]
    return Augmented(compact(replace(source.graphs, nodes=tuple(table), kinds=kinds)), source.rows)


@lru_cache(65_536)
def _stripped(node: Node) -> Node:
    return Node(node.op, {}, node.shape)


def _bypassable(graphs: GraphBatch) -> NDArray[np.bool_]:
    """Nodes with one input of the shape of their output."""
    sources, targets = graphs.edge_index
    numbers: dict[tuple[int, ...], int] = {}
    shape = np.asarray([numbers.setdefault(node.shape, len(numbers)) for node in graphs.nodes], dtype=np.int64)
    shape = shape[graphs.kinds]
    single = np.bincount(targets, minlength=len(shape)) == 1
    keeps = np.zeros(len(shape), dtype=bool)
    keeps[targets] = shape[sources] == shape[targets]
    return np.asarray(single & keeps & _flags(graphs.nodes, lambda node: node.op not in _KEPT)[graphs.kinds])


def _largest(score: NDArray[np.float64], graphs: GraphBatch) -> IntArray:
    """The node with the largest score in every graph that has nodes."""
    order = np.lexsort((score, graphs.graph_of_node))
    return np.asarray(order[graphs.ptr[1:][np.diff(graphs.ptr) > 0] - 1])


def _without(source: Augmented, gone: NDArray[np.bool_]) -> Augmented:
    """The batch without the nodes `gone`, each of which has one input: what it read goes where it went."""
    graphs = source.graphs
    sources, targets = graphs.edge_index
    root = np.arange(len(gone))
    into = gone[targets]
    root[targets[into]] = sources[into]
    while gone[root].any():
        root = root[root]
    kept = ~gone
    rank = np.cumsum(kept) - 1
    edges = rank[np.stack([root[sources[~into]], targets[~into]])]
    nodes = np.bincount(graphs.graph_of_node[kept], minlength=len(graphs))
    links = np.bincount(graphs.graph_of_node[targets[~into]], minlength=len(graphs))
    result = replace(
        graphs,
        kinds=graphs.kinds[kept],
        edge_index=edges,
        ptr=np.concatenate([[0], np.cumsum(nodes)]),
        edge_ptr=np.concatenate([[0], np.cumsum(links)]),
    )
    return Augmented(compact(result), source.rows[kept])


@lru_cache(65_536)
def _wider(node: Node, factor: float, widths: frozenset[int]) -> Node:
    """`node` in a network whose `widths` are multiplied by `factor`."""

    def scaled(size: int) -> int:
        return max(1, round(size * factor)) if size in widths and size >= _NARROW else size

    attributes = dict(node.attributes)
    for name in _CHANNELS:
        if name in attributes:
            attributes[name] = scaled(int(node.get(name)))
    depthwise = node.get("groups", 1) > 1 and node.get("groups") == node.get("in_channels")
    if depthwise:
        attributes["groups"] = attributes["in_channels"]
    shape = list(node.shape)
    axis = _channel_axis(node)
    if axis is not None:
        shape[axis] = scaled(shape[axis])
    ratio = {name: scaled(int(node.get(name))) / int(node.get(name)) for name in _CHANNELS if node.get(name)}
    if depthwise:
        ratio["in_channels"] = 1.0  # one channel feeds each output channel, before and after
    grown = prod(shape) / max(prod(node.shape), 1) * prod(ratio.get(name, 1) for name in ("in_channels", "in_features"))
    biases = _biases(node)
    params = (node.params - biases) * prod(ratio.values()) + biases * ratio.get(
        "out_channels", ratio.get("out_features", 1)
    )
    return Node(node.op, attributes, shape, round(params), round(node.macs * grown))


def _biases(node: Node) -> int:
    """Parameters of a convolution or matrix product that grow with its outputs alone."""
    return int(node.get("out_channels", node.get("out_features", 0))) if node.get("bias") else 0


def _channel_axis(node: Node) -> int | None:
    """The axis of the output that holds channels: the second of maps, the last of everything else."""
    if len(node.shape) < 2:
        return None
    if node.op == "Attention":
        return len(node.shape) - 1
    width = next((node.get(name) for name in ("out_channels", "out_features", "channels") if node.get(name)), None)
    if width is not None and width in node.shape[1:]:
        return node.shape.index(width, 1)
    return 1 if len(node.shape) >= 4 else len(node.shape) - 1
