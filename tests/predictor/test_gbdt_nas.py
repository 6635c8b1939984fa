"""GBDT-NAS: its trees are those of the paper, and its pruning bans what hurts."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import kendalltau

from archcast.errors import ConfigError, DataError
from archcast.predictor.heads.gbdt_nas import GBDTNASConfig, GBDTNASHead
from archcast.predictor.heads.networks import Networks


def one_hot(count: int, seed: int) -> tuple[Networks, np.ndarray]:
    """Three positions with one of three operations each; the second operation at the first position is poison."""
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, 3, (count, 3))
    rows = (codes[:, :, None] == np.arange(3)).reshape(count, 9).astype(np.float64)
    accuracy = 90 - 8 * (codes[:, 0] == 1) + 2 * (codes[:, 1] == 2) + rng.normal(0, 0.3, count)
    return Networks(rows), accuracy


def test_trees_are_those_of_the_paper() -> None:
    head = GBDTNASHead.fit(*one_hot(600, 0))
    assert head.text.count("Tree=") == 100
    assert "shrinkage=0.05" in head.text
    assert (GBDTNASConfig().leaves, GBDTNASConfig().rounds, GBDTNASConfig().learning_rate) == (31, 100, 0.05)
    others, truth = one_hot(200, 1)
    assert kendalltau(head.predict(others), truth).statistic > 0.6


def test_architectures_below_the_limit_are_dropped() -> None:
    networks, accuracy = one_hot(100, 0)
    head = GBDTNASHead.fit(networks, accuracy, config=GBDTNASConfig(drop_below=85))
    assert len(head.rows) == (accuracy >= 85).sum() < 100
    assert head.targets.min() >= 85
    only = GBDTNASHead.fit(networks.take(accuracy >= 85), accuracy[accuracy >= 85])
    np.testing.assert_array_equal(head.predict(networks), only.predict(networks))
    with pytest.raises(DataError, match="0 labelled networks reach drop_below=99"):
        GBDTNASHead.fit(networks, accuracy, config=GBDTNASConfig(drop_below=99))


def test_contributions_sum_to_the_forecast() -> None:
    networks, accuracy = one_hot(200, 0)
    head = GBDTNASHead.fit(networks, accuracy)
    parts = head.contributions(networks)
    assert parts.shape == networks.features.shape
    rest = head.predict(networks) - parts.sum(axis=1)
    np.testing.assert_allclose(rest, rest[0])


def test_poison_is_banned_first_and_the_best_survives() -> None:
    networks, accuracy = one_hot(300, 0)
    pruning = GBDTNASHead.fit(networks, accuracy).pruning(keep=0.5)
    assert pruning.columns[0] == 1
    assert (pruning.low[0], pruning.high[0]) == (1, 1)
    assert (pruning.harm < 0).all()
    assert (np.diff(pruning.harm) >= 0).all()
    kept = pruning(networks)
    assert kept[accuracy.argmax()]
    assert kept.mean() >= 0.5
    assert accuracy[kept].mean() > accuracy.mean() + 1.5
    others, truth = one_hot(200, 1)
    survivors = pruning.prune(others)
    assert len(survivors) == pruning(others.features).sum()
    assert not survivors.features[:, 1].any()
    assert truth[pruning(others)].mean() > truth.mean() + 1.5


def test_absence_of_an_operation_is_no_feature_value() -> None:
    networks, accuracy = one_hot(300, 0)
    pruning = GBDTNASHead.fit(networks, accuracy).pruning(keep=0.1)
    assert len(pruning) > 0
    assert (pruning.low == 1).all()


def test_numbers_are_banned_by_quarters() -> None:
    rng = np.random.default_rng(0)
    rows = rng.uniform(0, 100, (400, 2))
    pruning = GBDTNASHead.fit(Networks(rows), -np.abs(rows[:, 0] - 80)).pruning(keep=0.6)
    assert pruning.columns.tolist()[:1] == [0]
    assert pruning(np.asarray([[80.0, 5.0], [2.0, 5.0]])).tolist() == [True, False]


def test_nothing_is_banned_where_all_must_stay_or_nothing_was_learnt() -> None:
    networks, accuracy = one_hot(100, 0)
    assert len(GBDTNASHead.fit(networks, accuracy).pruning(keep=1.0)) == 0
    flat = GBDTNASHead.fit(networks, np.full(100, 3.0)).pruning()
    assert len(flat) == 0
    assert flat(networks).all()


def test_candidates_stay_where_all_would_go() -> None:
    networks, accuracy = one_hot(300, 0)
    pruning = GBDTNASHead.fit(networks, accuracy).pruning(keep=0.5)
    doomed = networks.take(~pruning(networks))
    assert len(pruning.prune(doomed)) == len(doomed) > 0


@pytest.mark.parametrize("options", [{"keep": 0.0}, {"keep": 1.5}, {"support": 0}])
def test_odd_options_are_refused(options: dict[str, float]) -> None:
    networks, accuracy = one_hot(60, 0)
    with pytest.raises(ConfigError, match="keep must"):
        GBDTNASHead.fit(networks, accuracy).pruning(**options)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="leaves"):
        GBDTNASConfig(leaves=1)
