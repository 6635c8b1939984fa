"""Statistics against hand counts, brute force over paths, and dead branches."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archcast.graphs.builder import GraphBuilder, edges_of
from archcast.graphs.graph import ComputationGraph, GraphBatch
from archcast.graphs.nodes import batch_norm, conv, gemm, plain
from archcast.graphs.statistics import graph_statistics, statistics

SHAPE = (1, 4, 8, 8)
SPATIAL, POINT = conv(SHAPE, 4, 3, padding=1), conv(SHAPE, 4, 1)
KINDS = (SPATIAL, POINT, plain("Relu", SHAPE), plain("Add", SHAPE))


def residual(*, dead_branch: bool = False) -> ComputationGraph:
    """Input -> Conv 3x3 (8 channels) -> [Conv 3x3 -> Conv 1x1] + skip (+ 0 x Conv) -> Output."""
    wide = (1, 8, 8, 8)
    builder = GraphBuilder()
    stem = builder.add(conv(SHAPE, 8, 3, padding=1), builder.input(SHAPE))
    branch = builder.chain([conv(wide, 32, 3, padding=1), conv((1, 32, 8, 8), 8, 1)], stem)
    terms = [branch, stem]
    if dead_branch:
        terms.append(builder.chain([conv(wide, 8, 3, padding=1), plain("Zero", wide)], stem))
    builder.output(builder.add(plain("Add", wide), *terms))
    return builder.build()


def test_hand_counts() -> None:
    found = graph_statistics(residual())
    graph = residual()
    expected = {
        "params": graph.params, "live_params": graph.params, "macs": graph.macs, "nodes": 6, "edges": 6,
        "live_nodes": 6, "live_edges": 6, "depth_nodes_longest": 4, "depth_nodes_shortest": 2, "depth_nodes_mean": 3,
        "depth_convs_longest": 3, "depth_convs_shortest": 1, "depth_spatial_convs_longest": 2,
        "depth_weighted_mean": 2, "width_first": 3, "width_last": 3, "width_max": 5, "width_min": 3,
        "share_conv": 0.75, "share_elementwise": 0.25, "share_pool": 0,
    }  # fmt: skip
    assert {name: pytest.approx(found[name]) for name in expected} == expected
    assert found["log_paths"] == pytest.approx(np.log(2))
    assert found["width_mean"] == pytest.approx(11 / 3)
    assert found["activation_memory"] == 64 * (4 + 8 + 32 + 8 + 8 + 8)


def test_what_a_zero_cuts_off_is_not_live() -> None:
    whole, cut = graph_statistics(residual()), graph_statistics(residual(dead_branch=True))
    assert cut["params"] > whole["params"]
    assert cut["nodes"] == whole["nodes"] + 2
    for name, value in whole.items():
        if name.startswith(("live", "depth", "width", "share", "log_paths")):
            assert cut[name] == pytest.approx(value), name


def test_a_network_without_a_live_path() -> None:
    builder = GraphBuilder()
    builder.output(builder.chain([SPATIAL, plain("Zero", SHAPE)], builder.input(SHAPE)))
    found = graph_statistics(builder.build())
    assert found["params"] == 4 * 4 * 9
    assert all(value == 0 for name, value in found.items() if name.startswith(("live", "depth", "width", "share")))


@st.composite
def graphs(draw: st.DrawFn) -> ComputationGraph:
    size = draw(st.integers(1, 7))
    kinds = [draw(st.sampled_from(KINDS)) for _ in range(size)]
    inputs = [draw(st.lists(st.integers(0, index), min_size=1, max_size=2, unique=True)) for index in range(size)]
    nodes = (plain("Input", SHAPE), *kinds, plain("Output", SHAPE))
    return ComputationGraph(nodes, edges_of([[], *inputs, [size]]))


def all_paths(graph: ComputationGraph, index: int) -> list[list[int]]:
    if graph.ops[index] == "Input":
        return [[index]]
    return [[*path, index] for source in graph.inputs_of(index) for path in all_paths(graph, int(source))]


@given(st.lists(graphs(), min_size=1, max_size=4))
@settings(max_examples=60, deadline=None)
def test_agrees_with_enumerating_all_paths(batch: list[ComputationGraph]) -> None:
    found = statistics(GraphBatch.from_graphs(batch))
    for index, graph in enumerate(batch):
        paths = all_paths(graph, len(graph) - 1)
        convs = [sum(graph.nodes[node].op == "Conv" for node in path) for path in paths]
        spatial = [sum(graph.nodes[node] == SPATIAL for node in path) for path in paths]
        assert found["depth_convs_longest"][index] == max(convs)
        assert found["depth_convs_shortest"][index] == min(convs)
        assert found["depth_spatial_convs_mean"][index] == pytest.approx(np.mean(spatial))
        assert found["depth_nodes_longest"][index] == max(map(len, paths)) - 2
        assert found["log_paths"][index] == pytest.approx(np.log(len(paths)), abs=1e-9)
        live = {node for path in paths for node in path}
        assert found["live_nodes"][index] == len(live)
        assert found["live_params"][index] == sum(graph.nodes[node].params for node in live)


def test_chunks_do_not_change_statistics(monkeypatch: pytest.MonkeyPatch) -> None:
    batch = GraphBatch.from_graphs([residual(), residual(dead_branch=True), residual()])
    whole = statistics(batch)
    monkeypatch.setattr("archcast.graphs.statistics._CHUNK", 2)
    for name, values in statistics(batch).items():
        np.testing.assert_array_equal(values, whole[name])


def test_empty_batch() -> None:
    assert all(values.shape == (0,) for values in statistics(GraphBatch.from_graphs([])).values())


def test_thousands_of_graphs_a_second() -> None:
    builder = GraphBuilder()
    value = builder.input(SHAPE)
    for _ in range(30):
        hidden = builder.chain([SPATIAL, batch_norm(SHAPE), plain("Relu", SHAPE)], value)
        value = builder.add(plain("Add", SHAPE), value, hidden)
    builder.output(builder.add(gemm((1, 4), 10), value))
    batch = GraphBatch.from_graphs([builder.build()] * 500)
    start = time.process_time()
    statistics(batch)
    assert time.process_time() - start < 2.0  # about 0.2 s on a quiet core
