"""The sampler in real studies of Optuna."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState

from archcast.errors import ConfigError, DataError, UnknownNameError
from archcast.search.adapters.optuna import Sampler
from archcast.search.run import run_search
from tests.search.adapters.own import NETWORKS, choices, score, space

optuna.logging.set_verbosity(optuna.logging.ERROR)


def objective(trial: optuna.Trial) -> float:
    choices(trial.suggest_categorical)
    return score(space.spec_of(trial.params))


def sampler(**settings: Any) -> Sampler:
    return Sampler(space, **{"predictor": None, **settings})


def specs(study: optuna.Study) -> list[str]:
    return [space.spec_of(trial.params) for trial in study.trials]


def test_proposals_are_those_of_a_search() -> None:
    study = optuna.create_study(direction="maximize", sampler=sampler(seed=3))
    study.optimize(objective, n_trials=20)
    result = run_search(space, score, predictor=None, budget=20, seed=3, batch=1)
    assert specs(study) == [trial.spec for trial in result.history]
    assert study.best_value == result.best.scores[0] == 0


def test_what_fails_is_known_and_never_fatal() -> None:
    def sometimes(trial: optuna.Trial) -> float:
        if trial.number == 1:
            raise RuntimeError("before anything was suggested")
        choices(trial.suggest_categorical)
        if trial.number == 2:
            raise RuntimeError("out of memory")
        if trial.number == 3:
            raise optuna.TrialPruned
        return score(space.spec_of(trial.params)) if trial.number != 4 else float("nan")

    ours = sampler()
    study = optuna.create_study(direction="maximize", sampler=ours)
    study.optimize(sometimes, n_trials=16, catch=(RuntimeError,))
    history = ours.search(study).history
    made = [space.spec_of(trial.params) for trial in study.trials if trial.params]
    assert len(set(made)) == 15
    assert {trial.spec for trial in history.failed} >= set(made[1:4])
    assert [trial.scores[0] for trial in history.done] == [
        t.value for t in study.get_trials(states=[TrialState.COMPLETE])
    ]
    assert not history.pending


def test_directions_count() -> None:
    most = optuna.create_study(direction="maximize", sampler=sampler())
    most.optimize(objective, n_trials=16)
    least = optuna.create_study(direction="minimize", sampler=sampler())
    least.optimize(lambda trial: -objective(trial), n_trials=16)
    assert specs(most) == specs(least)
    assert most.best_value == least.best_value == 0


def test_two_trials_at_a_time() -> None:
    ours = sampler()
    study = optuna.create_study(direction="maximize", sampler=ours)
    study.optimize(objective, n_trials=20, n_jobs=2)
    assert len(set(specs(study))) == 20 == len(ours.search(study).history.done)


def test_a_study_goes_on_where_it_stopped(tmp_path: Path) -> None:
    whole = optuna.create_study(direction="maximize", sampler=sampler())
    whole.optimize(objective, n_trials=18)
    storage = f"sqlite:///{tmp_path}/study.db"
    optuna.create_study(direction="maximize", sampler=sampler(), storage=storage, study_name="widths").optimize(
        objective, n_trials=11
    )
    again = optuna.load_study(study_name="widths", storage=storage, sampler=sampler())
    again.optimize(objective, n_trials=7)
    assert specs(again) == specs(whole)


def test_what_another_process_evaluates_is_not_proposed(tmp_path: Path) -> None:
    storage = f"sqlite:///{tmp_path}/study.db"
    first = optuna.create_study(direction="maximize", sampler=sampler(), storage=storage, study_name="widths")
    second = optuna.load_study(study_name="widths", storage=storage, sampler=sampler())
    under_way = first.ask()
    choices(under_way.suggest_categorical)
    second.optimize(objective, n_trials=5)
    first.tell(under_way, 1.0)
    first.optimize(objective, n_trials=5)
    assert len(set(specs(first))) == 11


def test_two_processes_that_ask_at_once_share_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = f"sqlite:///{tmp_path}/study.db"
    first = optuna.create_study(direction="maximize", sampler=sampler(), storage=storage, study_name="widths")
    second = optuna.load_study(study_name="widths", storage=storage, sampler=(late := sampler()))
    search = late.search(second)
    ask = search.ask

    def overtaken(count: int = 1) -> list[str]:
        proposed = ask(count)
        if len(first.trials) == 1:
            choices(first.ask().suggest_categorical)
        return proposed

    monkeypatch.setattr(search, "ask", overtaken)
    choices(second.ask().suggest_categorical)
    assert len(set(specs(first))) == 2


def test_processes_share_a_study(tmp_path: Path) -> None:
    storage = f"sqlite:///{tmp_path}/study.db"
    study = optuna.create_study(direction="maximize", storage=storage, study_name="widths")
    command = [sys.executable, "-m", "tests.search.adapters.study_process", storage, "8"]
    processes = [subprocess.Popen(command, cwd=Path(__file__).parents[3]) for _ in range(2)]
    assert [process.wait(120) for process in processes] == [0, 0]
    assert len(set(specs(study))) == 16 == len(study.trials)


def test_other_parameters_are_left_to_another_sampler() -> None:
    def with_rate(trial: optuna.Trial) -> float:
        rate = trial.suggest_float("rate", 1e-3, 1.0, log=True)
        return float(objective(trial) - abs(rate - 0.1) - trial.suggest_int("warmup", 0, 3))

    tpe = optuna.samplers.TPESampler(seed=0, n_startup_trials=5, multivariate=True)
    study = optuna.create_study(direction="maximize", sampler=sampler(others=tpe))
    study.optimize(with_rate, n_trials=15)
    assert len(set(specs(study))) == 15
    assert len({trial.params["rate"] for trial in study.trials}) == 15


def test_several_objectives() -> None:
    def two(trial: optuna.Trial) -> tuple[float, float]:
        value = objective(trial)
        return value, float(sum(width for name, width in trial.params.items() if name != "depth"))

    ours = sampler(objectives=("score", "width"))
    study = optuna.create_study(directions=["maximize", "minimize"], sampler=ours)
    study.optimize(two, n_trials=24)
    search = ours.search(study)
    assert str(search.objectives) == "score, -width"
    assert [trial.scores for trial in search.history.done] == [tuple(trial.values) for trial in study.trials]
    with pytest.raises(ConfigError, match="1 objectives for a study with 2 directions"):
        sampler(objectives=("score",)).search(study)


def test_enqueued_networks_are_learnt() -> None:
    ours = sampler()
    study = optuna.create_study(direction="maximize", sampler=ours)
    study.enqueue_trial({"depth": 1, "width0": 40})
    study.enqueue_trial({"width0": 8})
    study.optimize(objective, n_trials=8)
    assert specs(study)[0] == '{"depth":1,"width0":40}'
    assert study.trials[1].params["width0"] == 8
    history = ours.search(study).history
    assert len(set(specs(study))) == 8 == len(history.done)


def test_the_study_stops_where_the_space_ends() -> None:
    study = optuna.create_study(direction="maximize", sampler=sampler(strategy="random"))
    study.optimize(objective, n_trials=NETWORKS + 5)
    complete = study.get_trials(states=[TrialState.COMPLETE])
    assert len({space.spec_of(trial.params) for trial in complete}) == NETWORKS == len(study.trials) - 1
    with pytest.raises(DataError, match="every architecture of widths was proposed"):
        choices(study.ask().suggest_categorical)


def test_brackets_of_a_pruner_hide_nothing() -> None:
    pruner = optuna.pruners.HyperbandPruner(min_resource=1, max_resource=9)
    study = optuna.create_study(direction="maximize", sampler=sampler(), pruner=pruner)
    study.optimize(objective, n_trials=18)
    assert len(set(specs(study))) == 18


def test_limits_hold() -> None:
    study = optuna.create_study(direction="maximize", sampler=sampler(limits={"depth": 1}, costs={"depth": _depth}))
    study.optimize(objective, n_trials=5)
    assert {trial.params["depth"] for trial in study.trials} == {1}


def _depth(specs: list[str]) -> list[float]:
    return [len(space.config(spec)) for spec in specs]


def test_a_sampler_can_be_pickled() -> None:
    study = optuna.create_study(direction="maximize", sampler=sampler())
    study.optimize(objective, n_trials=3)
    again = pickle.loads(pickle.dumps(study.sampler))
    assert len(again.search(study).history) == 3


def test_wrong_settings_are_refused() -> None:
    with pytest.raises(ConfigError, match="no setting sead; they have: strategy, predictor, seed"):
        sampler(sead=1)
    study = optuna.create_study(sampler=sampler(strategy="gided"))
    with pytest.raises(UnknownNameError, match="no search strategy 'gided'"):
        study.optimize(objective, n_trials=1)


def test_a_study_of_another_space_is_refused() -> None:
    study = optuna.create_study(sampler=sampler())
    trial = study.ask()
    study._storage.set_trial_system_attr(trial._trial_id, "archcast:spec", '{"cell":1}')
    with pytest.raises(DataError, match="does not belong to widths"):
        study.optimize(objective, n_trials=1)
