"""`run_search`: the loop, its results, evaluations side by side."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import archcast
from archcast.datasets.benchmark import Benchmark, load_benchmark
from archcast.datasets.spaces import get_space
from archcast.errors import ConfigError, NotFittedError
from archcast.predictor.predictor import Predictor
from archcast.predictor.ranker import PoolRanker
from archcast.search.core import Search
from archcast.search.history import Trial
from archcast.search.isolation import EvaluationError, Isolated
from archcast.search.run import run_search
from tests.search.deadly import DEADLY, die, die_or_score, hang
from tests.search.toy import CountingSpace, score


def test_the_result_tells_what_happened() -> None:
    def evaluate(spec: str) -> float:
        if spec.endswith("0"):
            raise RuntimeError("crashed")
        return score(spec)

    seen: list[Trial] = []
    result = run_search(
        CountingSpace(), evaluate, budget=40, strategy="random", predictor=None,
        on_result=lambda _, trial: seen.append(trial),
    )  # fmt: skip
    frame = result.to_frame()
    assert list(frame.number) == list(range(40)) == [trial.number for trial in seen]
    assert set(frame.state) == {"done", "failed"}
    assert (frame.reason[frame.state == "failed"] == "RuntimeError: crashed").all()
    assert result.best.scores[0] == frame.score.max() == result.curve[-1]
    assert (np.diff(result.curve[np.isfinite(result.curve)]) >= 0).all()
    assert result.front == [trial for trial in result.history.done if trial.scores == result.best.scores]
    assert (frame.seconds >= 0).all()


def test_everything_failing_is_said() -> None:
    def evaluate(_: str) -> float:
        raise RuntimeError("no disk")

    result = run_search(CountingSpace(), evaluate, budget=3, strategy="random", predictor=None)
    assert len(result.history.failed) == 3
    assert np.isnan(result.curve).all()
    with pytest.raises(NotFittedError, match="no disk"):
        _ = result.best


def test_evaluations_run_side_by_side() -> None:
    def evaluate(spec: str) -> float:
        if spec.startswith("1"):
            raise ValueError("odd")
        return score(spec)

    with ThreadPoolExecutor(3) as executor:
        result = run_search(
            CountingSpace(), evaluate, budget=30, batch=3, strategy="evolution", predictor=None, executor=executor
        )
    assert len(result.history.done) + len(result.history.failed) == 30
    assert not result.history.pending


def test_a_crash_of_a_process_is_a_failure() -> None:
    with ThreadPoolExecutor(2) as executor:
        result = run_search(
            CountingSpace(), Isolated(die_or_score), budget=4, batch=2, strategy="random", predictor=None,
            executor=executor,
        )  # fmt: skip
    reasons = {trial.reason for trial in result.history.failed}
    assert reasons == {"EvaluationError: its process died with exit code 7"}
    assert len(result.history.done) == sum(not trial.spec.startswith(DEADLY) for trial in result.history) > 0


def test_an_evaluation_that_hangs_or_raises_in_its_process_is_a_failure() -> None:
    with pytest.raises(EvaluationError, match=r"after 0\.01 s"):
        Isolated(hang, timeout=0.01)("4.4.4.4")
    with pytest.raises(EvaluationError, match="ValueError"):
        Isolated(die_or_score)("nonsense")
    with pytest.raises(ConfigError, match="timeout"):
        Isolated(die_or_score, timeout=0)


def test_a_broken_executor_is_said() -> None:
    with ProcessPoolExecutor(1) as executor, pytest.raises(ConfigError, match="Isolated"):
        run_search(CountingSpace(), die, budget=2, batch=1, strategy="random", predictor=None, executor=executor)


def some(name: str, size: int) -> Benchmark:
    """Random networks of a benchmark."""
    bench = load_benchmark(name)
    rows = np.random.default_rng(0).permutation(len(bench))[:size]
    return replace(bench, specs=tuple(bench.specs[row] for row in rows), scores=bench.scores[rows], seeds=None)


def test_ours_finds_the_best_of_a_table() -> None:
    """Without any predictor: one of the best three of 600, which random search meets in one run of five."""
    bench = some("nasbench201", 600)
    result = run_search(bench, budget=40, predictor=None)
    assert result.best.scores[0] >= np.sort(bench.scores)[-3]
    last = result.history.done[-1]
    assert last.origin == "model"
    assert bench.scores.min() <= last.forecast <= bench.scores.max()


def test_what_other_spaces_taught_starts_well() -> None:
    teacher = get_space("nats-sss").stamp([":".join(["8"] * i + ["64"] * (5 - i)) for i in range(6)] * 4)
    predictor = Predictor()
    predictor.ranker = PoolRanker.fit({"nats-sss": (archcast.encode(teacher), np.log(teacher.macs))})
    bench = some("nasbench201", 400)
    first = run_search(bench, budget=10, predictor=predictor)
    assert first.history.values.min() > np.median(bench.scores)
    assert {trial.origin for trial in first.history} == {"zero-shot"}


def test_it_resumes(tmp_path: Path) -> None:
    pytest.importorskip("sqlalchemy")
    journal = tmp_path / "run.db"
    run_search(CountingSpace(), score, budget=10, strategy="random", predictor=None, journal=journal)
    again = run_search(
        CountingSpace(), score, budget=25, strategy="random", predictor=None, journal=journal, resume=True
    )
    straight = run_search(CountingSpace(), score, budget=25, strategy="random", predictor=None)
    assert [trial.spec for trial in again.history] == [trial.spec for trial in straight.history]


def test_settings_are_checked() -> None:
    with pytest.raises(ConfigError, match="batch"):
        run_search(CountingSpace(), score, batch=0)
    with pytest.raises(ConfigError, match="evaluate"):
        run_search(CountingSpace())


def test_public_names() -> None:
    assert archcast.run_search is run_search
    assert archcast.Search is Search
