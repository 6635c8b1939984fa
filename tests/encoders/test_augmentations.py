"""Augmentations keep what they promise: the function, the shapes, the size of the batch, where each node came from."""

from __future__ import annotations

from collections.abc import Callable

import networkx
import numpy as np
import pytest

from archcast.datasets.spaces import SPACES
from archcast.encoders import augmentations
from archcast.encoders.augmentations import AUGMENTATIONS, HOPS, MASKED, Augmented, augment, compact
from archcast.encoders.graph_tensors import GraphTensors
from archcast.errors import ConfigError
from archcast.graphs.graph import GraphBatch, Node
from archcast.graphs.hashing import graph_hashes

Apply = Callable[[GraphBatch, int], Augmented]


def graphs_of(name: str = "nasbench201", count: int = 12, seed: int = 0) -> GraphBatch:
    rng = np.random.default_rng(seed)
    return SPACES[name].stamp([SPACES[name].sample(rng) for _ in range(count)])


def apply(name: str, graphs: GraphBatch, seed: int = 0) -> Augmented:
    return augment(graphs, np.random.default_rng(seed), [name])


def nodes_of(graphs: GraphBatch) -> list[Node]:
    return [graphs.nodes[kind] for kind in graphs.kinds.tolist()]


@pytest.mark.parametrize("space", ["nasbench201", "darts", "ofa-mobilenetv3", "autoformer", "mini-mixers"])
@pytest.mark.parametrize("name", list(AUGMENTATIONS))
class TestEveryAugmentation:
    def test_valid_graphs_with_their_inputs_and_outputs(self, name: str, space: str) -> None:
        graphs = graphs_of(space, 4)
        made = apply(name, graphs)
        assert len(made.graphs) == len(graphs)
        for graph in made.graphs:  # a ComputationGraph refuses cycles and edges that lead nowhere
            assert {node.op for node in graph.nodes} >= {"Input", "Output"}
            inputs = np.bincount(graph.edge_index[1], minlength=len(graph))
            assert all(count > 0 for count, op in zip(inputs, graph.ops, strict=True) if op not in ("Input", "Zero"))
            assert networkx.is_weakly_connected(networkx.DiGraph(graph.edge_index.T.tolist()))

    def test_rows_name_the_nodes_they_were(self, name: str, space: str) -> None:
        graphs = graphs_of(space, 4)
        made = apply(name, graphs)
        before = nodes_of(graphs)
        assert all(node.op == before[row].op for node, row in zip(nodes_of(made.graphs), made.rows, strict=True))
        np.testing.assert_array_equal(graphs.graph_of_node[made.rows], made.graphs.graph_of_node)
        assert len(set(made.rows.tolist())) == len(made.rows)

    def test_the_generator_decides(self, name: str, space: str) -> None:
        graphs = graphs_of(space, 4)
        first, second, other = (apply(name, graphs, seed) for seed in (0, 0, 1))
        np.testing.assert_array_equal(first.graphs.edge_index, second.graphs.edge_index)
        assert nodes_of(first.graphs) == nodes_of(second.graphs)
        if (name, space) != ("reorder", "ofa-mobilenetv3"):  # a chain has one order
            assert nodes_of(first.graphs) != nodes_of(other.graphs) or len(first.rows) != len(other.rows)

    def test_the_batch_it_is_given_stays_as_it_is(self, name: str, space: str) -> None:
        graphs = graphs_of(space, 4)
        before = (nodes_of(graphs), graphs.edge_index.copy())
        apply(name, graphs)
        assert before[0] == nodes_of(graphs)
        np.testing.assert_array_equal(graphs.edge_index, before[1])


@pytest.mark.parametrize("space", ["nasbench201", "darts", "autoformer"])
def test_reordered_networks_are_the_same_networks(space: str) -> None:
    graphs = graphs_of(space)
    made = apply("reorder", graphs).graphs
    assert graph_hashes(made) == graph_hashes(graphs)
    assert not np.array_equal(made.edge_index, graphs.edge_index)
    assert [graph.text() for graph in made] != [graph.text() for graph in graphs]


