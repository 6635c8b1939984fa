"""Where a network stands in its pool: units do not count; what hardly varies counts little."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from archcast.encoders.features import FEATURE_NAMES
from archcast.encoders.pool import Pool, amplitude

Features = NDArray[np.float32]

LOG = FEATURE_NAMES.index("total/log_macs")
PLAIN = FEATURE_NAMES.index("total/mean_kernel")


def pool_of(**columns: NDArray[np.float64]) -> Features:
    """Features that are 1 except for the named columns."""
    count = len(next(iter(columns.values())))
    features = np.ones((count, len(FEATURE_NAMES)), np.float32)
    for name, values in columns.items():
        features[:, {"log": LOG, "plain": PLAIN}[name]] = values
    return features


def test_the_unit_and_the_origin_of_a_feature_do_not_count() -> None:
    values = np.random.default_rng(0).uniform(1, 9, 60)
    first, second = pool_of(log=values), pool_of(log=50 + 3 * values)
    left, right = Pool.of(first).relative(first)[:, LOG], Pool.of(second).relative(second)[:, LOG]
    np.testing.assert_allclose(left, right, atol=1e-4)  # both amplitudes are capped at 1


def test_scores_are_deviations_in_units_of_the_spread_times_the_gate() -> None:
    features = pool_of(log=np.asarray([10.0, 20.0, 20.0, 40.0]))
    relative = Pool.of(features).relative(features)[:, LOG]
    expected = np.asarray([-12.5, -2.5, -2.5, 17.5]) / np.sqrt(118.75) / 1.1  # the amplitude is capped at 1
    np.testing.assert_allclose(relative, expected, atol=1e-6)


def test_constant_columns_are_zero() -> None:
    features = pool_of(log=np.linspace(1, 5, 30))
    relative = Pool.of(features).relative(features)
    assert np.delete(relative, LOG, axis=1).any() == np.False_
    others = features.copy()
    others[:, PLAIN] = 7
    assert not Pool.of(features).relative(others)[:, PLAIN].any()


@pytest.mark.parametrize(("column", "spread", "size"), [("log", 0.05, 1.0), ("plain", 0.5, 10.0)])
def test_the_gate_follows_the_amplitude(column: str, spread: float, size: float) -> None:
    """Logarithms vary by their standard deviation, others by it over their mean: both 0.05 here, a third of full."""
    values = np.random.default_rng(0).normal(size=400)
    values = size + spread * (values - values.mean()) / values.std()
    features = pool_of(**{column: values})
    position = LOG if column == "log" else PLAIN
    assert amplitude(features)[position] == pytest.approx(0.05, rel=1e-3)
    relative = Pool.of(features).relative(features)[:, position]
    assert relative.std() == pytest.approx(1 / 3, rel=1e-3)


def test_order_of_the_pool_does_not_matter() -> None:
    features = pool_of(log=np.random.default_rng(0).normal(size=50), plain=np.arange(50.0))
    shuffled = features[np.random.default_rng(1).permutation(50)]
    np.testing.assert_allclose(Pool.of(features).relative(features), Pool.of(shuffled).relative(features), atol=1e-6)


def test_rounding_noise_makes_no_features() -> None:
    features = pool_of(log=np.linspace(1, 5, 40), plain=3 + 1e-6 * np.arange(40.0))
    relative = Pool.of(features).relative(features)
    assert not relative[:, PLAIN].any()
    np.testing.assert_array_equal(relative, Pool.of(features).relative(features + np.float32(1e-6)))


def test_large_pools_keep_quantiles() -> None:
    values = np.random.default_rng(0).normal(size=3000)
    features = pool_of(log=values)
    pool = Pool.of(features)
    assert pool.rows.shape == (512, len(FEATURE_NAMES))
    whole = (values - values.mean()) / values.std() / 1.1
    np.testing.assert_allclose(pool.relative(features)[:, LOG], whole, atol=0.05)


def test_networks_far_outside_the_pool_are_taken_back() -> None:
    features = pool_of(log=np.linspace(1, 5, 40))
    low, inside, high = Pool.of(features).relative(pool_of(log=np.asarray([-99.0, 3.0, 99.0])))[:, LOG]
    assert high == pytest.approx(-low)
    assert low < inside < high
    assert high == pytest.approx(6 / 1.1)


def test_a_single_different_network_is_never_lost() -> None:
    """One in 3,000: the ends are always among the 512 rows that are kept."""
    values = np.full(3000, 2.0)
    values[1500] = 60.0
    features = pool_of(log=values)
    relative = Pool.of(features).relative(features)[:, LOG]
    assert relative[1500] == pytest.approx(6 / 1.1)
    assert np.ptp(np.delete(relative, 1500)) == 0


def test_a_pool_of_one_says_nothing() -> None:
    features = pool_of(log=np.asarray([4.0]))
    np.testing.assert_array_equal(Pool.of(features).relative(features), 0)
