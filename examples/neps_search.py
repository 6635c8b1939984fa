"""Our search inside NePS: architectures by our optimizer, the number of epochs at random.

.venv-neps/bin/python examples/neps_search.py [--budget 6] [--predictor base] [--folder out/neps]

NePS needs an environment of its own; `make test-neps` makes .venv-neps. A folder that exists is gone on with.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import neps

from archcast.cli_output import print_table
from archcast.search.adapters.neps import Optimizer
from archcast.search.config import load_file


class Training(neps.PipelineSpace):  # type: ignore[misc]  # NePS is not followed by mypy
    """What is searched beside the architecture."""

    epochs = neps.Integer(1, 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--budget", type=int, default=6, help="further trainings")
    parser.add_argument("--predictor", default="base", help="pretrained predictor, or none")
    parser.add_argument("--folder", default="out/neps", help="the run")
    options = parser.parse_args()
    predictor = None if options.predictor == "none" else options.predictor
    space, evaluate = load_file(Path(__file__).with_name("search_space.py"))
    train: Any = evaluate
    done: list[tuple[float, str]] = []

    def error(arch: str, epochs: int) -> float:
        done.append((100 - float(train(arch, epochs=epochs)), arch))
        return done[-1][0]

    optimizer = Optimizer(space, predictor=predictor, limits={"macs": 1e6}, pool=60)
    neps.run(
        error, Training(), root_directory=options.folder, worker_evaluations_to_spend=options.budget,
        optimizer=optimizer,
    )  # fmt: skip
    rows = [[arch, f"{100 - wrong:.2f}"] for wrong, arch in sorted(done)[:5]]
    print_table("Best networks", ["arch", "accuracy %"], rows)


if __name__ == "__main__":
    main()
