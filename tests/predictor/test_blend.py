"""Blending: folds keep groups together, weights are shares, out-of-fold scores do not know their own label."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import kendalltau

from archcast.errors import ConfigError, UnknownNameError
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
    blend = fit_blend(*toy(50), alone(50), seed=0).blend
    assert sum(blend.weights.values()) == pytest.approx(1)
    assert all(weight >= 0 for weight in blend.weights.values())
    assert {name for name, weight in blend.weights.items() if weight > 0} == set(blend.heads)


def test_prediction_is_the_weighted_sum_of_heads() -> None:
    features, labels = toy(40)
    blend = fit_blend(features, labels, alone(40), seed=0).blend
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
    weights = blending._weights({"gp": targets, "ard": targets, "gbdt": -targets, "ridge": -targets}, targets)
    assert 0.3 < weights["gbdt"] < 0.5 < weights["gp"] + weights["ard"] < 0.7
    fallback = blending._weights(dict.fromkeys(blending.HEADS, -targets), targets)
    assert fallback == pytest.approx({"gp": 0.25, "ard": 0.25, "gbdt": 0.5, "ridge": 0.0})


def test_ranks_unseen_rows() -> None:
    blend = fit_blend(*toy(60), alone(60), seed=0).blend
    features, labels = toy(200, seed=1)
    assert kendalltau(blend.predict(features), labels).statistic > 0.5


def test_out_of_fold_scores_of_random_labels_know_nothing() -> None:
    """Scores of heads that had seen the label would agree with it strongly: ridge alone does at tau > 0.9."""
    rng = np.random.default_rng(0)
    features, labels = Networks(rng.normal(size=(120, 60))), rng.normal(size=120)
    learnt = fit_blend(features, labels, alone(120), seed=0)
    assert kendalltau(learnt.blend.predict(features), labels).statistic > 0.3
    assert abs(kendalltau(learnt.out_of_fold, labels).statistic) < 0.15


def test_duplicates_in_one_group_do_not_leak() -> None:
    """Each row thrice with one random label: only the groups keep a copy's label out of training."""
    rng = np.random.default_rng(1)
    features = Networks(np.repeat(rng.normal(size=(40, 6)), 3, axis=0))
    labels = np.repeat(rng.normal(size=40), 3)
    honest = fit_blend(features, labels, np.repeat(alone(40), 3), seed=0).out_of_fold
    leaking = fit_blend(features, labels, alone(120), seed=0).out_of_fold
    assert kendalltau(honest, labels).statistic < 0.2
    assert kendalltau(leaking, labels).statistic > 0.5


def test_a_row_s_out_of_fold_score_does_not_depend_on_its_label(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blending, "HEADS", {"ridge": blending.HEADS["ridge"]})
    monkeypatch.setattr(blending, "rank_gauss", lambda labels: labels)
    features, labels = toy(30)
    before = fit_blend(features, labels, alone(30), seed=0).out_of_fold
    changed = labels.copy()
    changed[4] += 100
    after = fit_blend(features, changed, alone(30), seed=0).out_of_fold
    assert after[4] == pytest.approx(before[4])
    assert np.abs(after - before).max() > 0.1


def test_heads_learn_normal_scores_so_the_unit_does_not_matter() -> None:
    features, labels = toy(40)
    first = fit_blend(features, labels, alone(40), seed=0).blend
    second = fit_blend(features, np.exp(3 * labels), alone(40), seed=0).blend
    np.testing.assert_allclose(first.predict(features), second.predict(features))
    assert abs(rank_gauss(labels).mean()) < 1e-9


def test_steps_are_reported() -> None:
    steps: list[str] = []
    fit_blend(*toy(20), alone(20), seed=0, on_step=steps.append)
    assert steps == [*(f"{head} fold {fold}" for head in blending.HEADS for fold in range(1, 11)), "all labels"]


def test_hardly_any_time_is_enough_for_the_first_head() -> None:
    steps: list[str] = []
    learnt = fit_blend(*toy(60), alone(60), seed=0, seconds=1e-6, on_step=steps.append)
    assert list(learnt.blend.heads) == ["gp"]
    assert learnt.blend.weights == {"gp": 1.0}
    assert steps[-1] == "all labels, 0 s left"
    features, labels = toy(200, seed=1)
    assert kendalltau(learnt.blend.predict(features), labels).statistic > 0.5


def test_time_brings_more_heads_and_more_rounds() -> None:
    learnt = fit_blend(*toy(20), alone(20), seed=0, seconds=60)
    assert learnt.rounds == blending._ROUNDS
    assert len(learnt.blend.heads) > 1
    assert fit_blend(*toy(20), alone(20), seed=0).rounds == 1


def test_time_that_runs_out_between_folds_leaves_no_half_head(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock moves by one second whenever it is read."""
    ticks = iter(range(10_000))
    monkeypatch.setattr(blending, "monotonic", lambda: float(next(ticks)))
    for seconds in (20, 60, 90, 150):
        learnt = fit_blend(*toy(30), alone(30), seed=0, seconds=seconds)
        assert "gp" in learnt.blend.heads
        assert np.isfinite(learnt.out_of_fold).all()


def test_heads_are_chosen_by_name() -> None:
    fits = {"ridge": blending.head_named("ridge"), "gbdt": blending.head_named("gbdt")}
    learnt = fit_blend(*toy(30), alone(30), seed=0, heads=fits)
    assert set(learnt.blend.heads) <= {"ridge", "gbdt"}
    for name in blending.FURTHER_HEADS:
        assert blending.head_class(name).kind == name
    with pytest.raises(UnknownNameError, match=r"no head 'forest'; choose among .*gbdt"):
        blending.head_named("forest")


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), float("inf")])
def test_senseless_times_and_no_heads_are_refused(seconds: float) -> None:
    with pytest.raises(ConfigError, match="give a positive number"):
        fit_blend(*toy(20), alone(20), seed=0, seconds=seconds)
    with pytest.raises(ConfigError, match="name at least one"):
        fit_blend(*toy(20), alone(20), seed=0, heads={})


def test_the_weights_of_a_fold_have_not_seen_its_labels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights that tell how many rows they were learnt from: all others of the same round, never all."""
    seen: list[int] = []

    def weights(scores: dict[str, FloatArray], targets: FloatArray) -> dict[str, float]:
        seen.append(len(targets))
        return {name: 1 / len(scores) for name in scores}

    monkeypatch.setattr(blending, "_weights", weights)
    fit_blend(*toy(40), alone(40), seed=0)
    assert seen == [36] * 10 + [40]


def test_the_spread_grows_with_distance_from_the_labels() -> None:
    learnt = fit_blend(*toy(60), alone(60), seed=0)
    near, far = learnt.blend.spread(toy(60)[0]), learnt.blend.spread(Networks(np.full((3, 8), 9.0)))
    assert learnt.spread.shape == (60,)
    assert (learnt.spread > 0).all()
    assert far.min() > 1.5 * np.median(near)
