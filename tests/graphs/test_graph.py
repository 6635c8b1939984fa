"""Nodes, graphs and batches: values, rules, and what a batch computes."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archcast.errors import GraphError
from archcast.graphs.builder import GraphBuilder, edges_of
from archcast.graphs.graph import ComputationGraph, GraphBatch, Node
from archcast.graphs.nodes import conv, gemm, plain, unknown, window_output

SHAPE = (1, 4, 8, 8)


def chain(length: int, name: str = "") -> ComputationGraph:
    builder = GraphBuilder()
    value = builder.input(SHAPE)
    for index in range(length):
        value = builder.add(conv(SHAPE, 4, 3, padding=1) if index % 2 else plain("Relu", SHAPE), value)
    builder.output(value)
    return builder.build(name=name, unused_params=length)


def test_nodes_compare_by_value_and_do_not_change() -> None:
    node = Node("Softmax", {"axis": 1}, SHAPE)
    assert node == Node("Softmax", {"axis": 1}, list(SHAPE))
    assert hash(node) == hash(Node("Softmax", {"axis": 1}, SHAPE))
    assert node != Node("Softmax", {"axis": 2}, SHAPE)
    assert node.replace(params=3).params == 3
    assert pickle.loads(pickle.dumps(node)) == node
    with pytest.raises(AttributeError, match="replace"):
        node.params = 3


def test_names_outside_the_vocabulary_are_refused() -> None:
    with pytest.raises(GraphError, match="Unknown"):
        Node("Frobnicate")
    graph = ComputationGraph((unknown("Frobnicate", SHAPE), unknown("Frobnicate", SHAPE)), edges_of([[], [0]]))
    assert graph.unknown_ops == {"Frobnicate": 2}


@pytest.mark.parametrize(
    ("edges", "message"),
    [
        ([[1], [0]], "cyclic"),
        ([[0], [0]], "cyclic"),
        ([[0], [7]], "outside"),
        ([[-1], [1]], "outside"),
        ([[0, 1]], "shape"),
    ],
)
def test_broken_edges_are_refused(edges: list[list[int]], message: str) -> None:
    with pytest.raises(GraphError, match=message):
        ComputationGraph((plain("Input", SHAPE), plain("Output", SHAPE)), np.asarray(edges))


def test_the_builder_refuses_values_not_made_yet() -> None:
    builder = GraphBuilder()
    with pytest.raises(GraphError, match="not made before"):
        builder.add(plain("Relu", SHAPE), 3)


def test_graph_facts() -> None:
    graph = chain(4, "toy")
    assert graph.op_counts == {"Relu": 2, "Conv": 2, "Input": 1, "Output": 1}
    assert graph.params == 2 * 4 * 4 * 9 + 4
    assert graph.macs == 2 * 4 * 64 * 4 * 9
    assert graph.inputs_of(3).tolist() == [2]
    assert graph.shapes[0] == SHAPE
    assert repr(graph).startswith("ComputationGraph(toy: 6 nodes, 5 edges")


def test_inputs_keep_their_order() -> None:
    nodes = tuple(plain(op, SHAPE) for op in ("Input", "Relu", "Sub"))
    graph = ComputationGraph(nodes, np.asarray([[1, 0, 0], [2, 2, 1]]))
    assert graph.inputs_of(2).tolist() == [1, 0]


def test_batch_holds_each_distinct_node_once() -> None:
    graphs = [chain(length, f"g{length}") for length in (2, 5, 3)]
    batch = GraphBatch.from_graphs(graphs)
    assert len(batch.nodes) == 4
    assert batch.params.tolist() == [graph.params for graph in graphs]
    assert batch.macs.tolist() == [graph.macs for graph in graphs]
    for original, restored in zip(graphs, batch, strict=True):
        assert original.nodes == restored.nodes
        assert original.edge_index.tolist() == restored.edge_index.tolist()
        assert (original.name, original.unused_params) == (restored.name, restored.unused_params)
    with pytest.raises(IndexError):
        batch[3]


@given(st.lists(st.integers(0, 6), min_size=1, max_size=6), st.data())
@settings(max_examples=50, deadline=None)
def test_take_and_concatenate_agree_with_lists(lengths: list[int], data: st.DataObject) -> None:
    graphs = [chain(length) for length in lengths]
    batch = GraphBatch.concatenate([GraphBatch.from_graphs(graphs), GraphBatch.from_graphs(graphs[::-1])])
    everything = graphs + graphs[::-1]
    assert [graph.nodes for graph in batch] == [graph.nodes for graph in everything]
    picked = data.draw(st.lists(st.integers(0, len(everything) - 1), max_size=5))
    taken = batch.take(np.asarray(picked, dtype=np.int64))
    assert [graph.nodes for graph in taken] == [everything[index].nodes for index in picked]
    assert [graph.edge_index.tolist() for graph in taken] == [everything[index].edge_index.tolist() for index in picked]
    assert len(batch[1:]) == len(everything) - 1


def test_sums_per_graph() -> None:
    batch = GraphBatch.from_graphs([chain(1), chain(3)])
    assert batch.sum_per_graph(np.ones(len(batch.kinds))).tolist() == [3, 5]
    assert batch.graph_of_node.tolist() == [0] * 3 + [1] * 5


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "padding", "ceil"), [(7, 3, 2, 1, False), (8, 3, 2, 0, True), (6, 2, 2, 1, True)]
)
def test_window_output_is_torch_s(size: int, kernel: int, stride: int, padding: int, ceil: bool) -> None:
    torch = pytest.importorskip("torch")
    pooled = torch.nn.functional.max_pool1d(torch.zeros(1, 1, size), kernel, stride, padding, ceil_mode=ceil)
    assert window_output(size, kernel, stride, padding, ceil=ceil) == pooled.shape[-1]


def test_gemm_counts() -> None:
    node = gemm((1, 10, 64), 32)
    assert (node.params, node.macs, node.shape) == (64 * 32 + 32, 10 * 64 * 32, (1, 10, 32))
