"""Metrics against hand-made cases and SciPy."""

from __future__ import annotations

import time

import numpy as np
import pytest
from scipy.stats import rankdata, spearmanr

from archcast.datasets.spaces import get_space
from archcast.errors import ConfigError, DataError
from archcast.predictor.metrics import (
    BASELINES,
    baseline_scores,
    bootstrap_draws,
    coverage,
    interval,
    kendall_tau,
    n_at_k,
    ranks,
    spearman,
    top_k_regret,
)


def test_tau_and_rho_of_a_known_order() -> None:
    assert kendall_tau([1, 2, 3, 4], [10, 20, 30, 40]) == 1
    assert kendall_tau([1, 2, 3, 4], [4, 3, 2, 1]) == -1
    assert kendall_tau([1, 2, 3, 4], [1, 2, 4, 3]) == pytest.approx(4 / 6)
    assert spearman([1, 2, 3], [1, 8, 27]) == pytest.approx(1)


def test_tau_counts_ties_as_tau_b() -> None:
    # 3 pairs: one tied on the right; tau-b = 2 / sqrt(3 * 2)
    assert kendall_tau([1, 2, 3], [1, 1, 2]) == pytest.approx(2 / np.sqrt(6))


@pytest.mark.parametrize("metric", [kendall_tau, spearman])
def test_a_constant_forecast_ranks_nothing(metric) -> None:  # type: ignore[no-untyped-def]
    assert metric([1.0, 2.0, 3.0], [5.0, 5.0, 5.0]) == 0
    assert metric([1.0], [5.0]) == 0


def test_ranks_and_rho_agree_with_scipy_on_ties() -> None:
    rng = np.random.default_rng(0)
    left, right = rng.integers(0, 9, 200), rng.integers(0, 9, 200)
    assert ranks(left) == pytest.approx(rankdata(left))
    assert spearman(left, right) == pytest.approx(spearmanr(left, right).statistic)


def test_regret_and_n_at_k() -> None:
    truth = [90.0, 95.0, 80.0, 94.0]
    forecast = [4.0, 1.0, 3.0, 2.0]
    assert top_k_regret(truth, forecast, k=2) == 5  # picks 90 and 80
    assert n_at_k(truth, forecast, k=2) == 3
    assert top_k_regret(truth, forecast, k=3) == 1
    assert top_k_regret(truth, forecast, k=99) == 0
    with pytest.raises(ConfigError, match="k must be"):
        top_k_regret(truth, forecast, k=0)


def test_coverage_counts_both_ends_and_knows_when_nothing_was_promised() -> None:
    assert coverage([1, 2, 3, 4], [1, 3, 0, 0], [1, 4, 3, 3]) == 0.5
    nothing = np.full(4, np.nan)
    assert np.isnan(coverage([1, 2, 3, 4], nothing, nothing))


@pytest.mark.parametrize(("truth", "forecast"), [([1, 2], [1]), ([], []), ([[1]], [[1]]), ([1, np.nan], [1, 2])])
def test_unusable_input_is_refused(truth: list[float], forecast: list[float]) -> None:
    with pytest.raises(DataError):
        kendall_tau(truth, forecast)


def test_bootstrap_interval_has_the_width_of_repeated_sampling() -> None:
    rng = np.random.default_rng(1)

    def sample(size: int) -> tuple[np.ndarray, np.ndarray]:
        truth = rng.normal(size=size)
        return truth, truth + rng.normal(size=size)

    repeated = [sample(4000) for _ in range(100)]
    draws = bootstrap_draws(*sample(4000), resamples=300)
    for name, metric in (("tau", kendall_tau), ("rho", spearman)):
        values = [metric(*pair) for pair in repeated]
        assert draws[name].std() == pytest.approx(np.std(values), rel=0.3)
        low, high = interval(draws[name])
        assert low < np.mean(values) < high


def test_bootstrap_of_a_perfect_forecast_has_no_spread() -> None:
    truth = np.random.default_rng(0).normal(size=500)
    draws = bootstrap_draws(truth, np.exp(truth))
    assert draws["tau"] == pytest.approx(np.ones(1000))
    assert draws["rho"] == pytest.approx(np.ones(1000), abs=1e-3)
    assert bootstrap_draws(truth, truth * 0)["tau"] == pytest.approx(np.zeros(1000))


def test_bootstrap_of_fifteen_thousand_networks_is_fast() -> None:
    rng = np.random.default_rng(0)
    truth = rng.normal(size=15_000)
    started = time.process_time()
    draws = bootstrap_draws(truth, truth + rng.normal(size=15_000), truth > 0, resamples=1000)
    assert time.process_time() - started < 10
    assert set(draws) == {"tau", "rho", "coverage"}
    assert draws["coverage"].mean() == pytest.approx((truth > 0).mean(), abs=0.005)


def test_bootstrap_is_reproducible_and_refuses_no_resamples() -> None:
    truth, forecast = [1.0, 2.0, 3.0, 4.0], [1.0, 3.0, 2.0, 4.0]
    first, second = (bootstrap_draws(truth, forecast, resamples=20)["tau"] for _ in range(2))
    assert (first == second).all()
    with pytest.raises(ConfigError):
        bootstrap_draws(truth, forecast, resamples=0)


def test_baselines_count_parameters_and_macs() -> None:
    space = get_space("nasbench201")
    specs = ["|" + "|+|".join("|".join(f"{op}~{i}" for i in range(n)) for n in (1, 2, 3)) + "|"
             for op in ("skip_connect", "nor_conv_3x3", "nor_conv_1x1")]  # fmt: skip
    scores = baseline_scores(space.stamp(specs, 10))
    assert tuple(scores) == BASELINES
    assert list(np.argsort(scores["#params"])) == [0, 2, 1]
    assert list(scores["rank mean"]) == [1, 3, 2]
