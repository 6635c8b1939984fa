"""ParZC: what its inputs, its two variants and its Bayesian layers are."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from archcast.errors import ConfigError, DataError
from archcast.predictor.heads.bayesian import BayesianLinear
from archcast.predictor.heads.networks import Networks
from archcast.predictor.heads.node_statistics import layer_counts, layer_rows
from archcast.predictor.heads.parzc import ParZCConfig, ParZCHead
from archcast.predictor.heads.parzc_mixer import Mixer
from archcast.predictor.heads.training import HeadTraining

from .measured_toy import toy_networks, toy_space

SMALL = ParZCConfig(
    statistics=("snip",), width=16, depth=1, training=HeadTraining(steps=20, batch_size=20, cpu=True)
)  # fmt: skip


def by_hand(values: list[list[float]]) -> Networks:
    """Networks of a chain each, with these values at their first nodes and none at the others."""
    made = toy_networks(["22222222"] * len(values))
    assert made.graphs is not None
    nodes = np.full(len(made.graphs.kinds), np.nan)
    for start, row in zip(made.graphs.ptr, values, strict=False):
        nodes[start : start + len(row)] = row
    return Networks(made.features, 0, made.graphs, {"snip": nodes})


def test_rows_are_scaled_inside_each_network_padded_and_cut() -> None:
    networks = by_hand([[3.0, 1.0, 2.0], [50.0, 100.0], [7.0, 7.0]])
    assert layer_counts(networks, ("snip",)).tolist() == [3, 2, 2]
    rows = layer_rows(networks, ("snip",), 4)
    np.testing.assert_allclose(rows, np.asarray([[1, 0, 0.5, 0], [0, 1, 0, 0], [0, 0, 0, 0]]))
    np.testing.assert_allclose(layer_rows(networks, ("snip",), 2), [[1, 0], [0, 1], [0, 0]])


def test_statistics_stand_one_after_another_and_a_missing_value_is_zero() -> None:
    networks = by_hand([[1.0, 3.0]])
    other = networks.nodes["snip"].copy()
    other[:2] = [np.nan, 5.0]
    other[2] = 9.0
    both = replace(networks, nodes={"snip": networks.nodes["snip"], "more": other})
    np.testing.assert_allclose(layer_rows(both, ("snip", "more"), 3), [[0, 1, 0, 0, 0, 1]])


def test_released_code_is_the_shape_of_the_publication() -> None:
    mixer = Mixer(83 * 3, ParZCConfig(variant="released"))
    shapes = {name: list(value.shape) for name, value in mixer.state_dict().items()}
    assert shapes["project.weight"] == [256, 249]
    assert shapes["embed.mean"] == shapes["embed.rho"] == [512, 16]
    assert shapes["head.mean"] == [512, 512]
    assert [shapes[f"blocks.{i}.mix.0.weight"] for i in range(8)] == [[2048, 512], [256, 512]] * 4
    assert shapes["first.weight"] == [256, 512]
    assert shapes["last.weight"] == [1, 256]
    assert float(mixer.head.deviation.detach().mean()) == pytest.approx(math.log1p(math.exp(-5)))


def segments_talk(variant: str) -> bool:
    """Whether a change of one segment changes what the blocks make of another."""
    torch.manual_seed(0)
    mixer = Mixer(6, replace(SMALL, variant=variant)).eval()
    segments = torch.randn(1, 16, 16)
    changed = segments.clone()
    changed[0, 0] += torch.randn(16)
    return bool((mixer.blocks(segments)[0, 1:] != mixer.blocks(changed)[0, 1:]).any())


def test_only_the_paper_mixes_segments() -> None:
    assert segments_talk("paper")
    assert not segments_talk("released")


def test_noise_is_drawn_in_evaluation_by_the_released_variant_only() -> None:
    rows = torch.randn(3, 6)
    for variant, noisy in (("paper", False), ("released", True)):
        mixer = Mixer(6, replace(SMALL, variant=variant)).eval()
        assert bool((mixer(rows) != mixer(rows)).any()) == noisy
        mixer.train()
        mixer.dropout.p = 0.0
        assert bool((mixer(rows) != mixer(rows)).any())


def test_divergence_of_normals() -> None:
    layer = BayesianLinear(3, 2)
    prior = torch.distributions.Normal(torch.zeros(2, 3), torch.full((2, 3), 0.1))
    own = torch.distributions.Normal(layer.mean, layer.deviation)
    wanted = torch.distributions.kl_divergence(own, prior).mean()
    torch.testing.assert_close(layer.kl(0.1), wanted)
    with torch.no_grad():
        layer.mean.zero_()
        layer.rho.fill_(math.log(math.expm1(0.1)))
    assert float(layer.kl(0.1).detach()) == pytest.approx(0, abs=1e-6)


def test_the_divergence_keeps_weights_near_their_prior() -> None:
    networks, targets = toy_space(40, 0)
    training = replace(SMALL.training, steps=60, learning_rate=0.01)
    far = ParZCHead.fit(networks, targets, config=replace(SMALL, kl_weight=0.0, training=training))
    near = ParZCHead.fit(networks, targets, config=replace(SMALL, kl_weight=10.0, training=training))
    for head, wide in ((far, False), (near, True)):
        assert (np.log1p(np.exp(head.weights["head.rho"])).mean() > 0.008) == wide


@pytest.mark.parametrize("loss", ["bce", "hinge", "listmle", "mse", "diffkendall_top"])
def test_any_loss_trains(loss: str) -> None:
    networks, targets = toy_space(40, 0)
    config = replace(SMALL, loss=loss, training=replace(SMALL.training, steps=60, learning_rate=3e-3))
    scores = ParZCHead.fit(networks, targets, config=config).predict(networks)
    assert np.corrcoef(scores, targets)[0, 1] > 0.5


def test_deeper_networks_than_the_labelled_ones_are_cut() -> None:
    networks = toy_networks(["00000001", "00000021", "00000002", "00000200"] * 3)
    head = ParZCHead.fit(networks, np.arange(12.0), config=SMALL)
    assert np.isfinite(head.predict(toy_networks(["22222222"]))).all()


def test_what_was_not_measured_is_named() -> None:
    networks, targets = toy_space(10, 0)
    with pytest.raises(DataError, match=r"ParZC reads grad_norm of every node; measure"):
        ParZCHead.fit(networks, targets)
    with pytest.raises(DataError, match="ParZC reads"):
        ParZCHead.fit(Networks(networks.features), targets)


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"variant": "third"}, "paper or released"), ({"statistics": ()}, "at least one"), ({"width": 0}, "width"),
     ({"prior": 0.0}, "prior"), ({"loss": "no such"}, "no loss")],
)  # fmt: skip
def test_odd_configs_are_refused(changes: dict[str, object], message: str) -> None:
    networks, targets = toy_space(10, 0)
    with pytest.raises(ConfigError, match=message):
        ParZCHead.fit(networks, targets, config=replace(SMALL, **changes))  # type: ignore[arg-type]
