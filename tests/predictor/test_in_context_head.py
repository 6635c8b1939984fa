"""The head around the network fulfils the contract of heads."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import kendalltau

from archcast.encoders.features import FEATURE_NAMES
from archcast.errors import DataError
from archcast.predictor.heads.in_context import InContextHead
from archcast.predictor.heads.networks import Networks
from archcast.predictor.in_context import InContextNetwork

FloatArray = NDArray[np.float64]
COUNT = len(FEATURE_NAMES)


def toy_space(count: int, seed: int, measured: int = 0) -> tuple[Networks, FloatArray]:
    """Thirty columns vary, a score of a ranker stands behind them, and two columns make the label."""
    rng = np.random.default_rng(seed)
    features = np.zeros((count, COUNT + 1 + measured))
    features[:, :30] = rng.normal(5, 2, (count, 30))
    features[:, COUNT:] = rng.normal(size=(count, 1 + measured))
    return Networks(features, measured), features[:, 0] + features[:, 1]


@pytest.mark.parametrize("measured", [0, 2])
def test_learns_a_ranking_from_sixty_labels(measured: int) -> None:
    head = InContextHead.fit(*toy_space(60, 0, measured))
    others, truth = toy_space(150, 1, measured)
    scores = head.predict(others)
    assert scores.shape == (150,)
    assert scores.dtype == np.float64
    assert kendalltau(scores, truth).statistic > 0.4


def test_same_seed_same_head_and_few_rows_are_all_kept() -> None:
    networks, targets = toy_space(430, 0)
    others, _ = toy_space(9, 1)
    first, again, other = (InContextHead.fit(networks, targets, seed=seed) for seed in (0, 0, 1))
    assert len(first.features) == 400
    np.testing.assert_array_equal(first.predict(others), again.predict(others))
    assert not np.array_equal(first.predict(others), other.predict(others))
    assert len(InContextHead.fit(networks.take(np.arange(50)), targets[:50]).features) == 50


def test_columns_beyond_the_features_are_left_out() -> None:
    networks, targets = toy_space(40, 0)
    others, _ = toy_space(9, 1)
    changed = Networks(np.c_[others.features[:, :COUNT], np.full(9, 1e9)])
    head = InContextHead.fit(networks, targets)
    np.testing.assert_array_equal(head.predict(others), head.predict(changed))


def test_the_network_that_is_given_answers() -> None:
    networks, targets = toy_space(40, 0)
    weights = dict(InContextNetwork.untrained().weights)
    weights["log lengths"] = weights["log lengths"] + 3
    other = InContextHead.fit(networks, targets, network=InContextNetwork((), (), weights))
    plain = InContextHead.fit(networks, targets)
    assert not np.allclose(other.predict(networks), plain.predict(networks))


def test_constant_targets_give_the_mean_and_no_networks_no_scores() -> None:
    networks, targets = toy_space(30, 0)
    head = InContextHead.fit(networks, np.full_like(targets, 2.5))
    np.testing.assert_allclose(head.predict(networks), 2.5, rtol=1e-3)
    assert head.predict(networks.take(np.arange(0))).shape == (0,)


def test_other_columns_than_those_of_the_context_are_refused() -> None:
    with pytest.raises(DataError, match="encode"):
        InContextHead.fit(Networks(np.zeros((20, 12))), np.arange(20.0))
    head = InContextHead.fit(*toy_space(20, 0, 2))
    with pytest.raises(DataError, match="measure both"):
        head.predict(toy_space(5, 1, 1)[0])
