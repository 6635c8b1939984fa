"""The graph encoder: what it can tell apart, what it must not, and that it learns a ranking in seconds."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from archcast.datasets.spaces import SPACES
from archcast.encoders.gcn import GraphEncoder, GraphEncoderConfig
from archcast.encoders.graph_tensors import GraphTensors
from archcast.encoders.node_table import NodeTable
from archcast.errors import ConfigError, GraphError
from archcast.graphs.builder import GraphBuilder
from archcast.graphs.graph import ComputationGraph, GraphBatch
from archcast.graphs.nodes import plain, unknown
from archcast.graphs.vocabulary import OP_INDEX

SHAPE = (1, 8, 4, 4)
SMALL = GraphEncoderConfig(width=32, layers=3, dim=16, dropout=0.0, op_dropout=0.0)


def encoder_of(config: GraphEncoderConfig = SMALL, **changes: Any) -> GraphEncoder:
    """With ops that differ, as after training."""
    torch.manual_seed(0)
    encoder = GraphEncoder(dataclasses.replace(config, **changes))
    torch.nn.init.normal_(encoder.embed.op.weight)
    return encoder.eval()


def tensors_of(*graphs: ComputationGraph, **columns: Any) -> GraphTensors:
    return GraphTensors.of(GraphBatch.from_graphs(graphs), **columns)


def chain(*ops: str) -> ComputationGraph:
    build = GraphBuilder()
    last = build.add(plain("Input", SHAPE))
    for op in (*ops, "Output"):
        last = build.add(plain(op, SHAPE) if op != "snake" else unknown("snake", SHAPE), last)
    return build.build()


def joined(op: str, first: str, second: str, *, swap: bool = False) -> ComputationGraph:
    build = GraphBuilder()
    start = build.add(plain("Input", SHAPE))
    parts = [build.add(plain(part, SHAPE), start) for part in (first, second)]
    build.add(plain("Output", SHAPE), build.add(plain(op, SHAPE), *(parts[::-1] if swap else parts)))
    return build.build()


def cells(count: int, seed: int = 0) -> GraphBatch:
    space, rng = SPACES["nasbench201"], np.random.default_rng(seed)
    result: GraphBatch = space.stamp([space.sample(rng) for _ in range(count)])
    return result


@torch.inference_mode()
def distance(encoder: GraphEncoder, first: ComputationGraph, second: ComputationGraph) -> float:
    """Distance of two embeddings, each computed by itself."""
    return float((encoder(tensors_of(first)) - encoder(tensors_of(second))).norm())


class TestWhatItSees:
    def test_shapes_and_size(self) -> None:
        encoder = GraphEncoder()
        tensors = GraphTensors.of(cells(5))
        assert encoder(tensors).shape == (5, encoder.config.dim)
        assert encoder.nodes(tensors).shape == (len(tensors.kinds), encoder.config.width)
        assert sum(parameter.numel() for parameter in encoder.parameters()) < 2_000_000

    def test_a_network_has_the_same_embedding_in_any_company(self) -> None:
        encoder, batch = encoder_of(), cells(12)
        with torch.inference_mode():
            together = encoder(GraphTensors.of(batch))
            alone = torch.cat([encoder(GraphTensors.of(batch[i : i + 1])) for i in range(len(batch))])
        torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-4)

    def test_order_of_ops_counts(self) -> None:
        encoder = encoder_of()
        assert distance(encoder, chain("Relu", "Gelu"), chain("Gelu", "Relu")) > 1e-2
        assert distance(encoder, chain("Relu", "Gelu"), chain("Relu", "Gelu")) == 0

    def test_direction_counts(self) -> None:
        """What feeds a node and what reads it are told apart even where their multisets agree."""
        encoder = encoder_of()
        assert distance(encoder, chain("Relu", "Relu", "Gelu"), chain("Gelu", "Relu", "Relu")) > 1e-2

    def test_slots_count_where_inputs_may_not_be_swapped(self) -> None:
        encoder = encoder_of()
        assert distance(encoder, joined("Sub", "Relu", "Gelu"), joined("Sub", "Relu", "Gelu", swap=True)) > 1e-3
        assert distance(encoder, joined("Add", "Relu", "Gelu"), joined("Add", "Relu", "Gelu", swap=True)) < 1e-5

    def test_far_order_is_seen_by_the_readout(self) -> None:
        """Beyond the reach of the layers only depth tells where a node stands."""
        encoder = encoder_of(layers=1)
        filler = ["Relu"] * 6
        first, second = chain(*filler, "Gelu", *filler[:2]), chain(*filler[:2], "Gelu", *filler)
        assert distance(encoder, first, second) > 1e-3

    def test_silent_branches_do_not_count(self) -> None:
        encoder = encoder_of()
        build = GraphBuilder()
        start = build.add(plain("Input", SHAPE))
        relu = build.add(plain("Relu", SHAPE), start)
        gelu = build.add(plain("Gelu", SHAPE), build.add(plain("Zero", SHAPE), start))
        build.add(plain("Output", SHAPE), build.add(plain("Add", SHAPE), relu, gelu))
        lone = GraphBuilder()
        relu = lone.add(plain("Relu", SHAPE), lone.add(plain("Input", SHAPE)))
        lone.add(plain("Output", SHAPE), lone.add(plain("Add", SHAPE), relu))
        assert distance(encoder, build.build(), lone.build()) < 1e-5

    def test_networks_without_a_path_are_all_alike_and_finite(self) -> None:
        encoder = encoder_of()
        with torch.inference_mode():
            rows = encoder(tensors_of(chain("Zero"), chain("Relu", "Zero"), chain("Relu")))
            nothing = encoder(tensors_of(chain("Zero")))
        assert torch.isfinite(rows).all()
        torch.testing.assert_close(rows[0], rows[1])
        torch.testing.assert_close(rows[:1], nothing)

    def test_no_networks(self) -> None:
        assert encoder_of()(GraphTensors.of(GraphBatch.from_graphs([]))).shape == (0, SMALL.dim)


class TestOps:
    def test_an_op_never_trained_on_keeps_no_learnt_vector(self) -> None:
        """Then its text alone places it."""
        torch.manual_seed(0)
        encoder = GraphEncoder(SMALL)
        optimiser = torch.optim.AdamW(encoder.parameters(), 1e-2)
        for _ in range(3):
            optimiser.zero_grad()
            encoder(tensors_of(chain("Relu"), chain("Conv", "Relu"))).square().sum().backward()
            optimiser.step()
        assert not encoder.embed.op.weight[OP_INDEX["Gelu"]].any()
        assert encoder.embed.op.weight[OP_INDEX["Conv"]].any()

    def test_text_places_an_unknown_op_near_its_like(self) -> None:
        """Before training the projection keeps angles: gelu_fast lies nearer to Gelu than to Conv."""
        torch.manual_seed(0)
        encoder = GraphEncoder(GraphEncoderConfig(width=128))
        table = NodeTable.of([unknown("gelu_fast", SHAPE), plain("Gelu", SHAPE), plain("Conv", SHAPE)])
        fast, gelu, conv = encoder.embed.distinct(*map(torch.from_numpy, (table.op, table.numbers, table.text)))
        assert (fast - gelu).norm() < 0.8 * (fast - conv).norm()

    def test_unknown_ops_differ_by_name(self) -> None:
        encoder = encoder_of()
        other = GraphBuilder()
        middle = other.add(unknown("gelu_fast", SHAPE), other.add(plain("Input", SHAPE)))
        other.add(plain("Output", SHAPE), middle)
        assert distance(encoder, chain("snake"), other.build()) > 1e-3

    def test_op_dropout_in_training_only(self) -> None:
        encoder = encoder_of(op_dropout=0.9)
        tensors = tensors_of(chain("Relu", "Gelu", "Tanh"))
        assert torch.equal(encoder(tensors), encoder(tensors))
        encoder.train()
        assert not torch.equal(encoder(tensors), encoder(tensors))


class TestMeasured:
    def test_values_count_and_missing_is_not_zero(self) -> None:
        encoder = encoder_of(measured=2)
        graph = chain("Relu", "Gelu")
        zeros = np.zeros((4, 2))
        missing, partly = zeros + np.nan, zeros.copy()
        partly[1, 0] = np.nan
        rows = [encoder(tensors_of(graph, measured=part)) for part in (zeros, zeros + 1, missing, partly)]
        for i in range(4):
            for j in range(i):
                assert (rows[i] - rows[j]).norm() > 1e-4
        torch.testing.assert_close(encoder(tensors_of(graph)), rows[2])
        assert all(torch.isfinite(row).all() for row in rows)

    def test_gradients_of_missing_values_are_finite(self) -> None:
        encoder = encoder_of(measured=1).train()
        encoder(tensors_of(chain("Relu"), measured=np.full((3, 1), np.nan))).sum().backward()
        assert all(torch.isfinite(p.grad).all() for p in encoder.parameters() if p.grad is not None)
        assert encoder.embed.not_measured.grad is not None

    def test_extra_columns(self) -> None:
        encoder = encoder_of(extra=1)
        graph = chain("Relu")
        one, two = (encoder(tensors_of(graph, extra=np.full((3, 1), value))) for value in (0.0, 1.0))
        assert (one - two).norm() > 1e-4

    def test_wrong_columns_are_refused(self) -> None:
        graph = chain("Relu")
        with pytest.raises(GraphError, match="3 measured statistics, the encoder knows 2"):
            encoder_of(measured=2)(tensors_of(graph, measured=np.zeros((3, 3))))
        with pytest.raises(GraphError, match="0 extra columns, the encoder needs 1"):
            encoder_of(extra=1)(tensors_of(graph))


class TestTraining:
    def test_two_dropout_views_differ(self) -> None:
        encoder = encoder_of(dropout=0.1).train()
        tensors = GraphTensors.of(cells(4))
        assert not torch.equal(encoder(tensors), encoder(tensors))

    def test_every_parameter_learns(self) -> None:
        encoder = encoder_of(measured=1).train()
        batch = cells(6)
        measured = np.random.default_rng(0).normal(size=(len(batch.kinds), 1))
        measured[::3] = np.nan
        encoder(GraphTensors.of(batch, measured)).square().sum().backward()
        silent = {name for name, p in encoder.named_parameters() if p.grad is None or not p.grad.any()}
        assert silent <= {"embed.aside"}  # cells have no side branches

    def test_learns_a_ranking_in_seconds(self) -> None:
        """Rank by the MACs of spatial convolutions: read off the graph, but not a column of the input."""
        batch = cells(160)
        is_spatial = np.asarray([node.get("kernel") == (3, 3) and node.op == "Conv" for node in batch.nodes])
        macs = np.asarray([node.macs for node in batch.nodes]) * is_spatial
        tensors = GraphTensors.of(batch)
        truth = np.bincount(tensors.graph.numpy(), macs[tensors.kinds.numpy()], minlength=len(batch))
        target = torch.tensor((truth - truth.mean()) / truth.std(), dtype=torch.float32)
        torch.manual_seed(0)
        encoder, head = GraphEncoder(SMALL), torch.nn.Linear(SMALL.dim, 1)
        optimiser = torch.optim.AdamW([*encoder.parameters(), *head.parameters()], 1e-2)
        train, test = torch.arange(120), torch.arange(120, 160)
        for step in range(60):
            rows = train[torch.randperm(120, generator=torch.Generator().manual_seed(step))[:32]]
            loss = (head(encoder(tensors.take(rows)))[:, 0] - target[rows]).square().mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        with torch.inference_mode():
            forecast = head(encoder.eval()(tensors.take(test)))[:, 0]
        assert spearmanr(forecast, target[test]).statistic > 0.85

    def test_weights_survive_a_state_dict(self) -> None:
        encoder, other = encoder_of(), GraphEncoder(SMALL).eval()
        other.load_state_dict(encoder.state_dict())
        tensors = GraphTensors.of(cells(3))
        assert torch.equal(encoder(tensors), other(tensors))


class TestConfig:
    @pytest.mark.parametrize("changes", [{"layers": 0}, {"bins": 1}, {"bins": 65}, {"measured": -1}, {"dropout": 1.0}])
    def test_senseless_values_are_refused(self, changes: dict[str, Any]) -> None:
        with pytest.raises(ConfigError):
            GraphEncoderConfig(**changes)

    def test_other_versions_of_the_node_table_are_refused(self) -> None:
        with pytest.raises(ConfigError, match="train it again"):
            GraphEncoderConfig(node_table=-1)
