"""Our search inside Syne Tune: architectures by our searcher, the number of epochs at random.

python examples/syne_tune_search.py [--budget 4] [--predictor base]

Syne Tune writes into ~/syne-tune, or into the folder of the variable SYNETUNE_FOLDER.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from syne_tune import StoppingCriterion, Tuner
from syne_tune.backend import PythonBackend
from syne_tune.config_space import randint
from syne_tune.optimizer.schedulers.single_objective_scheduler import SingleObjectiveScheduler

from archcast.cli_output import print_table
from archcast.search.adapters.syne_tune import Searcher
from archcast.search.config import load_file

SPACE = Path(__file__).absolute().with_name("search_space.py")


def train(arch: str, epochs: int, space: str) -> None:
    """Runs in a process of its own, which knows nothing of this file."""
    from pathlib import Path

    from syne_tune import Reporter

    from archcast.search.config import load_file

    report, (_, evaluate) = Reporter(), load_file(Path(space))
    report(accuracy=evaluate(arch, epochs=epochs))  # type: ignore[call-arg]  # this one takes epochs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--budget", type=int, default=4, help="trials")
    parser.add_argument("--predictor", default="base", help="pretrained predictor, or none")
    options = parser.parse_args()
    predictor = None if options.predictor == "none" else options.predictor
    space, _ = load_file(SPACE)
    others = {"epochs": randint(1, 2), "space": str(SPACE)}
    searcher = Searcher(space, others, predictor=predictor, limits={"macs": 1e6}, pool=60)
    Tuner(
        trial_backend=PythonBackend(tune_function=train, config_space=searcher.config_space),
        scheduler=SingleObjectiveScheduler(
            searcher.config_space, metric="accuracy", do_minimize=False, searcher=searcher
        ),
        stop_criterion=StoppingCriterion(max_num_trials_started=options.budget),
        n_workers=2, sleep_time=0.2, tuner_name="archcast",
    ).run()  # fmt: skip
    best = sorted(searcher.search.history.done, key=lambda trial: trial.scores[0])[:5]  # Syne Tune minimises
    print_table("Best networks", ["arch", "accuracy %"], [[trial.spec, f"{-trial.scores[0]:.2f}"] for trial in best])


if __name__ == "__main__":
    main()
