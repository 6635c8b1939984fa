"""Blending: folds keep groups together, weights are shares, out-of-fold scores do not know their own label."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import kendalltau

from archcast.predictor import blend as blending
from archcast.predictor.blend import fit_blend, fold_numbers
from archcast.predictor.calibration import rank_gauss
from archcast.predictor.heads.networks import Networks

FloatArray = NDArray[np.float64]

pytestmark = pytest.mark.usefixtures("quick_trees")


def toy(count: int, seed: int = 0) -> tuple[Networks, FloatArray]:
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(count, 8))
    return Networks(features), features[:, 0] + 0.5 * features[:, 1] + rng.normal(0, 0.2, count)


def alone(count: int) -> NDArray[np.int64]:
    return np.arange(count)


def test_groups_share_a_fold_and_folds_are_even() -> None:
    groups = np.repeat(np.arange(40), 3)
    folds = fold_numbers(groups, 5, seed=0)
    assert all(len(np.unique(folds[groups == group])) == 1 for group in range(40))
    assert np.bincount(folds).tolist() == [24] * 5


def test_folds_follow_the_seed_and_never_outnumber_groups() -> None:
    groups = np.arange(50)
    np.testing.assert_array_equal(fold_numbers(groups, 5, 1), fold_numbers(groups, 5, 1))
    assert (fold_numbers(groups, 5, 1) != fold_numbers(groups, 5, 2)).any()
    assert np.unique(fold_numbers(np.repeat([7, 9, 11], 10), 10, 0)).tolist() == [0, 1, 2]


def test_weights_are_shares() -> None:
    blend, _ = fit_blend(*toy(50), alone(50), seed=0)
    assert sum(blend.weights.values()) == pytest.approx(1)
    assert all(weight >= 0 for weight in blend.weights.values())
    assert {name for name, weight in blend.weights.items() if weight > 0} == set(blend.heads)


def test_prediction_is_the_weighted_sum_of_heads() -> None:
    features, labels = toy(40)
    blend, _ = fit_blend(features, labels, alone(40), seed=0)
    expected = sum(blend.weights[name] * head.predict(features) for name, head in blend.heads.items())
    np.testing.assert_allclose(blend.predict(features), expected)


def test_a_useless_head_gets_no_weight_from_many_labels() -> None:
    targets = np.random.default_rng(0).normal(size=2000)
    scores = {"gp": targets * 0.9, "gbdt": targets * 0, "ridge": -targets}
    weights = blending._weights(scores, targets)
    assert weights["gp"] > 0.95
    assert weights["ridge"] == 0


def test_few_labels_stay_near_the_fixed_weights() -> None:
    targets = np.linspace(-1, 1, 10)
    weights = blending._weights({"gp": targets, "gbdt": -targets, "ridge": -targets}, targets)
    assert 0.3 < weights["gbdt"] < 0.5 < weights["gp"] < 0.7
    fallback = blending._weights(dict.fromkeys(blending.HEADS, -targets), targets)
    assert fallback == pytest.approx({"gp": 0.5, "gbdt": 0.5, "ridge": 0.0})


def test_ranks_unseen_rows() -> None:
    blend, _ = fit_blend(*toy(60), alone(60), seed=0)
    features, labels = toy(200, seed=1)
    assert kendalltau(blend.predict(features), labels).statistic > 0.5


def test_out_of_fold_scores_of_random_labels_know_nothing() -> None:
    """Scores of heads that had seen the label would agree with it strongly: ridge alone does at tau > 0.9."""
    rng = np.random.default_rng(0)
    features, labels = Networks(rng.normal(size=(120, 60))), rng.normal(size=120)
    blend, out_of_fold = fit_blend(features, labels, alone(120), seed=0)
    assert kendalltau(blend.predict(features), labels).statistic > 0.3
    assert abs(kendalltau(out_of_fold, labels).statistic) < 0.15


def test_duplicates_in_one_group_do_not_leak() -> None:
    """Each row thrice with one random label: only the groups keep a copy's label out of training."""
    rng = np.random.default_rng(1)
    features = Networks(np.repeat(rng.normal(size=(40, 6)), 3, axis=0))
    labels = np.repeat(rng.normal(size=40), 3)
    _, honest = fit_blend(features, labels, np.repeat(alone(40), 3), seed=0)
    _, leaking = fit_blend(features, labels, alone(120), seed=0)
    assert kendalltau(honest, labels).statistic < 0.2
    assert kendalltau(leaking, labels).statistic > 0.5


def test_a_row_s_out_of_fold_score_does_not_depend_on_its_label(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blending, "HEADS", {"ridge": blending.HEADS["ridge"]})
    monkeypatch.setattr(blending, "rank_gauss", lambda labels: labels)
    features, labels = toy(30)
    _, before = fit_blend(features, labels, alone(30), seed=0)
    changed = labels.copy()
    changed[4] += 100
    _, after = fit_blend(features, changed, alone(30), seed=0)
    assert after[4] == pytest.approx(before[4])
    assert np.abs(after - before).max() > 0.1


def test_heads_learn_normal_scores_so_the_unit_does_not_matter() -> None:
    features, labels = toy(40)
    first, _ = fit_blend(features, labels, alone(40), seed=0)
    second, _ = fit_blend(features, np.exp(3 * labels), alone(40), seed=0)
    np.testing.assert_allclose(first.predict(features), second.predict(features))
    assert abs(rank_gauss(labels).mean()) < 1e-9


def test_steps_are_reported() -> None:
    steps: list[str] = []
    fit_blend(*toy(20), alone(20), seed=0, on_step=steps.append)
    assert steps == [*(f"fold {fold}" for fold in range(1, 11)), "all labels"]
