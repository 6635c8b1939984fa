"""Sharing by colours gives the embeddings of the plain pass, with less work."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest
import torch
from torch import Tensor

from archcast.datasets.spaces import SPACES
from archcast.encoders.colours import Partition, colour_keys, encode_shared
from archcast.encoders.gcn import GraphEncoder, GraphEncoderConfig
from archcast.encoders.graph_tensors import GraphTensors
from archcast.errors import GraphError
from archcast.graphs.builder import GraphBuilder
from archcast.graphs.graph import ComputationGraph, GraphBatch
from archcast.graphs.nodes import plain

CONFIG = GraphEncoderConfig(width=32, dim=16, measured=2)
SHAPE = (1, 8, 4, 4)


@pytest.fixture(scope="module")
def encoder() -> GraphEncoder:
    torch.manual_seed(0)
    result = GraphEncoder(CONFIG).eval()
    torch.nn.init.normal_(result.embed.op.weight)
    return result


def networks(space: str, count: int, seed: int = 0) -> GraphBatch:
    rng = np.random.default_rng(seed)
    result: GraphBatch = SPACES[space].stamp([SPACES[space].sample(rng) for _ in range(count)])
    return result


def plain_pass(encoder: GraphEncoder, tensors: GraphTensors) -> Tensor:
    with torch.inference_mode():
        result: Tensor = encoder(tensors)
    return result


def assert_equal_passes(encoder: GraphEncoder, tensors: GraphTensors) -> None:
    shared = encode_shared(encoder, tensors)
    assert shared.shape == (tensors.size, encoder.config.dim)
    torch.testing.assert_close(shared, plain_pass(encoder, tensors), atol=1e-5, rtol=0)


class TestEqualToThePlainPass:
    @pytest.mark.parametrize(
        "space",
        [
            "nasbench201", "nasbench101", "nas-bench-macro", "nats-sss", "transnas101-macro", "darts", "accel-nasbench",
            "ofa-mobilenetv3", "mini-transformers",
        ],
    )  # fmt: skip
    def test_on_search_spaces(self, encoder: GraphEncoder, space: str) -> None:
        assert_equal_passes(encoder, GraphTensors.of(networks(space, 40)))

    def test_over_spaces_at_once(self, encoder: GraphEncoder) -> None:
        parts = [networks(space, 10) for space in ("nasbench201", "mini-transformers", "nats-sss")]
        assert_equal_passes(encoder, GraphTensors.of(GraphBatch.concatenate(parts)))

    def test_with_measured_statistics(self, encoder: GraphEncoder) -> None:
        batch = networks("nasbench201", 30)
        rng = np.random.default_rng(0)
        measured = rng.integers(0, 3, (len(batch.kinds), 2)).astype(float)
        measured[rng.random(measured.shape) < 0.5] = np.nan
        tensors = GraphTensors.of(batch, measured)
        assert_equal_passes(encoder, tensors)
        assert (encode_shared(encoder, tensors) - encode_shared(encoder, GraphTensors.of(batch))).abs().max() > 1e-3

    def test_with_networks_without_a_path(self, encoder: GraphEncoder) -> None:
        cells = list(SPACES["nasbench201"].all_specs())[:40]  # the first ones hold little but zeros
        tensors = GraphTensors.of(SPACES["nasbench201"].stamp(cells))
        assert set(range(40)) - set(tensors.graph.tolist())
        assert_equal_passes(encoder, tensors)

    def test_with_edges_in_any_order(self, encoder: GraphEncoder) -> None:
        tensors = GraphTensors.of(networks("darts", 5))
        order = torch.randperm(tensors.edge_index.shape[1], generator=torch.Generator().manual_seed(0))
        mixed = dataclasses.replace(tensors, edge_index=tensors.edge_index[:, order], slot=tensors.slot[order])
        torch.testing.assert_close(encode_shared(encoder, mixed), encode_shared(encoder, tensors), atol=1e-5, rtol=0)

    def test_without_networks(self, encoder: GraphEncoder) -> None:
        assert encode_shared(encoder, GraphTensors.of(GraphBatch.from_graphs([]))).shape == (0, CONFIG.dim)
        empty = GraphTensors.of(SPACES["nasbench201"].stamp([next(iter(SPACES["nasbench201"].all_specs()))]))
        assert_equal_passes(encoder, empty)

    def test_many_rows_go_in_steps(self, encoder: GraphEncoder, monkeypatch: pytest.MonkeyPatch) -> None:
        tensors = GraphTensors.of(networks("nasbench201", 60))
        whole = encode_shared(encoder, tensors)
        monkeypatch.setattr("archcast.encoders.colours._ROWS", 37)
        monkeypatch.setattr("archcast.encoders.colours._BLOCK", 500)
        torch.testing.assert_close(encode_shared(encoder, tensors), whole, atol=1e-5, rtol=0)


def joined(op: str, *, swap: bool) -> ComputationGraph:
    build = GraphBuilder()
    start = build.add(plain("Input", SHAPE))
    parts = [build.add(plain(part, SHAPE), start) for part in ("Relu", "Gelu")]
    build.add(plain("Output", SHAPE), build.add(plain(op, SHAPE), *(parts[::-1] if swap else parts)))
    return build.build()


class TestColours:
    def test_partition(self) -> None:
        partition = Partition.of(np.asarray([7, 5, 7, 9, 5], dtype=np.uint64))
        assert partition.colour.tolist() == [0, 1, 0, 2, 1]
        assert partition.bearer.tolist() == [0, 1, 3]

    def test_slots_tell_colours_apart(self) -> None:
        for op, together in (("Add", 5), ("Sub", 10)):
            batch = GraphBatch.from_graphs([joined(op, swap=False), joined(op, swap=True)])
            keys = colour_keys(GraphTensors.of(batch), slots=3, depth=3)[-1]
            assert len(np.unique(keys)) == together, op

    def test_equal_colours_are_equal_embeddings_and_few(self, encoder: GraphEncoder) -> None:
        tensors = GraphTensors.of(networks("nasbench201", 100))
        keys = colour_keys(tensors, CONFIG.slots, CONFIG.layers)[-1]
        partition = Partition.of(keys)
        with torch.inference_mode():
            nodes = encoder.nodes(tensors)
        torch.testing.assert_close(nodes, nodes[partition.bearer[partition.colour]], atol=1e-5, rtol=0)
        assert len(partition.bearer) < 0.7 * len(keys)

    def test_each_depth_refines_the_one_before(self) -> None:
        depths = colour_keys(GraphTensors.of(networks("nasbench201", 30)), CONFIG.slots, 4)
        for coarse, fine in itertools.pairwise(depths):
            pairs = len(np.unique(np.stack([coarse, fine]), axis=1).T)
            assert pairs == len(np.unique(fine)) >= len(np.unique(coarse))


def test_training_mode_is_refused() -> None:
    encoder = GraphEncoder(CONFIG)
    with pytest.raises(GraphError, match=r"call encoder.eval\(\) first"):
        encode_shared(encoder, GraphTensors.of(networks("nasbench201", 2)))
