"""Acquisition functions against simulation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from archcast.errors import ConfigError, DataError
from archcast.predictor.acquisition import (
    expected_improvement,
    probability_of_best,
    probability_of_improvement,
    thompson_samples,
    upper_confidence_bound,
)

FloatArray = NDArray[np.float64]

MEAN = np.asarray([90.0, 92.0, 93.5, 94.0])
SPREAD = np.asarray([3.0, 1.0, 0.0, 0.4])


@pytest.fixture(scope="module")
def draws() -> FloatArray:
    return np.random.default_rng(0).normal(MEAN, SPREAD, size=(400_000, 4))


@pytest.mark.parametrize("margin", [0.0, 0.5])
def test_improvement_is_what_simulation_says(draws: FloatArray, margin: float) -> None:
    gain = draws - 93.0 - margin
    np.testing.assert_allclose(
        expected_improvement(MEAN, SPREAD, 93.0, margin=margin), np.maximum(gain, 0).mean(axis=0), atol=0.005
    )
    np.testing.assert_allclose(
        probability_of_improvement(MEAN, SPREAD, 93.0, margin=margin), (gain > 0).mean(axis=0), atol=0.005
    )


def test_without_spread_the_forecast_is_the_truth() -> None:
    np.testing.assert_array_equal(expected_improvement([1.0, 3.0], [0.0, 0.0], 2.0), [0, 1])
    np.testing.assert_array_equal(probability_of_improvement([1.0, 3.0], [0.0, 0.0], 2.0), [0, 1])
    np.testing.assert_allclose(probability_of_best([1.0, 3.0, 3.0], [0.0, 0.0, 0.0]), [0, 0.5, 0.5], atol=1e-6)


def test_the_best_of_the_pool_is_what_simulation_says(draws: FloatArray) -> None:
    winners = np.bincount(draws.argmax(axis=1), minlength=4) / len(draws)
    np.testing.assert_allclose(probability_of_best(MEAN, SPREAD), winners, atol=0.005)


def test_the_best_of_thousands() -> None:
    rng = np.random.default_rng(1)
    mean, spread = rng.normal(90, 3, 5000), rng.uniform(0.1, 2, 5000)
    chances = probability_of_best(mean, spread)
    winners = np.bincount(rng.normal(mean, spread, size=(4000, 5000)).argmax(axis=1), minlength=5000) / 4000
    assert chances.sum() == pytest.approx(1)
    likely = np.argsort(-chances)[:20]
    np.testing.assert_allclose(chances[likely], winners[likely], atol=0.03)


@settings(deadline=None, max_examples=50)
@given(st.integers(1, 40), st.integers(0, 10_000), st.floats(-3, 3))
def test_chances_sum_to_one_and_rise_with_the_mean(count: int, seed: int, scale: float) -> None:
    rng = np.random.default_rng(seed)
    mean = rng.normal(0, 10**scale, count)
    chances = probability_of_best(mean, np.full(count, 10**scale))
    assert chances.sum() == pytest.approx(1)
    assert (np.diff(chances[np.argsort(mean)]) >= -1e-9).all()


def test_more_spread_promises_more() -> None:
    spread = np.linspace(0.1, 4, 30)
    mean = np.full(30, 90.0)
    assert (np.diff(expected_improvement(mean, spread, 92)) > 0).all()
    assert (np.diff(probability_of_improvement(mean, spread, 92)) > 0).all()
    np.testing.assert_allclose(upper_confidence_bound(mean, spread, weight=3), 90 + 3 * spread)


def test_thompson_draws_have_the_moments_asked_for() -> None:
    drawn = thompson_samples(MEAN, SPREAD, 100_000, seed=3)
    np.testing.assert_allclose(drawn.mean(axis=0), MEAN, atol=0.05)
    np.testing.assert_allclose(drawn.std(axis=0), SPREAD, atol=0.05)
    joint = np.asarray([[1.0, 0.9], [0.9, 1.0]])
    together = thompson_samples([0, 0], [1, 1], 100_000, covariance=joint, seed=3)
    np.testing.assert_allclose(np.cov(together.T), joint, atol=0.02)
    np.testing.assert_array_equal(drawn, thompson_samples(MEAN, SPREAD, 100_000, seed=3))


def test_bad_input_is_refused() -> None:
    with pytest.raises(DataError, match="two equally long lists"):
        expected_improvement([1.0, 2.0], [1.0], 0)
    with pytest.raises(DataError, match="spread not negative"):
        probability_of_best([1.0], [-1.0])
    with pytest.raises(DataError, match="a predictor without labels has none"):
        upper_confidence_bound([np.nan], [1.0])
    with pytest.raises(ConfigError, match="at least one draw"):
        thompson_samples([1.0], [1.0], 0)
    with pytest.raises(DataError, match="one row and column each"):
        thompson_samples([1.0, 2.0], [1.0, 1.0], 2, covariance=[[1.0]])
