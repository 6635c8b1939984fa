"""Our search inside Optuna: architectures by our sampler, the number of epochs by TPE, hopeless networks pruned.

python examples/optuna_search.py [--budget 12] [--jobs 1] [--predictor base]
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import optuna

from archcast.cli_output import print_table
from archcast.search.adapters.optuna import Sampler
from archcast.search.adapters.optuna_pruner import Pruner
from archcast.search.config import load_file
from archcast.search.spaces import ChoiceSpace


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--budget", type=int, default=12, help="trials")
    parser.add_argument("--jobs", type=int, default=1, help="trials at the same time")
    parser.add_argument("--predictor", default="base", help="pretrained predictor, or none")
    options = parser.parse_args()
    predictor = None if options.predictor == "none" else options.predictor
    space, evaluate = load_file(Path(__file__).with_name("search_space.py"))
    assert isinstance(space, ChoiceSpace)
    train: Any = evaluate

    def objective(trial: optuna.Trial) -> float:
        space.chosen_by(trial.suggest_categorical)
        epochs = trial.suggest_int("epochs", 1, 2)
        if trial.should_prune():
            raise optuna.TrialPruned
        return float(train(space.spec_of(trial.params), epochs=epochs))

    others = optuna.samplers.TPESampler(seed=0)
    study = optuna.create_study(
        direction="maximize",
        sampler=Sampler(space, others=others, predictor=predictor, limits={"macs": 1e6}, pool=60),
        pruner=Pruner(space, predictor=predictor, n_startup=10),
    )
    study.optimize(objective, n_trials=options.budget, n_jobs=options.jobs)
    trials = sorted(study.get_trials(states=[optuna.trial.TrialState.COMPLETE]), key=lambda trial: -trial.value)
    rows = [[space.spec_of(t.params), str(t.params["epochs"]), f"{t.value:.2f}"] for t in trials[:5]]
    print_table("Best networks", ["arch", "epochs", "accuracy %"], rows)


if __name__ == "__main__":
    main()
