"""Readers: the encoders' own embeddings, whatever the batch is cut into."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from archcast.datasets.spaces import SPACES
from archcast.encoders import readers
from archcast.encoders.gcn import GraphEncoderConfig
from archcast.encoders.graph_tensors import GraphTensors
from archcast.encoders.readers import GraphReader, TextReader
from archcast.encoders.text import TextEncoderConfig
from archcast.graphs.graph import GraphBatch

SMALL_TEXT = TextEncoderConfig(width=16, layers=2, heads=2, inner_width=16, window=32)
SMALL_GRAPH = GraphEncoderConfig(width=8, layers=2, dim=12, measured=2)


@pytest.fixture(scope="module")
def graphs() -> GraphBatch:
    rng = np.random.default_rng(0)
    names = ("nasbench201", "nats-sss", "nas-bench-macro")
    return GraphBatch.concatenate([SPACES[name].stamp([SPACES[name].sample(rng) for _ in range(4)]) for name in names])


def test_texts_of_like_length_are_read_together_and_come_back_in_order(
    graphs: GraphBatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = TextReader(SMALL_TEXT).eval()
    with torch.no_grad():
        at_once = reader(reader.tensors(graphs, None))[0]
        monkeypatch.setattr(readers, "BATCH_TOKENS", 400)
        tensors = reader.tensors(graphs, None)
        assert len(tensors.parts) > 2
        torch.testing.assert_close(reader(tensors)[0], at_once, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(reader.encoder.encode_all(graphs), at_once, atol=1e-5, rtol=1e-5)
    assert at_once.shape == (len(graphs), reader.width)


def test_the_graph_encoder_gives_networks_and_the_nodes_it_reads(graphs: GraphBatch) -> None:
    reader = GraphReader(SMALL_GRAPH).eval()
    measured = np.random.default_rng(0).normal(size=(len(graphs.kinds), 2)).astype(np.float32)
    tensors = reader.tensors(graphs, measured)
    with torch.no_grad():
        embedding, nodes = reader(tensors)
        torch.testing.assert_close(embedding, reader.encoder(GraphTensors.of(graphs, measured)))
    assert embedding.shape == (len(graphs), reader.width)
    assert nodes.shape == (len(tensors.nodes), reader.node_width)


def test_an_encoder_of_structure_alone_is_not_given_measurements(graphs: GraphBatch) -> None:
    reader = GraphReader(GraphEncoderConfig(width=8, layers=1, dim=12))
    assert reader.tensors(graphs, np.zeros((len(graphs.kinds), 2), np.float32)).measured is None
