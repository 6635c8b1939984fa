"""Our search inside Ray Tune: architectures by our searcher, the number of epochs at random.

python examples/ray_tune_search.py [--budget 4] [--predictor base] [--folder out/ray_tune]
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.tune.search import ConcurrencyLimiter

from archcast.cli_output import print_table
from archcast.search.adapters.ray_tune import Searcher
from archcast.search.config import load_file

SPACE = Path(__file__).absolute().with_name("search_space.py")


def trainable(config: dict[str, Any]) -> None:
    """Runs in a process of its own, which reads the file of the space itself."""
    train: Any = load_file(Path(config["space"]))[1]
    tune.report({"accuracy": train(config["arch"], epochs=config["epochs"])})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--budget", type=int, default=4, help="trials")
    parser.add_argument("--predictor", default="base", help="pretrained predictor, or none")
    parser.add_argument("--folder", default="out/ray_tune", help="where Ray Tune writes")
    options = parser.parse_args()
    predictor = None if options.predictor == "none" else options.predictor
    space, _ = load_file(SPACE)
    searcher = Searcher(space, predictor=predictor, limits={"macs": 1e6}, pool=60)
    ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    results = tune.Tuner(
        trainable,
        param_space={"space": str(SPACE), "epochs": tune.randint(1, 3)},
        tune_config=tune.TuneConfig(
            metric="accuracy", mode="max", num_samples=options.budget, reuse_actors=True,
            search_alg=ConcurrencyLimiter(searcher, max_concurrent=2),
        ),
        run_config=tune.RunConfig(storage_path=str(Path(options.folder).absolute()), verbose=0),
    ).fit()  # fmt: skip
    best = sorted(searcher.search.history.done, key=lambda trial: -trial.scores[0])[:5]
    print_table("Best networks", ["arch", "accuracy %"], [[trial.spec, f"{trial.scores[0]:.2f}"] for trial in best])
    print(f"{len(results)} trials, {results.num_errors} failed")
    ray.shutdown()


if __name__ == "__main__":
    main()
