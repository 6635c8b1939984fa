"""Weisfeiler-Lehman hashes of many graphs at once.

Isomorphic graphs (same nodes, same edges, numbered differently) get the same hash, in every process and on every
machine. All graphs of a batch are refined together as `uint64` arrays: once along the edges and once against them in
topological order, so that a node knows everything before and behind it, then for `rounds` exchanges between neighbours.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from itertools import pairwise
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from archcast.graphs.graph import GraphBatch, IntArray, Node

HashArray = NDArray[np.uint64]

COMMUTATIVE: Final = frozenset({"Add", "Mul", "Min", "Max", "And", "Or", "Xor", "Equal"})
"""Ops whose inputs may be swapped without changing the function."""

_FORWARD, _BACKWARD, _SECOND = (
    np.uint64(seed) for seed in (0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9)
)


_BLOCK: Final = 200_000  # nodes refined together: their arrays stay in the cache


def graph_hashes(batch: GraphBatch, rounds: int = 1) -> list[str]:
    """One hash of 32 hexadecimal digits for every graph of `batch`.

    Nodes count with all their fields, edges with their direction and, unless the op is commutative, with the
    position among the inputs. `name` does not count, `unused_params` does.

    Args:
        batch: the graphs.
        rounds: exchanges with neighbours after the two topological sweeps.
    """
    labels = np.asarray([_digest(node) for node in batch.nodes], dtype=np.uint64)
    block = batch.ptr // _BLOCK
    starts = [0, *(np.flatnonzero(np.diff(block[:-1])) + 1).tolist(), len(batch)]
    parts = [batch] if len(starts) == 2 else [batch[first:last] for first, last in pairwise(starts)]
    return [value for part in parts for value in _hash_block(part, labels, rounds)]


def _hash_block(batch: GraphBatch, node_labels: HashArray, rounds: int) -> list[str]:
    labels = node_labels[batch.kinds]
    sources, targets = batch.edge_index
    slots = mix(input_slots(batch).astype(np.uint64) + _SECOND)
    steps_down = list(_steps(batch, targets, sources, slots))
    steps_up = list(_steps(batch, sources, targets, slots))
    down = _sweep(labels, steps_down)
    up = _sweep(labels, steps_up[::-1])
    state = mix(down + mix(up + _BACKWARD))
    for _ in range(rounds):
        before, behind = _gather(state, steps_down), _gather(state, steps_up)
        state = mix(state + mix(before + _FORWARD) + mix(behind + _BACKWARD) * _SECOND)
    sizes = np.stack([np.diff(batch.ptr), np.diff(batch.edge_ptr), batch.unused_params]).astype(np.uint64)
    first = mix(batch.sum_per_graph(mix(state)) + mix(sizes[0] + mix(sizes[1] + mix(sizes[2]))))
    second = mix(batch.sum_per_graph(mix(state ^ _SECOND)) + first * _FORWARD)
    return [f"{high:016x}{low:016x}" for high, low in zip(first.tolist(), second.tolist(), strict=True)]


class _Step(NamedTuple):
    """The nodes at one position of their graphs, and the edges that end (or start) at them."""

    nodes: IntArray
    others: IntArray  # the other end of every edge
    slots: HashArray  # the input slot of every edge
    bounds: IntArray  # [nodes + 1] node i owns the edges bounds[i]:bounds[i + 1]


def _steps(batch: GraphBatch, ends: IntArray, others: IntArray, slots: HashArray) -> Iterator[_Step]:
    """Nodes in the order of their position within their graph, with the edges whose end in `ends` they are."""
    local = np.arange(len(batch.kinds)) - batch.ptr[batch.graph_of_node]
    if not len(local):
        return
    nodes, node_ptr = _group(local, int(local.max()) + 1)
    # A graph has one node at each position and edges are stored graph by graph, so this is the order of `nodes` too.
    edges, _ = _group(local[ends], len(node_ptr) - 1)
    others, slots = others[edges], slots[edges]
    bounds = np.concatenate([[0], np.cumsum(np.bincount(ends, minlength=len(local))[nodes])])
    for start, stop in pairwise(node_ptr.tolist()):
        first, last = bounds[start], bounds[stop]
        yield _Step(nodes[start:stop], others[first:last], slots[first:last], bounds[start : stop + 1] - first)


def _group(values: IntArray, count: int) -> tuple[IntArray, IntArray]:
    """Positions sorted by value, and where each of the `count` values begins."""
    narrow = values.astype(np.uint16) if count < 65_536 else values  # numpy sorts 16 bits by radix
    order = np.argsort(narrow, kind="stable")
    return order, np.concatenate([[0], np.cumsum(np.bincount(values, minlength=count))])


def _sweep(labels: HashArray, steps: list[_Step]) -> HashArray:
    """state[v] = mix(label[v], sum over its edges of mix(state[other end], input slot)), in the order of `steps`."""
    state = mix(labels)
    for step in steps:
        if len(step.others):
            state[step.nodes] = mix(labels[step.nodes] + _sum_edges(state, step) * _FORWARD)
    return state


def _gather(state: HashArray, steps: list[_Step]) -> HashArray:
    """The sums of `_sweep`, all from one `state`."""
    total = np.zeros_like(state)
    for step in steps:
        if len(step.others):
            total[step.nodes] = _sum_edges(state, step)
    return total


def _sum_edges(state: HashArray, step: _Step) -> HashArray:
    messages = mix(state[step.others] + step.slots)
    running = np.concatenate([np.zeros(1, np.uint64), np.cumsum(messages, dtype=np.uint64)])  # wraps around, exactly
    total: HashArray = running[step.bounds[1:]] - running[step.bounds[:-1]]
    return total


def input_slots(batch: GraphBatch) -> IntArray:
    """`[E]` position of each edge among the inputs of its target, 0 for commutative ops."""
    targets = batch.edge_index[1]
    degree = np.bincount(targets, minlength=len(batch.kinds))
    position = np.arange(len(targets)) - (np.cumsum(degree) - degree)[targets]
    ordered = np.asarray([node.op not in COMMUTATIVE for node in batch.nodes], dtype=bool)
    return np.asarray(position * ordered[batch.kinds[targets]], dtype=np.int64)


def mix(values: HashArray) -> HashArray:
    """The finaliser of splitmix64: every input bit moves every output bit."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    values ^= values >> np.uint64(31)
    return values


def _digest(node: Node) -> int:
    """A stable 64-bit label; `hash()` of a str differs between processes."""
    text = repr(_plain(node.key)).encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little")


def _plain(value: Any) -> Any:
    """numpy scalars as Python numbers, so that equal nodes print alike."""
    if isinstance(value, tuple):
        return tuple(_plain(item) for item in value)
    return value.item() if isinstance(value, np.generic) else value
