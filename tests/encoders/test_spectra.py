"""Spectra: equal to networkx's, blind to direction and operations, each wiring solved once, kept in the cache."""

from __future__ import annotations

import time

import networkx
import numpy as np
import pytest

from archcast.datasets.spaces import SPACES
from archcast.encoders import spectra
from archcast.encoders.spectra import EIGENVALUES, laplacian_spectra
from archcast.errors import ConfigError
from archcast.graphs.graph import ComputationGraph, GraphBatch, Node


def batch_of(*edges: tuple[int, list[tuple[int, int]]]) -> GraphBatch:
    return GraphBatch.from_graphs(
        ComputationGraph((Node("Add"),) * size, np.asarray(pairs, dtype=np.int64).reshape(-1, 2).T)
        for size, pairs in edges
    )


def of_networkx(graph: ComputationGraph, count: int = EIGENVALUES) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    plain = networkx.Graph(graph.edge_index.T.tolist())
    plain.add_nodes_from(range(len(graph)))
    values = np.sort(networkx.normalized_laplacian_spectrum(plain))[:count]
    return np.concatenate([values, np.full(count - len(values), 2.0)])


@pytest.mark.parametrize("name", ["nasbench201", "nas-bench-macro", "darts", "ofa-mobilenetv3"])
def test_equal_to_networkx(name: str) -> None:
    rng = np.random.default_rng(0)
    graphs = SPACES[name].stamp([SPACES[name].sample(rng) for _ in range(6)])
    found = laplacian_spectra(graphs)
    assert found.shape == (6, EIGENVALUES)
    np.testing.assert_allclose(found, np.stack([of_networkx(graph) for graph in graphs]), atol=2e-6)


def test_large_graphs_take_the_banded_way_to_the_same_values(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    graphs = SPACES["darts"].stamp([SPACES["darts"].sample(rng) for _ in range(4)])
    dense = laplacian_spectra(graphs)
    monkeypatch.setattr(spectra, "_DENSE", 0)
    np.testing.assert_allclose(laplacian_spectra(graphs), dense, atol=1e-6)


def test_small_disconnected_and_parallel_edges() -> None:
    twice = [(0, 1), (0, 1), (1, 2), (0, 2)]
    graphs = batch_of((1, []), (4, [(0, 1), (2, 3)]), (3, twice), (3, [(0, 1), (1, 2), (0, 2)]), (0, []))
    found = laplacian_spectra(graphs, 5)
    np.testing.assert_allclose(found[0], [0, 2, 2, 2, 2])
    np.testing.assert_allclose(found[1], [0, 0, 2, 2, 2], atol=1e-6)  # two separate parts, two zeros
    np.testing.assert_allclose(found[2], [0, 1.5, 1.5, 2, 2], atol=1e-6)
    np.testing.assert_array_equal(found[2], found[3])
    np.testing.assert_array_equal(found[4], 2)


def test_direction_and_operations_do_not_count_but_wiring_does() -> None:
    chain = batch_of((5, [(0, 1), (1, 2), (2, 3), (3, 4)]), (5, [(0, 1), (0, 2), (1, 3), (2, 4)]))
    star = batch_of((5, [(0, 1), (0, 2), (0, 3), (0, 4)]))
    found = laplacian_spectra(GraphBatch.concatenate([chain, star]), 5)
    np.testing.assert_allclose(found[0], found[1], atol=1e-6)  # a chain read from its middle is a chain
    assert np.linalg.norm(found[0] - found[2]) > 0.1


def test_thousands_of_networks_a_second_on_a_space_that_repeats_its_wiring() -> None:
    space = SPACES["nasbench201"]
    graphs = space.stamp(list(space.all_specs())[::25])
    start = time.process_time()
    found = laplacian_spectra(graphs)
    seconds = time.process_time() - start
    assert len(found) == 625
    assert len(graphs) / seconds > 50  # a tenth of a slow machine's rate; the whole space has 21 networks per wiring


def test_no_eigenvalues_is_refused() -> None:
    with pytest.raises(ConfigError, match="at least 1"):
        laplacian_spectra(batch_of((1, [])), 0)
