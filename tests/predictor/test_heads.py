"""The contract every head fulfils: learn a ranking, be deterministic, survive odd columns."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import kendalltau

from archcast.errors import BundleError
from archcast.predictor.blend import HEADS
from archcast.predictor.heads.gaussian_process import GaussianProcessHead
from archcast.predictor.heads.gbdt import GBDTHead
from archcast.predictor.heads.networks import Head, Networks
from archcast.predictor.heads.ridge import RidgeHead

FloatArray = NDArray[np.float64]

pytestmark = pytest.mark.usefixtures("quick_trees")
every_head = pytest.mark.parametrize("head_class", HEADS.values(), ids=HEADS)


def fitted(head_class: Any, features: FloatArray, targets: FloatArray, seed: int = 0, measured: int = 0) -> Any:
    return head_class.fit(Networks(features, measured), targets, seed=seed)


def scores_of(head: Head, features: FloatArray) -> FloatArray:
    return head.predict(Networks(features))


def toy_space(count: int, seed: int) -> tuple[FloatArray, FloatArray]:
    """Depth, width and ten features of no use; deeper and wider is better, with noise."""
    rng = np.random.default_rng(seed)
    features = np.column_stack([rng.integers(1, 12, count), rng.uniform(2, 6, count), rng.normal(size=(count, 10))])
    return features, features[:, 0] / 4 + features[:, 1] + rng.normal(0, 0.2, count)


@every_head
def test_learns_a_ranking_from_sixty_labels(head_class: Any) -> None:
    head = fitted(head_class, *toy_space(60, 0))
    features, targets = toy_space(200, 1)
    assert kendalltau(scores_of(head, features), targets).statistic > 0.5


@every_head
def test_same_seed_same_head(head_class: Any) -> None:
    features, targets = toy_space(40, 0)
    others, _ = toy_space(30, 1)
    first, again = (scores_of(fitted(head_class, features, targets, 3), others) for _ in range(2))
    np.testing.assert_array_equal(first, again)


@every_head
def test_answers_float64_one_per_row(head_class: Any) -> None:
    head = fitted(head_class, *toy_space(30, 0))
    for count in (1, 7):
        scores = scores_of(head, toy_space(count, 1)[0])
        assert scores.shape == (count,)
        assert scores.dtype == np.float64


@every_head
def test_far_away_features_give_finite_scores(head_class: Any) -> None:
    head = fitted(head_class, *toy_space(30, 0))
    assert np.isfinite(scores_of(head, np.full((3, 12), 1e12))).all()
    assert np.isfinite(scores_of(head, np.full((3, 12), -1e12))).all()


@every_head
def test_a_constant_column_changes_nothing_much_and_never_counts_later(head_class: Any) -> None:
    features, targets = toy_space(60, 0)
    others, truth = toy_space(100, 1)
    head = fitted(head_class, np.column_stack([np.full(60, 7.0), features]), targets)
    same = scores_of(head, np.column_stack([np.full(100, 7.0), others]))
    assert kendalltau(same, truth).statistic > 0.5
    np.testing.assert_allclose(scores_of(head, np.column_stack([np.full(100, 9.0), others])), same)


@every_head
def test_constant_features_or_targets_give_the_mean(head_class: Any) -> None:
    features, targets = toy_space(30, 0)
    np.testing.assert_allclose(
        scores_of(fitted(head_class, np.ones((30, 4)), targets), np.ones((2, 4))), targets.mean(), rtol=1e-3
    )
    np.testing.assert_allclose(scores_of(fitted(head_class, features, np.full(30, 2.5)), features), 2.5, rtol=1e-3)


@every_head
def test_the_order_of_labels_is_kept_under_duplicates(head_class: Any) -> None:
    features, targets = toy_space(30, 0)
    head = fitted(head_class, np.repeat(features, 2, axis=0), np.repeat(targets, 2))
    assert kendalltau(scores_of(head, features), targets).statistic > 0.5


@every_head
def test_the_input_is_left_as_it_was(head_class: Any) -> None:
    features, targets = toy_space(30, 0)
    before = features.copy(), targets.copy()
    scores_of(fitted(head_class, features, targets), features)
    np.testing.assert_array_equal(features, before[0])
    np.testing.assert_array_equal(targets, before[1])


def test_a_gaussian_process_interpolates_without_noise_and_smooths_with_it() -> None:
    grid = np.linspace(0, 6, 60)[:, None]
    head = fitted(GaussianProcessHead, grid, np.sin(grid[:, 0]))
    np.testing.assert_allclose(scores_of(head, grid + 0.03), np.sin(grid[:, 0] + 0.03), atol=0.02)
    noise = np.random.default_rng(0).normal(0, 0.5, 60)
    noisy = fitted(GaussianProcessHead, grid, np.sin(grid[:, 0]) + noise)
    assert np.abs(scores_of(noisy, grid) - np.sin(grid[:, 0])).mean() < 0.6 * np.abs(noise).mean()


def test_shares_of_kernel_lengths_sum_to_one() -> None:
    head = fitted(GaussianProcessHead, *toy_space(40, 0))
    assert head.shares.sum() == pytest.approx(1)
    assert len(head.shares) == len(head.lengths) == len(head.weights)


def test_a_gaussian_process_of_many_rows_keeps_a_subset() -> None:
    features, targets = toy_space(90, 0)
    head = GaussianProcessHead.fit(Networks(features), targets, max_rows=50)
    assert head.inputs.shape == (50, 12)
    others, truth = toy_space(100, 1)
    assert kendalltau(scores_of(head, others), truth).statistic > 0.5
    assert len(head.predict(Networks(others), chunk=7)) == 100
    np.testing.assert_allclose(head.predict(Networks(others), chunk=7), scores_of(head, others))


def test_ridge_finds_the_weights_of_a_line() -> None:
    features = np.random.default_rng(0).normal(size=(200, 3))
    head = fitted(RidgeHead, features, features @ [1.0, -2.0, 0.0] + 5)
    np.testing.assert_allclose(head.weights / head.scale, [1, -2, 0], atol=0.05)
    assert scores_of(head, np.zeros((1, 3)))[0] == pytest.approx(5, abs=0.1)


def test_ridge_shrinks_what_is_only_noise() -> None:
    rng = np.random.default_rng(0)
    features, targets = rng.normal(size=(60, 200)), rng.normal(size=60)
    assert scores_of(fitted(RidgeHead, features, targets), rng.normal(size=(500, 200))).std() < 0.4


def test_tree_text_is_all_there_is() -> None:
    features, targets = toy_space(40, 0)
    head = fitted(GBDTHead, features, targets)
    np.testing.assert_array_equal(scores_of(GBDTHead(head.text), features), scores_of(head, features))


@pytest.mark.parametrize("text", ["", "tree\n", "import os"])
def test_text_that_is_no_model_is_refused(text: str) -> None:
    with pytest.raises(BundleError, match=r"not a LightGBM model.*save the predictor again"):
        scores_of(GBDTHead(text), np.zeros((1, 12)))


def test_measured_columns_have_a_kernel_of_their_own() -> None:
    rng = np.random.default_rng(0)
    noise, tell = rng.normal(size=(160, 200)), rng.normal(size=(160, 2))
    targets = tell[:, 0] + 0.5 * tell[:, 1]
    columns = np.column_stack([noise, tell])
    alone = fitted(GaussianProcessHead, columns[:60], targets[:60])
    aware = fitted(GaussianProcessHead, columns[:60], targets[:60], measured=2)
    assert aware.joint.any()
    rest = slice(60, None)
    drowned = kendalltau(scores_of(alone, columns[rest]), targets[rest]).statistic
    assert kendalltau(scores_of(aware, columns[rest]), targets[rest]).statistic > drowned + 0.2


def test_measured_columns_that_tell_nothing_are_not_used() -> None:
    features, targets = toy_space(80, 0)
    columns = np.column_stack([features, np.random.default_rng(1).normal(size=(80, 3))])
    head = fitted(GaussianProcessHead, columns, targets, measured=3)
    assert head.shares[head.joint == 0].sum() > 0.9
