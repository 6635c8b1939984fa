"""Rank aggregates: their formulas on small tables, missing scores, ties, and the vote against all pairs."""

from __future__ import annotations

import time

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import rankdata, spearmanr

from archcast.errors import ConfigError, DataError, UnknownNameError
from archcast.proxies.aggregate import MEMBERS, Method, aggregate, ranks
from archcast.proxies.proxy import PROXY_NAMES
from archcast.proxies.scoring import ProxyScores

FloatArray = NDArray[np.float64]
METHODS: tuple[Method, ...] = ("az_nas", "vkdnw", "union", "vote", "mean_rank")


def noisy(truth: FloatArray, names: tuple[str, ...], seed: int = 0, noise: float = 1.0) -> dict[str, FloatArray]:
    rng = np.random.default_rng(seed)
    return {name: truth + noise * rng.normal(size=len(truth)) for name in names}


@pytest.mark.parametrize("method", METHODS)
class TestEveryMethod:
    def scores(self, method: Method, count: int = 400) -> tuple[FloatArray, dict[str, FloatArray]]:
        truth = np.random.default_rng(7).normal(size=count)
        return truth, noisy(truth, MEMBERS.get(method, ("a", "b", "c")))

    def test_ranks_better_than_its_members_do_on_average(self, method: Method) -> None:
        truth, scores = self.scores(method)
        alone = np.mean([spearmanr(truth, column).statistic for column in scores.values()])
        assert spearmanr(truth, aggregate(scores, method)).statistic > alone + 0.05

    def test_depends_on_ranks_alone(self, method: Method) -> None:
        _, scores = self.scores(method)
        stretched = {name: np.exp(3 * column) for name, column in scores.items()}
        np.testing.assert_array_equal(aggregate(scores, method), aggregate(stretched, method))

    def test_follows_a_permutation_of_the_networks(self, method: Method) -> None:
        _, scores = self.scores(method)
        order = np.random.default_rng(3).permutation(400)
        moved = aggregate({name: column[order] for name, column in scores.items()}, method)
        np.testing.assert_allclose(moved, aggregate(scores, method)[order])

    def test_equal_networks_are_equal_and_the_dominating_one_is_first(self, method: Method) -> None:
        _, scores = self.scores(method)
        for column in scores.values():
            column[10] = column[20]
            column[30] = column.max() + 1
        made = aggregate(scores, method)
        assert made[10] == made[20]
        assert int(np.argmax(made)) == 30
        assert int((made == made.max()).sum()) == 1

    def test_a_network_without_scores_is_last(self, method: Method) -> None:
        _, scores = self.scores(method)
        for column in scores.values():
            column[5] = np.nan
        made = aggregate(scores, method)
        assert int(np.argmin(made)) == 5
        assert np.isfinite(made).all()

    def test_one_network(self, method: Method) -> None:
        assert aggregate({name: np.ones(1) for name in MEMBERS.get(method, ("a",))}, method).shape == (1,)


def test_az_nas_is_the_sum_of_logarithms_of_ranks() -> None:
    scores = {"a": np.array([0.1, 0.2, 0.3, 0.4]), "b": np.array([4.0, 3.0, 2.0, 2.0])}
    expected = np.log([1 / 4 * 4 / 4, 2 / 4 * 3 / 4, 3 / 4 * 1.5 / 4, 4 / 4 * 1.5 / 4])
    np.testing.assert_allclose(aggregate(scores, "az_nas", ["a", "b"]), expected)


def test_mean_rank() -> None:
    scores = {"a": np.array([1.0, 2.0, 3.0]), "b": np.array([3.0, 1.0, 2.0])}
    np.testing.assert_allclose(aggregate(scores, "mean_rank"), [4 / 6, 3 / 6, 5 / 6])


def test_ranks_share_the_mean_and_missing_ones_are_lowest() -> None:
    values = np.array([2.0, np.nan, 5.0, 2.0, np.nan, -7.0])
    assert ranks(values).tolist() == [4.5, 1.5, 6.0, 4.5, 1.5, 3.0]
    draws = np.random.default_rng(0).integers(9, size=300).astype(float)
    np.testing.assert_array_equal(ranks(draws), rankdata(draws))


@pytest.mark.parametrize("count", [2, 3, 8, 61, 300])
@pytest.mark.parametrize("levels", [None, 4])
def test_the_vote_counts_all_pairs(count: int, levels: int | None) -> None:
    rng = np.random.default_rng(count)
    columns = [rng.normal(size=count) if levels is None else rng.integers(levels, size=count) for _ in range(3)]
    table = np.stack([ranks(np.asarray(column, dtype=np.float64)) for column in columns], axis=1)
    # A tie of one voter is broken by the mean rank; what is still tied counts half on average within its group.
    mean = table.mean(axis=1, keepdims=True)
    key = table + 1e-6 * mean
    above = ((key[:, None] > key[None]) + 0.5 * (key[:, None] == key[None])).sum(axis=2)
    expected = ((above > 1.5) + 0.5 * (above == 1.5)).sum(axis=1) - 0.5
    made = aggregate(dict(zip("abc", columns, strict=True)), "vote", ["a", "b", "c"]) * (count - 1)
    if levels is None:
        np.testing.assert_allclose(made, expected)
    else:  # voters with equal mean ranks but different ballots are ordered one way or the other
        assert spearmanr(made, expected).statistic > 0.99
    assert made.sum() == pytest.approx(count * (count - 1) / 2)


def test_the_vote_ignores_one_voter_that_lies() -> None:
    truth = np.arange(50.0)
    made = aggregate({"synflow": truth, "jacob_cov": truth**3, "snip": -truth}, "vote")
    np.testing.assert_allclose(made, truth / 49)


def test_takes_what_score_gives() -> None:
    values = np.random.default_rng(0).normal(size=(6, 3))
    table = ProxyScores(tuple("uvwxyz"), ("synflow", "jacob_cov", "snip"), values)
    columns = dict(zip(table.names, values.T, strict=True))
    np.testing.assert_array_equal(aggregate(table, "vote"), aggregate(columns, "vote"))


def test_the_members_are_proxies() -> None:
    assert {name for names in MEMBERS.values() for name in names} <= set(PROXY_NAMES)


def test_many_networks_take_seconds() -> None:
    scores = noisy(np.zeros(20_000), ("synflow", "jacob_cov", "snip"))
    started = time.perf_counter()
    aggregate(scores, "vote")
    assert time.perf_counter() - started < 5


def test_refusals_name_the_next_step() -> None:
    good = {"a": np.arange(4.0), "b": np.arange(4.0)}
    with pytest.raises(UnknownNameError, match="az_nas, vkdnw, union, vote, mean_rank"):
        aggregate(good, "borda")  # type: ignore[arg-type]
    with pytest.raises(UnknownNameError, match="no scores of az_expressivity"):
        aggregate(good, "az_nas")
    with pytest.raises(ConfigError, match="three"):
        aggregate(good, "vote", ["a", "b"])
    with pytest.raises(ConfigError, match="nothing to aggregate"):
        aggregate(good, "az_nas", [])
    with pytest.raises(DataError, match="shapes"):
        aggregate({"a": np.arange(4.0), "b": np.arange(5.0)}, "mean_rank")
    with pytest.raises(DataError, match="no networks"):
        aggregate({"a": np.zeros(0)}, "mean_rank")
