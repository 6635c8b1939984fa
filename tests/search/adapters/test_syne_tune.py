"""The searcher in real runs of Syne Tune."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
from syne_tune import StoppingCriterion, Tuner
from syne_tune.backend import PythonBackend
from syne_tune.backend.trial_status import Trial
from syne_tune.config_space import loguniform
from syne_tune.optimizer.schedulers.single_objective_scheduler import SingleObjectiveScheduler

from archcast.errors import ConfigError
from archcast.search.adapters.syne_tune import Searcher
from archcast.search.run import run_search
from tests.search.adapters.own import NETWORKS, score, space


def made(others: dict[str, Any] | None = None, **settings: Any) -> tuple[Searcher, SingleObjectiveScheduler]:
    searcher = Searcher(space, others, **{"predictor": None, **settings})
    return searcher, SingleObjectiveScheduler(
        searcher.config_space, metric="score", do_minimize=False, searcher=searcher
    )


def trial(scheduler: SingleObjectiveScheduler, number: int) -> Trial:
    from datetime import datetime

    return Trial(number, scheduler.suggest().config, datetime.now())


def train(arch: str, rate: float, broken: str) -> None:
    """Runs in a process of its own, where nothing of this file is known."""
    import json

    from syne_tune import Reporter

    if arch == broken:
        raise RuntimeError("out of memory")
    chosen = json.loads(arch)
    Reporter()(score=-abs(chosen["width0"] - 24) / 8 - rate)


def test_proposals_are_those_of_a_search() -> None:
    searcher, scheduler = made()
    whole = run_search(space, score, predictor=None, budget=16, batch=1)
    for number in range(16):
        asked = trial(scheduler, number)
        scheduler.on_trial_result(asked, {"score": -5.0})
        scheduler.on_trial_complete(asked, {"score": score(asked.config["arch"])})
    assert [one.spec for one in searcher.search.history] == [one.spec for one in whole.history]
    assert [one.scores[0] for one in searcher.search.history] == [-one.scores[0] for one in whole.history]


@pytest.mark.slow
def test_a_run_with_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYNETUNE_FOLDER", str(tmp_path))
    monkeypatch.chdir(tmp_path)  # Syne Tune writes std.out where it is
    first = run_search(space, score, predictor=None, budget=1, batch=1).best.spec
    searcher, scheduler = made({"rate": loguniform(1e-4, 1e-1), "broken": first})
    tuner = Tuner(
        trial_backend=PythonBackend(tune_function=train, config_space=searcher.config_space),
        scheduler=scheduler, stop_criterion=StoppingCriterion(max_num_trials_finished=4), n_workers=2, sleep_time=0.1,
        tuner_name="archcast", print_update_interval=1000,
    )  # fmt: skip
    tuner.run()
    history = searcher.search.history
    assert [one.spec for one in history.failed] == [first]
    assert len(history.done) >= 3
    assert len({one.spec for one in history}) == len(history)


def test_failures_are_not_proposed_again() -> None:
    searcher, scheduler = made()
    first, second = trial(scheduler, 0), trial(scheduler, 1)
    scheduler.on_trial_error(first)
    scheduler.on_trial_complete(second, {"score": 1.0})
    assert [one.spec for one in searcher.search.history.failed] == [first.config["arch"]]
    rest = [trial(scheduler, number).config["arch"] for number in range(2, NETWORKS)]
    assert len({first.config["arch"], second.config["arch"], *rest}) == NETWORKS
    assert scheduler.suggest() is None


def test_a_pickled_scheduler_goes_on() -> None:
    searcher, scheduler = made({"rate": loguniform(1e-4, 1e-1)}, seed=4)
    asked = trial(scheduler, 0)
    again = pickle.loads(pickle.dumps(scheduler))
    for each in (scheduler, again):
        each.on_trial_complete(asked, {"score": 1.0})
    assert trial(scheduler, 1).config == trial(again, 1).config
    assert str(list(again.searcher.search.history)) == str(list(searcher.search.history))


def test_arch_is_not_a_parameter_of_ones_own() -> None:
    with pytest.raises(ConfigError, match="must not hold arch"):
        made({"arch": "x"})
