"""The pruner in real studies of Optuna."""

from __future__ import annotations

import pickle
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState

from archcast.errors import ConfigError
from archcast.predictor.predictor import Predictor
from archcast.search.adapters.optuna_pruner import Pruner
from archcast.search.spaces import ChoiceSpace
from tests.search.adapters.own import Widths, choices, space, three, three_choices, three_score

optuna.logging.set_verbosity(optuna.logging.ERROR)


STARTUP, TRIALS = 40, 45


def objective(trial: optuna.Trial) -> float:
    three_choices(trial.suggest_categorical)
    if trial.should_prune():
        raise optuna.TrialPruned
    return three_score(three.spec_of(trial.params))


def studied(sign: int = 1, **settings: Any) -> optuna.Study:
    """Random networks; their intervals are narrow once 40 are complete."""
    pruner = Pruner(three, **{"predictor": None, "n_startup": STARTUP, "quantile": 1.0, **settings})
    study = optuna.create_study(
        direction="maximize" if sign > 0 else "minimize", pruner=pruner, sampler=optuna.samplers.RandomSampler(0)
    )
    study.optimize(lambda trial: sign * objective(trial), n_trials=TRIALS)
    return study


def pruned(study: optuna.Study) -> list[str]:
    return [three.spec_of(trial.params) for trial in study.get_trials(states=[TrialState.PRUNED])]


def test_hopeless_networks_are_pruned() -> None:
    study = studied()
    gone = pruned(study)
    assert gone
    assert all(trial.state == TrialState.COMPLETE for trial in study.trials[:STARTUP])
    assert max(three_score(spec) for spec in gone) < study.best_value
    assert pruned(studied(sign=-1)) == gone
    assert len(pruned(studied(quantile=0.2))) < len(gone)
    assert pruned(studied(n_startup=TRIALS)) == []


def test_a_pretrained_predictor_is_left_as_it_was() -> None:
    base = Predictor.from_pretrained("base")
    before = base.fitted, base.unit
    assert pruned(studied(predictor=base))
    assert (base.fitted, base.unit) == before


def test_another_pruner_has_its_say() -> None:
    pruner = Pruner(space, predictor=None, others=optuna.pruners.ThresholdPruner(lower=0))
    study = optuna.create_study(direction="maximize", pruner=pickle.loads(pickle.dumps(pruner)))

    def reports(trial: optuna.Trial) -> float:
        assert not trial.should_prune()  # nothing is known of a network that is not chosen yet
        choices(trial.suggest_categorical)
        trial.report(-1.0, 0)
        if trial.should_prune():
            raise optuna.TrialPruned
        return 0.0

    study.optimize(reports, n_trials=2)
    assert {trial.state for trial in study.trials} == {TrialState.PRUNED}


def test_values_without_a_forecast_prune_nothing() -> None:
    study = optuna.create_study(direction="maximize", pruner=Pruner(space, predictor=None, n_startup=10))

    def flat(trial: optuna.Trial) -> float:
        choices(trial.suggest_categorical)
        if trial.should_prune():
            raise optuna.TrialPruned
        return 1.0

    study.optimize(flat, n_trials=14)
    assert {trial.state for trial in study.trials} == {TrialState.COMPLETE}


def test_a_network_that_cannot_be_built_is_not_pruned() -> None:
    class Broken(Widths):
        def graphs(self, specs: Any) -> Any:
            return ChoiceSpace.graphs(self, specs)

    def fails(_: list[int]) -> Any:
        raise RuntimeError("there is no such network")

    pruner = Pruner(Broken(three_choices, fails, (1, 3, 32, 32)), predictor=None, n_startup=10)
    study = optuna.create_study(direction="maximize", pruner=pruner)
    study.optimize(objective, n_trials=14)
    assert {trial.state for trial in study.trials} == {TrialState.COMPLETE}


@pytest.mark.parametrize("settings", [{"n_startup": 1}, {"quantile": 0.0}, {"quantile": 1.5}])
def test_wrong_settings_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="must be 10 or more"):
        Pruner(space, **settings)
