"""A process of its own that joins a study: `python study_process.py STORAGE TRIALS`."""

from __future__ import annotations

import sys

import optuna

from archcast.search.adapters.optuna import Sampler
from tests.search.adapters.own import choices, score, space


def objective(trial: optuna.Trial) -> float:
    choices(trial.suggest_categorical)
    return score(space.spec_of(trial.params))


if __name__ == "__main__":
    study = optuna.load_study(study_name="widths", storage=sys.argv[1], sampler=Sampler(space, predictor=None))
    study.optimize(objective, n_trials=int(sys.argv[2]))
