"""Weisfeiler-Lehman hashes: equal for renumbered graphs, different for different ones, the same everywhere."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archcast.graphs.builder import GraphBuilder, edges_of
from archcast.graphs.graph import ComputationGraph, GraphBatch, Node
from archcast.graphs.hashing import graph_hashes
from archcast.graphs.nodes import conv, plain

SHAPE = (1, 4, 8, 8)
KINDS = (
    plain("Relu", SHAPE),
    plain("Sub", SHAPE),
    plain("Add", SHAPE),
    conv(SHAPE, 4, 3, padding=1),
    plain("Tanh", SHAPE),
)


def hash_of(graph: ComputationGraph) -> str:
    return graph_hashes(GraphBatch.from_graphs([graph]))[0]


def two_branches(first: str, second: str, join: str = "Add", *, swap: bool = False) -> ComputationGraph:
    """input -> first, input -> second, join(first, second), the branches made in either order."""
    builder = GraphBuilder()
    value = builder.input(SHAPE)
    names = [second, first] if swap else [first, second]
    made = {name: builder.add(plain(name, SHAPE), value) for name in names}
    builder.output(builder.add(plain(join, SHAPE), made[first], made[second]))
    return builder.build()


@st.composite
def graphs(draw: st.DrawFn) -> ComputationGraph:
    size = draw(st.integers(2, 12))
    kinds = [draw(st.sampled_from(KINDS)) for _ in range(size)]
    inputs = [draw(st.lists(st.integers(0, index - 1), min_size=1, max_size=2)) for index in range(1, size)]
    return ComputationGraph((plain("Input", SHAPE), *kinds[1:]), edges_of([[], *inputs]))


def renumber(graph: ComputationGraph, seed: int) -> ComputationGraph:
    """Another topological order of the same graph."""
    rng = np.random.default_rng(seed)
    inputs = [graph.inputs_of(index).tolist() for index in range(len(graph))]
    order: list[int] = []
    while len(order) < len(graph):
        ready = [i for i in range(len(graph)) if i not in order and all(source in order for source in inputs[i])]
        order.append(int(rng.choice(ready)))
    place = {old: new for new, old in enumerate(order)}
    return ComputationGraph(
        tuple(graph.nodes[old] for old in order), edges_of([[place[source] for source in inputs[old]] for old in order])
    )


@given(graphs(), st.integers(0, 1000))
@settings(max_examples=100, deadline=None)
def test_renumbered_graphs_share_a_hash(graph: ComputationGraph, seed: int) -> None:
    assert hash_of(graph) == hash_of(renumber(graph, seed))


@given(graphs())
@settings(max_examples=100, deadline=None)
def test_a_changed_node_changes_the_hash(graph: ComputationGraph) -> None:
    changed = ComputationGraph((*graph.nodes[:-1], plain("Exp", SHAPE)), graph.edge_index)
    assert hash_of(graph) != hash_of(changed)


@given(st.lists(graphs(), min_size=1, max_size=6))
@settings(max_examples=30, deadline=None)
def test_a_batch_hashes_like_its_graphs(batch: list[ComputationGraph]) -> None:
    assert graph_hashes(GraphBatch.from_graphs(batch)) == [hash_of(graph) for graph in batch]


def test_blocks_do_not_change_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    batch = GraphBatch.from_graphs(
        [two_branches("Relu", "Tanh"), two_branches("Exp", "Tanh"), two_branches("Relu", "Exp")]
    )
    whole = graph_hashes(batch)
    monkeypatch.setattr("archcast.graphs.hashing._BLOCK", 4)
    assert graph_hashes(batch) == whole
    assert len(set(whole)) == 3


def test_input_order_counts_only_where_it_matters() -> None:
    assert hash_of(two_branches("Relu", "Tanh")) == hash_of(two_branches("Tanh", "Relu"))
    assert hash_of(two_branches("Relu", "Tanh", "Sub")) != hash_of(two_branches("Tanh", "Relu", "Sub"))
    assert hash_of(two_branches("Relu", "Tanh", "Sub")) == hash_of(two_branches("Relu", "Tanh", "Sub", swap=True))


def test_direction_counts() -> None:
    def chain(*ops: str) -> ComputationGraph:
        builder = GraphBuilder()
        builder.output(builder.chain([plain(op, SHAPE) for op in ops], builder.input(SHAPE)))
        return builder.build()

    assert hash_of(chain("Relu", "Tanh")) != hash_of(chain("Tanh", "Relu"))


def test_far_apart_differences_are_seen() -> None:
    """Same nodes, same degrees; only which branch a late node joins differs."""

    def ladder(crossed: bool) -> ComputationGraph:
        builder = GraphBuilder()
        value = builder.input(SHAPE)
        left = builder.chain([plain("Relu", SHAPE)] * 20, builder.add(plain("Tanh", SHAPE), value))
        right = builder.chain([plain("Relu", SHAPE)] * 20, builder.add(plain("Exp", SHAPE), value))
        first, second = (right, left) if crossed else (left, right)
        builder.output(builder.add(plain("Abs", SHAPE), first))
        builder.output(builder.add(plain("Neg", SHAPE), second))
        return builder.build()

    assert hash_of(ladder(False)) != hash_of(ladder(True))


def test_unused_parameters_count_and_names_do_not() -> None:
    graph = two_branches("Relu", "Tanh")
    assert hash_of(ComputationGraph(graph.nodes, graph.edge_index, 5)) != hash_of(graph)
    assert hash_of(ComputationGraph(graph.nodes, graph.edge_index, 0, "other")) == hash_of(graph)


def test_numpy_numbers_hash_like_python_numbers() -> None:
    edges = np.zeros((2, 0), dtype=np.int64)
    int_like: Any = np.int64(1)
    plain_node, numpy_node = Node("Softmax", {"axis": 1}, SHAPE), Node("Softmax", {"axis": int_like}, SHAPE)
    assert hash_of(ComputationGraph((plain_node,), edges)) == hash_of(ComputationGraph((numpy_node,), edges))


def test_empty_batch() -> None:
    assert graph_hashes(GraphBatch.from_graphs([])) == []


def test_hash_is_the_same_in_another_process() -> None:
    code = "from tests.graphs.test_hashing import *; print(hash_of(two_branches('Relu', 'Tanh')))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == hash_of(two_branches("Relu", "Tanh"))