def test_masked_nodes_keep_op_and_shape() -> None:
    graphs = graphs_of(count=60)
    made = apply("mask", graphs)
    np.testing.assert_array_equal(made.graphs.edge_index, graphs.edge_index)
    pairs = list(zip(nodes_of(graphs), nodes_of(made.graphs), strict=True))
    changed = [(old, new) for old, new in pairs if old != new]
    assert all(new == Node(old.op, {}, old.shape) for old, new in changed)
    maskable = [old for old, _ in pairs if old != Node(old.op, {}, old.shape) and old.op != "Output"]
    assert len(changed) / len(maskable) == pytest.approx(MASKED, abs=0.03)


def test_dropped_nodes_are_few_and_close_together_and_shapes_still_fit() -> None:
    graphs = graphs_of("darts", 20)
    made = apply("drop", graphs)
    lost = np.diff(graphs.ptr) - np.diff(made.graphs.ptr)
    assert (lost >= 1).all()
    assert lost.max() <= 40
    for position in range(len(graphs)):
        first, last = graphs.ptr[position : position + 2]
        gone = set(range(first, last)) - set(made.rows.tolist())
        whole = networkx.Graph((graphs.edge_index.T - first).tolist())
        near = networkx.single_source_shortest_path_length(whole, min(gone) - first, cutoff=2 * HOPS)
        assert {node - first for node in gone} <= set(near)
    for graph in made.graphs:
        for index, node in enumerate(graph.nodes):
            if node.op in ("BatchNormalization", "Relu", "Add", "Output"):
                assert all(graph.shapes[source] == node.shape for source in graph.inputs_of(index))


@pytest.mark.parametrize(
    ("factor", "narrow", "wide"),
    [
        (0.75, "32:64:32:32:64", "24:48:24:24:48"),
        (0.875, "64:64:64:64:64", "56:56:56:56:56"),
        (1.25, "32:32:32:32:32", "40:40:40:40:40"),
    ],
)
def test_widened_networks_are_those_of_the_wider_spec(
    factor: float, narrow: str, wide: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(augmentations, "FACTORS", (factor,))
    space = SPACES["nats-sss"]
    assert graph_hashes(apply("widen", space.stamp([narrow])).graphs) == graph_hashes(space.stamp([wide]))


@pytest.mark.parametrize("space", ["ofa-mobilenetv3", "autoformer", "darts"])
def test_widened_networks_fit_together(space: str) -> None:
    graphs = graphs_of(space, 6)
    made = apply("widen", graphs).graphs
    ratio = made.params / graphs.params
    assert ((ratio > 0.5) & (ratio < 1.65) & (ratio != 1)).all()
    for old, new in zip(graphs, made, strict=True):
        assert old.shapes[0] == new.shapes[0]
        assert old.shapes[-1] == new.shapes[-1]
        for index, node in enumerate(new.nodes):
            if node.op == "Conv":
                assert [new.shapes[source][1] for source in new.inputs_of(index)] == [node.get("in_channels")]
            if node.op == "BatchNormalization":
                assert node.params in (0, 2 * node.shape[1])


def test_all_together_feed_the_encoder() -> None:
    graphs = graphs_of("darts", 4)
    made = augment(graphs, np.random.default_rng(0))
    tensors = GraphTensors.of(made.graphs)
    assert tensors.size == 4
    assert bool(tensors.numbers.isfinite().all())


def test_compact_leaves_out_unused_nodes_only() -> None:
    few = GraphBatch.concatenate([graphs_of(), graphs_of("darts")]).take(np.asarray([3, 1]))
    assert len(compact(few).nodes) < len(few.nodes)
    assert nodes_of(compact(few)) == nodes_of(few)


def test_unknown_names_are_refused() -> None:
    with pytest.raises(ConfigError, match="there are widen"):
        augment(graphs_of(count=1), np.random.default_rng(0), ["rotate"])
