"""Baselines of the zero-shot tables: they learn, they repeat themselves, and their parts do what their papers say."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy.stats import kendalltau, spearmanr

from archcast.datasets.spaces import SPACES
from archcast.encoders.text import TextEncoderConfig
from archcast.errors import DataError, NotFittedError
from archcast.graphs.graph import ComputationGraph, GraphBatch, Node
from benchmarks.baselines.contract import Baseline, FloatArray, Sources, joined
from benchmarks.baselines.gennape import MEMBERS, Gennape, GennapeConfig, KGnnRegressor, flops_term
from benchmarks.baselines.gennape_heads import Head
from benchmarks.baselines.k_gnn import CHANNELS, KGnn, computational_graphs
from benchmarks.baselines.onnx_net import OnnxNet, OnnxNetConfig, margin_ranking

SMALL = GennapeConfig(steps=30, head_steps=60, fine_tune_steps=20, batch_size=16, clusters=2, learning_rate=5e-3)
SHORT = OnnxNetConfig(
    steps=60, batch_size=8, learning_rate=3e-3,
    encoder=TextEncoderConfig(width=32, layers=1, heads=2, inner_width=32, dropout=0.0),
)  # fmt: skip


def labelled(space: str, count: int, seed: int) -> tuple[GraphBatch, FloatArray]:
    """Networks labelled by something they can be ranked by: their depth in MACs."""
    rng = np.random.default_rng(seed)
    graphs = SPACES[space].stamp([SPACES[space].sample(rng) for _ in range(count)])
    return graphs, 60 + 5 * np.log10(graphs.macs.astype(float))


@pytest.fixture(scope="module")
def sources() -> Sources:
    return {"nats-sss": labelled("nats-sss", 40, 0), "nas-bench-macro": labelled("nas-bench-macro", 40, 1)}


@pytest.fixture(scope="module")
def gennape(sources: Sources) -> Gennape:
    model = Gennape(0, SMALL)
    model.fit(sources)
    return model


def test_nodes_carry_what_gennape_says() -> None:
    nodes = (
        Node("Input", shape=(1, 3, 32, 32)),
        Node("Conv", {"kernel": (3, 5), "bias": True, "in_channels": 3, "out_channels": 64}, (1, 64, 16, 16), 100, 100),
        Node("Relu", shape=(1, 64, 16, 16)),
        Node("Output", shape=(1, 64, 16, 16)),
    )
    graph = ComputationGraph(nodes, np.asarray([[0, 1, 2], [1, 2, 3]]))
    tensors = computational_graphs(GraphBatch.from_graphs([graph]))
    assert tensors.extra is not None
    conv, relu = tensors.extra[1], tensors.extra[2]
    np.testing.assert_allclose(conv, [1, 0.5, 1, 0.5, 3 / CHANNELS, 64 / CHANNELS, 3, 5, 1, 1], rtol=1e-6)
    np.testing.assert_allclose(relu[[0, 1, 4, 5, 9]], [0.5, 0.5, 64 / CHANNELS, 64 / CHANNELS, 0], rtol=1e-6)
    embedding = KGnn().embedding(tensors.op, tensors.extra)
    assert embedding.shape == (4, 32)


def test_edges_are_directed() -> None:
    """A change at the input reaches the output within as many layers as there are edges; the other way nothing goes."""
    graphs, _ = labelled("nas-bench-macro", 1, 0)
    tensors = computational_graphs(graphs)
    assert tensors.extra is not None
    network = KGnn().eval()
    nodes = network.embedding(tensors.op, tensors.extra).detach().requires_grad_()
    hidden = nodes
    for layer in network.layers:
        hidden = torch.tanh(layer(hidden, tensors.edge_index))
    (gradient,) = torch.autograd.grad(hidden[20].sum(), nodes)
    assert gradient[19].abs().sum() > 0
    assert gradient[21:].abs().sum() == 0


def test_members_of_gennape(gennape: Gennape, sources: Sources) -> None:
    graphs, labels = labelled("nats-sss", 30, 5)
    members = gennape.members(graphs)
    assert tuple(members) == MEMBERS
    assert spearmanr(gennape.predict(graphs), labels).statistic > 0.5
    np.testing.assert_allclose(sum(gennape.weights.values()), 1)
    assert len(set(gennape.weights.values())) == 1
    # T is undone by the FLOPs of the network, so these scores are accuracies again.
    known = joined(sources)[1]
    assert known.min() - 15 < members["contrastive+t"].mean() < known.max() + 15
    assert np.all((members["contrastive+pairwise"] >= 0) & (members["contrastive+pairwise"] <= 1))


def test_target_is_accuracy_over_flops(gennape: Gennape, sources: Sources) -> None:
    graphs, labels, _ = joined(sources)
    term = np.log10(2 * graphs.macs / 1e9 + 1) + 1
    np.testing.assert_allclose(flops_term(graphs), term)
    target = gennape.target(labels / term)
    np.testing.assert_allclose([target.mean(), target.std()], [0, 1], atol=1e-9)
    np.testing.assert_allclose(gennape.target.inverse(target) * term, labels)


def test_fine_tuning_weighs_members_by_kendall(gennape: Gennape, sources: Sources) -> None:
    model = Gennape(0, SMALL)
    model.fit(sources)
    graphs, _ = labelled("nas-bench-macro", 24, 9)
    labels = -graphs.macs.astype(float) / 1e6  # here fewer FLOPs are better
    model.fine_tune(graphs, labels)
    powers = {name: np.exp(kendalltau(scores, labels).statistic) for name, scores in gennape.members(graphs).items()}
    assert model.weights == pytest.approx({name: power / sum(powers.values()) for name, power in powers.items()})
    assert model.weights["flops"] == min(model.weights.values())
    before, after = (spearmanr(part.members(graphs)["k-gnn"], labels).statistic for part in (gennape, model))
    assert after > before


def test_pairwise_logit_changes_sign() -> None:
    torch.manual_seed(0)
    head = Head(6, None, pairwise=True)
    one, two, shares = torch.randn(5, 6), torch.randn(5, 6), torch.ones(5, 1)
    torch.testing.assert_close(head.compare(one, two, shares), -head.compare(two, one, shares))


def test_margin_ranking_wants_a_tenth() -> None:
    labels, rng = torch.tensor([1.0, 2.0]), np.random.default_rng(0)
    assert float(margin_ranking(torch.tensor([0.0, 0.2]), labels, 0.1, rng)) == 0
    assert float(margin_ranking(torch.tensor([0.2, 0.0]), labels, 0.1, rng)) == pytest.approx(0.3)
    assert float(margin_ranking(torch.tensor([0.2, 0.0]), torch.ones(2), 0.1, rng)) == 0


def test_onnx_net_learns_and_does_not_see_macs(sources: Sources) -> None:
    model = OnnxNet(0, SHORT)
    model.fit(sources)
    graphs, labels = labelled("nats-sss", 30, 5)
    assert spearmanr(model.predict(graphs), labels).statistic > 0.5
    free = GraphBatch(
        tuple(node.replace(macs=0) for node in graphs.nodes), graphs.kinds, graphs.edge_index, graphs.ptr,
        graphs.edge_ptr, graphs.unused_params,
    )  # fmt: skip
    np.testing.assert_allclose(model.predict(free), model.predict(graphs), atol=1e-5)
    assert model.ranker is not None
    assert model.parameters == sum(weight.numel() for weight in model.ranker.parameters())


@pytest.mark.parametrize("make", [lambda seed: Gennape(seed, SMALL), lambda seed: OnnxNet(seed, SHORT)])
def test_seeds_decide_everything(make: Callable[[int], Baseline], sources: Sources) -> None:
    graphs, _ = labelled("nats-sss", 12, 5)
    scores: list[FloatArray] = []
    for seed in (3, 3, 4):
        model = make(seed)
        torch.manual_seed(len(scores))  # what happened before must not matter
        model.fit(sources)
        scores.append(model.predict(graphs))
    np.testing.assert_array_equal(scores[0], scores[1])
    assert not np.allclose(scores[0], scores[2])


def test_bad_use_is_told() -> None:
    graphs, labels = labelled("nats-sss", 4, 0)
    with pytest.raises(NotFittedError, match="call fit first"):
        KGnnRegressor().predict(graphs)
    with pytest.raises(NotFittedError, match="call fit first"):
        OnnxNet().predict(graphs)
    with pytest.raises(DataError, match="nats-sss: give one finite label"):
        Gennape().fit({"nats-sss": (graphs, labels[:2])})
    with pytest.raises(DataError, match="at least one space"):
        Gennape().fit({})
