"""The head on graph statistics: statistics of nodes tell it something, its standard deviations hold, it starts warm."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import kendalltau

from archcast.encoders.gcn import GraphEncoder, GraphEncoderConfig
from archcast.errors import ConfigError, DataError
from archcast.predictor.heads.bayesian import LastLayer
from archcast.predictor.heads.graph_statistics import GraphStatisticsConfig, GraphStatisticsHead
from archcast.predictor.heads.networks import Networks
from archcast.predictor.heads.node_statistics import NodeScale
from archcast.predictor.heads.training import HeadTraining

from .measured_toy import FloatArray, toy_networks, toy_space, toy_specs

SMALL = GraphStatisticsConfig(
    width=12, layers=2, dim=12, members=2, training=HeadTraining(steps=50, batch_size=30, learning_rate=0.01, cpu=True)
)


@pytest.fixture(autouse=True)
def _fresh_accelerate() -> Iterator[None]:
    from accelerate.state import AcceleratorState

    AcceleratorState._reset_state(reset_partial_state=True)
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


def told_by_statistics(count: int, seed: int) -> tuple[Networks, FloatArray]:
    """Equal graphs; only a statistic of the last layers knows which network is better."""
    made = toy_networks(["12121212"] * count)
    assert made.graphs is not None
    rng = np.random.default_rng(seed)
    targets = rng.normal(size=count)
    layer = np.isfinite(made.nodes["snip"]) & (np.arange(len(made.graphs.kinds)) - np.repeat(
        made.graphs.ptr[:-1], np.diff(made.graphs.ptr)) > 30)  # fmt: skip
    values = np.where(layer, np.exp(np.repeat(targets, np.diff(made.graphs.ptr))), made.nodes["snip"])
    return Networks(made.features, 0, made.graphs, {"snip": values}), targets


def test_statistics_tell_networks_of_equal_structure_apart() -> None:
    networks, targets = told_by_statistics(60, 0)
    others, truth = told_by_statistics(40, 1)
    head = GraphStatisticsHead.fit(networks, targets, config=SMALL)
    assert kendalltau(head.predict(others), truth).statistic > 0.7
    blind = GraphStatisticsHead.fit(Networks(networks.features, 0, networks.graphs), targets, config=SMALL)
    assert np.ptp(blind.predict(Networks(others.features, 0, others.graphs))) < 1e-5


def test_works_without_statistics() -> None:
    networks, targets = toy_space(60, 0)
    others, truth = toy_space(100, 1)
    head = GraphStatisticsHead.fit(replace(networks, nodes={}), targets, config=SMALL)
    assert head.config.statistics == ()
    assert kendalltau(head.predict(replace(others, nodes={})), truth).statistic > 0.5
    np.testing.assert_array_equal(head.predict(others), head.predict(replace(others, nodes={})))


def test_networks_of_another_space_and_size_go_in() -> None:
    from archcast.datasets.spaces import get_space

    networks, targets = toy_space(30, 0)
    head = GraphStatisticsHead.fit(networks, targets, config=SMALL)
    cells = get_space("nasbench201").stamp(["|nor_conv_3x3~0|+|none~0|none~1|+|skip_connect~0|none~1|none~2|"])
    missing = np.full(len(cells.kinds), np.nan)
    other = Networks(np.zeros((1, 1)), 0, cells, {"snip": missing, "synflow": missing})
    mean, spread = head.forecast(other)
    assert np.isfinite([mean, spread]).all()


def test_standard_deviations_hold_on_new_networks() -> None:
    networks, targets = toy_space(120, 0)
    others, truth = toy_space(300, 1)
    head = GraphStatisticsHead.fit(networks, targets, config=replace(SMALL, members=3))
    error = (truth - head.predict(others)) / head.spread(others)
    assert 0.6 < np.sqrt((error**2).mean()) < 1.4
    assert 0.8 < (np.abs(error) < 1.645).mean() < 0.99


def test_scores_are_on_the_scale_of_the_targets() -> None:
    networks, targets = toy_space(60, 0)
    scores = GraphStatisticsHead.fit(networks, 10 * targets + 300, config=SMALL).predict(networks)
    assert scores.mean() == pytest.approx(10 * targets.mean() + 300, abs=5)
    assert np.abs(scores - 10 * targets - 300).mean() < 15


def test_starts_from_the_weights_of_an_encoder() -> None:
    networks, targets = toy_space(20, 0)
    torch.manual_seed(5)
    encoder = GraphEncoder(GraphEncoderConfig(width=12, layers=2, dim=12))
    given = {name: value.numpy().copy() for name, value in encoder.state_dict().items()}
    still = replace(SMALL, training=replace(SMALL.training, steps=1, learning_rate=1e-9))
    warm = GraphStatisticsHead.fit(networks, targets, config=still, warm_start=given)
    for member in warm.members:
        np.testing.assert_allclose(member["encoder.layers.0.own.weight"], given["layers.0.own.weight"], atol=1e-6)
        assert member["encoder.embed.measured.weight"].shape == (12, 2)
    with pytest.raises(ConfigError, match=r"warm_start: .* has shape .*give the config the width"):
        GraphStatisticsHead.fit(networks, targets, config=replace(still, width=15), warm_start=given)


def test_what_it_cannot_do_is_told() -> None:
    networks, targets = toy_space(10, 0)
    with pytest.raises(DataError, match="too few to learn and calibrate"):
        GraphStatisticsHead.fit(networks.take(np.arange(3)), targets[:3], config=SMALL)
    with pytest.raises(DataError, match="reads zen of every node"):
        GraphStatisticsHead.fit(networks, targets, config=replace(SMALL, statistics=("zen",)))
    with pytest.raises(DataError, match="graphs"):
        GraphStatisticsHead.fit(Networks(networks.features), targets, config=SMALL)
    head = GraphStatisticsHead.fit(networks, targets, config=SMALL)
    with pytest.raises(DataError, match="reads snip, synflow"):
        head.predict(replace(networks, nodes={}))
    with pytest.raises(ConfigError, match="members"):
        GraphStatisticsConfig(members=1)


def test_few_labels_make_fewer_members() -> None:
    networks, targets = toy_space(9, 0)
    assert len(GraphStatisticsHead.fit(networks, targets, config=replace(SMALL, members=5)).members) == 2


def test_the_last_layer_is_the_posterior_of_a_linear_model() -> None:
    rng = np.random.default_rng(0)
    weights = rng.normal(size=5)
    rows = rng.normal(size=(400, 5)) * [1, 10, 0.1, 1, 1] + 3
    targets = rows @ weights + rng.normal(0, 0.3, 400)
    layer = LastLayer.fit(rows[:200], targets[:200])
    assert layer.noise == pytest.approx(0.3, rel=0.15)
    mean, variance = layer(rows[200:])
    assert np.sqrt(((targets[200:] - mean) ** 2 / variance).mean()) == pytest.approx(1, abs=0.15)
    far = layer(rows[200:] + 30)[1]
    assert (far > variance).all()
    np.testing.assert_allclose(layer.mean / layer.scale, weights, atol=0.15)


def test_a_last_layer_of_noise_forecasts_the_mean() -> None:
    rng = np.random.default_rng(0)
    layer = LastLayer.fit(rng.normal(size=(60, 40)), rng.normal(size=60))
    assert layer(rng.normal(size=(200, 40)))[0].std() < 0.5


def test_statistics_are_scaled_by_the_labelled_networks() -> None:
    networks = toy_networks(toy_specs(20, 0))
    nodes = dict(networks.nodes)
    nodes["flat"] = np.where(np.isfinite(nodes["snip"]), 4.0, np.nan)
    nodes["never"] = np.full(len(nodes["flat"]), np.nan)
    networks = replace(networks, nodes=nodes)
    names = ("snip", "synflow", "flat", "never")
    scale = NodeScale.fit(networks, names)
    columns = scale(networks, names)
    assert columns is not None
    known = np.isfinite(columns[:, 0])
    np.testing.assert_array_equal(known, np.isfinite(nodes["snip"]))
    np.testing.assert_allclose(columns[known, :2].mean(axis=0), 0, atol=0.05)
    np.testing.assert_allclose(columns[known, :2].std(axis=0), 1, atol=0.1)
    np.testing.assert_allclose(columns[known, 2], 0, atol=1e-6)
    assert np.isnan(columns[:, 3]).all()
    few = scale(networks.take(np.asarray([3])), names)
    assert few is not None
    assert networks.graphs is not None
    np.testing.assert_array_equal(few, columns[networks.graphs.ptr[3] : networks.graphs.ptr[4]])
