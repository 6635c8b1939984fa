"""Values rise with scores; intervals hold nine times in ten."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from scipy.stats import norm

from archcast.predictor.calibration import Agreement, ErrorScale, ValueMap, conformal_factor, rank_gauss

FloatArray = NDArray[np.float64]


def test_normal_scores_of_ranks() -> None:
    np.testing.assert_allclose(rank_gauss(np.asarray([30.0, 10.0, 20.0])), norm.ppf([5 / 6, 1 / 6, 3 / 6]))
    np.testing.assert_allclose(rank_gauss(np.asarray([5.0, 5.0])), [0, 0])
    assert rank_gauss(np.zeros(0)).shape == (0,)


@settings(deadline=None, max_examples=60)
@given(st.integers(10, 60), st.integers(0, 10_000), st.floats(0, 3))
def test_a_better_score_never_means_a_lower_value(count: int, seed: int, noise: float) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.normal(size=count).round(1)
    value = ValueMap.fit(scores, 90 + scores + rng.normal(0, noise, count))
    assert (np.diff(value.knots) > 0).all()
    assert (np.diff(value(np.linspace(-6, 6, 300))) >= 0).all()


@settings(deadline=None, max_examples=40)
@given(arrays(np.float64, 20, elements=st.floats(-1e6, 1e6)))
def test_values_stay_within_the_labels(labels: FloatArray) -> None:
    value = ValueMap.fit(np.arange(20.0), labels)
    answers = value(np.asarray([-1e9, 0.0, 9.5, 1e9]))
    slack = 1e-6 * (1 + np.abs(labels).max())
    assert labels.min() - slack <= answers.min() <= answers.max() <= labels.max() + slack


def test_different_scores_inside_a_step_get_different_values() -> None:
    scores = np.arange(20.0)
    value = ValueMap.fit(scores, np.repeat([1.0, 2.0, 3.0, 4.0], 5))
    assert len(np.unique(value(np.linspace(4, 15, 12)))) == 12


def test_labels_that_fall_with_the_score_give_one_value() -> None:
    value = ValueMap.fit(np.arange(20.0), -np.arange(20.0))
    np.testing.assert_allclose(value(np.asarray([-5.0, 3.0, 30.0])), -9.5)


def test_intervals_hold_nine_times_in_ten() -> None:
    """Errors that grow with a known difficulty, one standard deviation each; true factor: 1.645."""
    rng = np.random.default_rng(0)
    coverage = []
    for _ in range(40):
        difficulty = rng.uniform(0.2, 3, 300)
        factor = conformal_factor(rng.normal(0, difficulty), difficulty)
        new = rng.uniform(0.2, 3, 2000)
        coverage.append((np.abs(rng.normal(0, new)) <= factor * new).mean())
    assert np.mean(coverage) == pytest.approx(0.9, abs=0.015)


def test_the_factor_is_a_quantile_of_relative_errors() -> None:
    assert conformal_factor(np.arange(1.0, 100.0), np.ones(99)) == pytest.approx(90, abs=1)
    assert conformal_factor(np.arange(1.0, 100.0), np.full(99, 2.0)) == pytest.approx(45, abs=0.5)


@pytest.mark.filterwarnings("ignore:the no. of calibration")
def test_too_few_residuals_promise_nothing() -> None:
    assert conformal_factor(np.ones(5), np.ones(5)) == np.inf
    assert np.isfinite(conformal_factor(np.ones(10), np.ones(10)))


def test_the_slope_of_values() -> None:
    value = ValueMap(np.asarray([0.0, 1.0, 2.0, 3.0]), np.asarray([0.0, 10.0, 10.0, 20.0]))
    np.testing.assert_allclose(value.slope(np.asarray([0.5, 2.5])), [10, 10])
    assert value.slope(np.asarray([1.5]))[0] == pytest.approx(0.05 * 20 / 3)


def test_one_spread_holds_68_percent_of_errors() -> None:
    rng = np.random.default_rng(0)
    own, difficulty = rng.uniform(0.5, 2, 4000), rng.uniform(0.5, 2, 4000)
    deviation = np.sqrt(own * difficulty)
    residuals = rng.normal(0, 3 * deviation)
    scale = ErrorScale.fit(np.ones(4000), own, difficulty, residuals)
    assert scale.factor == pytest.approx(3, rel=0.05)
    np.testing.assert_allclose(scale(np.ones(4000), own, difficulty), scale.factor * deviation)


def test_without_a_spread_of_the_scores_the_difficulty_counts_alone() -> None:
    scale = ErrorScale.fit(np.ones(50), np.zeros(50), np.full(50, 2.0), np.linspace(-1, 1, 50))
    assert scale.share == 0
    assert scale(np.ones(2), np.zeros(2), np.asarray([1.0, 4.0]))[1] == pytest.approx(4 * scale.factor)


def test_agreement_has_a_deviation_that_shrinks_with_labels() -> None:
    rng = np.random.default_rng(0)
    few, many = (Agreement.of(x, x + rng.normal(0, 0.5, len(x))) for x in (rng.normal(size=50), rng.normal(size=800)))
    assert few.deviation > 2 * many.deviation > 0
    assert str(many).endswith("(800 labels)")
    assert Agreement.of(np.arange(20.0), np.arange(20.0)).tau == pytest.approx(1)


def test_a_map_of_a_few_labels_is_judged_by_labels_it_has_not_seen_too() -> None:
    rng = np.random.default_rng(0)
    inside, judged, new = [], [], []
    for _ in range(60):
        scores = rng.normal(size=130)
        labels = np.tanh(scores) + rng.normal(0, 0.5, 130)
        known, others = slice(0, 30), slice(30, 130)
        value = ValueMap.fit(scores[known], labels[known])
        seen = value.judged(scores[known], labels[known], np.arange(30) % 10)
        inside.append(np.abs(labels[known] - value(scores[known])).mean())
        judged.append(np.abs(labels[known] - seen).mean())
        new.append(np.abs(labels[others] - value(scores[others])).mean())
    between = (30 * np.mean(inside) + 25 * np.mean(new)) / 55
    assert np.mean(inside) < 0.93 * np.mean(new)
    assert np.mean(judged) == pytest.approx(between, rel=0.03)
