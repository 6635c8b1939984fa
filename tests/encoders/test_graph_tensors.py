"""Graphs as tensors: paths, slots, batches of batches."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from archcast.encoders.graph_tensors import GraphTensors, standardised
from archcast.encoders.node_table import NodeTable
from archcast.errors import GraphError
from archcast.graphs.builder import GraphBuilder
from archcast.graphs.graph import ComputationGraph, GraphBatch
from archcast.graphs.nodes import plain

SHAPE = (1, 8, 4, 4)


def chain(*ops: str) -> ComputationGraph:
    build = GraphBuilder()
    last = build.add(plain("Input", SHAPE))
    for op in (*ops, "Output"):
        last = build.add(plain(op, SHAPE), last)
    return build.build()


def diamond() -> ComputationGraph:
    """Input -> Relu -> Sub <- Input, and a dead branch Input -> Zero -> Gelu -> Concat <- Sub -> Output."""
    build = GraphBuilder()
    start = build.add(plain("Input", SHAPE))
    relu = build.add(plain("Relu", SHAPE), start)
    sub = build.add(plain("Sub", SHAPE), start, relu)
    gelu = build.add(plain("Gelu", SHAPE), build.add(plain("Zero", SHAPE), start))
    build.add(plain("Output", SHAPE), build.add(plain("Concat", SHAPE), gelu, sub))
    return build.build()


def by_op(tensors: GraphTensors, batch: GraphBatch, values: torch.Tensor) -> dict[str, Any]:
    names = [batch.nodes[kind].op for kind in tensors.kinds.tolist()]
    return dict(zip(names, values.tolist(), strict=True))


class TestOf:
    def test_shapes(self) -> None:
        batch = GraphBatch.from_graphs([chain("Relu", "Gelu"), diamond()])
        tensors = GraphTensors.of(batch)
        assert tensors.size == 2
        assert tensors.op.shape == tensors.graph.shape == tensors.live.shape == (9,)
        assert tensors.numbers.shape == (9, NodeTable.of(batch.nodes).numbers.shape[1])
        assert tensors.distinct_op.shape[0] == len(batch.nodes)
        assert tensors.graph.tolist() == [0] * 4 + [1] * 5
        np.testing.assert_array_equal(tensors.edge_index[:, :3].numpy(), batch.edge_index[:, :3])
        np.testing.assert_array_equal(batch.kinds[tensors.nodes.numpy()], tensors.kinds.numpy())

    def test_silent_nodes_are_left_out(self) -> None:
        batch = GraphBatch.from_graphs([diamond()])
        tensors = GraphTensors.of(batch)
        ops = [batch.nodes[kind].op for kind in tensors.kinds.tolist()]
        assert ops == ["Input", "Relu", "Sub", "Concat", "Output"]
        assert tensors.edge_index.T.tolist() == [[0, 1], [0, 2], [1, 2], [2, 3], [3, 4]]
        assert tensors.live.tolist() == [1] * 5

    def test_a_network_without_a_path_has_no_nodes(self) -> None:
        tensors = GraphTensors.of(GraphBatch.from_graphs([chain("Relu", "Zero"), chain("Relu")]))
        assert tensors.graph.tolist() == [1, 1, 1]
        assert tensors.size == 2

    def test_side_branches_are_not_live(self) -> None:
        build = GraphBuilder()
        table = build.add(plain("Gather", SHAPE), build.add(plain("Constant", SHAPE)))
        build.add(plain("Output", SHAPE), build.add(plain("Add", SHAPE), build.add(plain("Input", SHAPE)), table))
        batch = GraphBatch.from_graphs([build.build()])
        tensors = GraphTensors.of(batch)
        live = by_op(tensors, batch, tensors.live)
        assert live == {"Constant": 0, "Gather": 0, "Input": 1, "Add": 1, "Output": 1}
        assert by_op(tensors, batch, tensors.visits) == live

    def test_visits(self) -> None:
        batch = GraphBatch.from_graphs([diamond()])
        visits = by_op(GraphTensors.of(batch), batch, GraphTensors.of(batch).visits)
        assert visits == {"Input": 1, "Relu": 0.5, "Sub": 1, "Concat": 1, "Output": 1}

    def test_depth_both_ways(self) -> None:
        batch = GraphBatch.from_graphs([diamond()])
        depth = by_op(GraphTensors.of(batch), batch, GraphTensors.of(batch).depth)
        assert depth["Input"] == [0, 1]
        assert depth["Relu"] == [0.25, 0.75]
        assert depth["Output"] == [1, 0]

    def test_slots(self) -> None:
        batch = GraphBatch.from_graphs([diamond()])
        tensors = GraphTensors.of(batch)
        ops = [batch.nodes[kind].op for kind in tensors.kinds.tolist()]
        slots = {
            (ops[source], ops[target]): slot
            for source, target, slot in zip(*tensors.edge_index.tolist(), tensors.slot.tolist(), strict=True)
        }
        assert slots["Input", "Sub"] == 0
        assert slots["Relu", "Sub"] == 1
        assert slots["Sub", "Concat"] == 1

    def test_a_sum_has_no_slots(self) -> None:
        build = GraphBuilder()
        start = build.add(plain("Input", SHAPE))
        build.add(plain("Output", SHAPE), build.add(plain("Add", SHAPE), start, build.add(plain("Relu", SHAPE), start)))
        assert not GraphTensors.of(GraphBatch.from_graphs([build.build()])).slot.any()

    def test_measured_rows_must_match(self) -> None:
        batch = GraphBatch.from_graphs([diamond()])
        with pytest.raises(GraphError, match=r"one row per node of the batch: \(7, columns\)"):
            GraphTensors.of(batch, np.zeros((6, 2)))

    def test_measured_rows_follow_their_nodes(self) -> None:
        batch = GraphBatch.from_graphs([chain("Zero"), diamond()])
        rows = np.arange(len(batch.kinds), dtype=np.float32)[:, None]
        tensors = GraphTensors.of(batch, rows, -rows)
        assert tensors.measured is not None
        assert tensors.extra is not None
        assert torch.equal(tensors.measured[:, 0], tensors.nodes.float())
        assert torch.equal(tensors.extra, -tensors.measured)

    def test_no_graphs(self) -> None:
        tensors = GraphTensors.of(GraphBatch.from_graphs([]))
        assert tensors.size == 0
        assert tensors.numbers.shape[0] == 0


def test_take_equals_the_tensors_of_the_taken_graphs() -> None:
    rng = np.random.default_rng(0)
    batch = GraphBatch.from_graphs([diamond(), chain("Relu"), chain("Gelu", "Relu", "Zero"), diamond(), chain()])
    measured = rng.normal(size=(len(batch.kinds), 2)).astype(np.float32)
    indices = np.asarray([3, 1, 1, 4])
    rows = np.concatenate([np.arange(batch.ptr[i], batch.ptr[i + 1]) for i in indices])
    taken, fresh = GraphTensors.of(batch, measured).take(indices), GraphTensors.of(batch.take(indices), measured[rows])
    for name in ("kinds", "edge_index", "slot", "graph", "live", "visits", "depth", "measured", "op"):
        assert torch.equal(getattr(taken, name), getattr(fresh, name)), name
    assert taken.size == fresh.size == 4
    assert taken.take(torch.tensor([2])).size == 1


class TestStandardised:
    def test_mean_and_deviation(self) -> None:
        values = np.exp(np.random.default_rng(0).normal(-20, 4, (500, 1)))
        result = standardised(values)
        assert result.mean() == pytest.approx(0, abs=1e-5)
        assert result.std() == pytest.approx(1, abs=1e-3)

    def test_order_and_sign_are_kept(self) -> None:
        values = np.asarray([-1e6, -1.0, 0.0, 1e-3, 1e9])[:, None]
        assert np.all(np.diff(standardised(values)[:, 0]) > 0)

    def test_units_do_not_count(self) -> None:
        values = np.random.default_rng(0).lognormal(size=(100, 2))
        np.testing.assert_allclose(standardised(values), standardised(values * [1e-9, 1e7]), atol=1e-5)

    def test_missing_stays_missing(self) -> None:
        values = np.asarray([[1.0, np.nan, 3.0], [2.0, np.nan, 3.0], [np.inf, np.nan, np.nan]])
        result = standardised(values)
        assert np.isnan(result).tolist() == [[False, True, False], [False, True, False], [True, True, True]]
        assert result[0, 2] == result[1, 2] == 0  # constant
