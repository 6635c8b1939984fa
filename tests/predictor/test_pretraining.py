"""Pretraining on whole spaces: both parts are there, rows are chosen by seed, and bad choices are refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.stats import kendalltau

from archcast.datasets.benchmark import load_benchmark
from archcast.errors import ConfigError, UnknownNameError
from archcast.predictor import pretraining
from archcast.predictor.predictor import Predictor
from archcast.predictor.pretraining import SPACES, pretrain, training_rows

from .conftest import Sample, few_trees


@pytest.fixture(scope="module")
def steps() -> list[str]:
    return []


@pytest.fixture(scope="module")
def small(steps: list[str]) -> Predictor:
    with few_trees():
        return pretrain(["nasbench201"], per_space=60, on_step=steps.append)


def test_both_parts_are_learnt_and_announced(small: Predictor, steps: list[str]) -> None:
    assert small.fitted is not None
    assert small.ranker is not None
    assert small.ranker.names == ("nasbench201",)
    assert (small.task, small.unit) == ("cifar10", "%")
    assert steps[0] == "graphs of nasbench201"
    assert steps[-1] == "all labels"


def test_ranks_networks_it_was_not_given(small: Predictor, unseen: Sample) -> None:
    assert kendalltau(small(unseen.graphs), unseen.scores).statistic > 0.5
    ranker_only = Predictor()
    ranker_only.ranker = small.ranker
    assert kendalltau(ranker_only(unseen.graphs), unseen.scores).statistic > 0.5


def test_survives_a_bundle(small: Predictor, unseen: Sample, tmp_path: Path) -> None:
    loaded = Predictor.from_pretrained(small.save_pretrained(tmp_path / "small"))
    np.testing.assert_allclose(loaded(unseen.graphs), small(unseen.graphs), atol=1e-9)


def test_adapts_to_labels(small: Predictor, labelled: Sample, unseen: Sample) -> None:
    adapted = Predictor()
    adapted.ranker = small.ranker
    with few_trees():
        adapted.fit(labelled.graphs[:20], labelled.scores[:20])
    assert adapted.fitted is not None
    assert adapted.fitted.prior_pool is not None
    assert kendalltau(adapted(unseen.graphs), unseen.scores).statistic > 0.5


def test_only_the_training_rows_are_read(monkeypatch: pytest.MonkeyPatch, unseen: Sample) -> None:
    """Other labels on all other rows: the predictor is the same."""
    benchmark = load_benchmark("nasbench201")
    rows = training_rows(benchmark, 20)
    assert len(np.unique(rows)) == 20
    np.testing.assert_array_equal(rows, training_rows(benchmark, 20))
    assert set(rows) != set(training_rows(benchmark, 20, seed=1))
    with few_trees(3):
        before = pretrain(["nasbench201"], per_space=20)(unseen.graphs)
        changed = load_benchmark("nasbench201")
        scores = np.full(len(benchmark), 50.0)
        scores[rows] = benchmark.scores[rows]
        object.__setattr__(changed, "scores", scores)
        monkeypatch.setattr(pretraining, "load_benchmark", lambda *_, **__: changed)
        np.testing.assert_array_equal(pretrain(["nasbench201"], per_space=20)(unseen.graphs), before)


@pytest.mark.parametrize(
    "spaces", [[], ["darts"], ["nasbench201", "zoo"], ["nasbench201", "nasbench201"], "nasbench201"]
)
def test_spaces_are_checked(spaces: list[str]) -> None:
    with pytest.raises(ConfigError, match=f"cannot pretrain on .*{SPACES[0]}.*each once"):
        pretrain(spaces)


@pytest.mark.parametrize("per_space", [0, -5, 9])
def test_too_few_networks_are_refused(per_space: int) -> None:
    with pytest.raises(ConfigError, match="take at least 10 networks of each"):
        pretrain(["nasbench201"], per_space=per_space)


def test_the_pretrained_names_are_listed() -> None:
    with pytest.raises(UnknownNameError, match=r"give one of \["):
        Predictor.from_pretrained("biggest")


@pytest.mark.shared
@pytest.mark.slow
def test_two_spaces_rank_a_third() -> None:
    with few_trees():
        predictor = pretrain(["nasbench101", "nas-bench-macro"], per_space=200)
    predictor.fitted = None
    benchmark = load_benchmark("nasbench201")
    rows = np.random.default_rng(0).choice(len(benchmark), 500, replace=False)
    assert kendalltau(predictor(benchmark.graphs(rows)), benchmark.scores[rows]).statistic > 0.5
