"""Protocols, with forecasters whose figures are known beforehand."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from archcast.datasets.benchmark import Benchmark
from archcast.datasets.labels import Measurement
from archcast.datasets.spaces import get_space
from archcast.errors import ConfigError
from archcast.graphs.graph import GraphBatch
from archcast.predictor.evaluation import METHOD, SAMPLE, SUBSETS, few_shot, score_few_shot, summarise, zero_shot
from archcast.predictor.metrics import kendall_tau


def truth_of(graphs: GraphBatch) -> Any:
    """What MACs and parameters, which agree on these cells, tell only in part."""
    return 10 * np.log(graphs.macs) - 3 * np.diff(graphs.ptr)


def toy_benchmark(count: int = 120) -> Benchmark:
    """NAS-Bench-201 cells whose score is `truth_of` their graphs, so that the right answer is known."""
    space = get_space("nasbench201")
    rng = np.random.default_rng(0)
    specs = tuple(dict.fromkeys(space.sample(rng) for _ in range(count)))
    return Benchmark("nasbench201", "cifar10", Measurement("val", 200), specs, truth_of(space.stamp(specs, 10)))


class Oracle:
    """Knows the truth; its intervals are right for the lower half only. Remembers what it was fitted on."""

    def __init__(self) -> None:
        self.labels = 0

    def fit(self, networks: Any, scores: Any, *, task: str | None = None, seed: int = 0) -> Oracle:
        assert task == "cifar10"
        assert seed >= 0
        assert len(networks) == len(scores)
        self.labels = len(scores)
        return self

    def predict(self, networks: GraphBatch, *, task: str | None = None) -> Any:
        assert task in (None, "cifar10")
        scores = truth_of(networks)
        high = np.where(scores <= np.median(scores), scores + 1, scores - 1)
        return SimpleNamespace(scores=scores, low=scores - 2, high=high)


def test_few_shot_scores_every_size_seed_subset_and_method() -> None:
    bench = toy_benchmark()
    results = few_shot(bench, [10, 20], [0, 1], Oracle, resamples=5, progress=False)
    assert len(results) == 2 * 2 * 3 * 4
    ours = [result for result in results if result.method == METHOD]
    assert [result.tau for result in ours] == pytest.approx([1.0] * len(ours))
    assert {result.regret for result in ours} == {0.0}
    assert {(result.labels, result.seed) for result in ours} == {(10, 0), (10, 1), (20, 0), (20, 1)}
    whole = [result for result in ours if result.subset == SUBSETS[0]]
    assert all(result.networks == len(bench) for result in whole)
    assert whole[0].coverage == pytest.approx(0.5, abs=0.05)
    assert all(result.to_record()["tau_low"] <= 1.0001 for result in ours)


def test_subsets_leave_out_training_networks_and_their_isomorphs() -> None:
    bench = toy_benchmark(400)
    results = few_shot(bench, [50], [0], Oracle, resamples=0, progress=False)
    networks = {result.subset: result.networks for result in results}
    train = bench.splits([50], seeds=[0])[0].train
    alike = int(np.isin(bench.groups, bench.groups[train]).sum())
    assert networks == {SUBSETS[0]: len(bench), SUBSETS[1]: len(bench) - 50, SUBSETS[2]: len(bench) - alike}
    assert alike > 50, "the toy benchmark holds isomorphs"
    counted = {result.subset: result.isomorphs for result in results}
    assert counted == {SUBSETS[0]: alike - 50, SUBSETS[1]: alike - 50, SUBSETS[2]: 0}


def test_baseline_figures_are_those_of_the_graphs() -> None:
    bench = toy_benchmark()
    graphs = bench.graphs(range(len(bench)))
    train = np.arange(10)
    results = score_few_shot(bench, train, graphs, Oracle().predict(graphs))
    figures = {(result.method, result.subset): result.tau for result in results}
    assert figures["MACs", SUBSETS[0]] == pytest.approx(kendall_tau(bench.scores, graphs.macs))
    assert figures["#params", SUBSETS[1]] == pytest.approx(kendall_tau(bench.scores[10:], graphs.params[10:]))


def test_zero_shot_never_trains_on_the_space_it_ranks() -> None:
    trained: list[tuple[str, ...]] = []

    def train(spaces: Sequence[str]) -> Oracle:
        trained.append(tuple(spaces))
        return Oracle()

    bench = toy_benchmark()
    results = zero_shot(
        [bench], train, ["nasbench201", "nats-sss"], seeds=(0, 1), sample=40, resamples=0, progress=False
    )
    assert trained == [("nats-sss",)]
    assert {result.networks for result in results} == {40}
    assert {result.seed for result in results} == {0, 1}
    assert {result.subset for result in results} == {SAMPLE}
    whole = zero_shot([bench], train, ["nasbench201", "nats-sss"], (0, 1), sample=10**6, resamples=0, progress=False)
    assert {(result.networks, result.seed) for result in whole} == {(len(bench), 0)}
    with pytest.raises(ConfigError, match="no space is left"):
        zero_shot([bench], train, ["nasbench201"], progress=False)


def test_summary_averages_seeds_and_gives_intervals() -> None:
    results = few_shot(toy_benchmark(), [10], [0, 1, 2], Oracle, resamples=30, progress=False)
    summary = summarise(results)
    assert len(summary) == 3 * 4
    row = next(row for row in summary if row["method"] == "#params" and row["subset"] == SUBSETS[0])
    taus = [result.tau for result in results if result.method == "#params" and result.subset == SUBSETS[0]]
    assert row["tau"] == pytest.approx(np.mean(taus))
    assert row["tau_low"] < row["tau"] < row["tau_high"]
    assert row["seeds"] == 3
    assert np.isnan(row["coverage"])
    assert "coverage_low" not in row


def test_without_resamples_the_interval_is_over_seeds() -> None:
    rows = summarise(few_shot(toy_benchmark(), [10], [0, 1], Oracle, resamples=0, progress=False))
    assert all(row["tau_low"] <= row["tau"] <= row["tau_high"] for row in rows)


def test_one_run_without_resamples_has_no_interval() -> None:
    rows = summarise(few_shot(toy_benchmark(), [10], [0], Oracle, resamples=0, progress=False))
    assert all("tau_low" not in row for row in rows)
