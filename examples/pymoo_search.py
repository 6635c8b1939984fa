"""Forecasts in pymoo: NSGA-II finds the front of forecast and MACs without a training; a few of it are trained.

python examples/pymoo_search.py [--generations 6] [--train 3]
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from pymoo.algorithms.moo.nsga2 import NSGA2
from pymoo.optimize import minimize

from archcast.cli_output import print_table
from archcast.search.adapters.pymoo import ArchitectureProblem, front
from archcast.search.adapters.pymoo_operators import operators
from archcast.search.config import load_file


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--generations", type=int, default=6)
    parser.add_argument("--train", type=int, default=3, help="networks of the front to train")
    options = parser.parse_args()
    space, evaluate = load_file(Path(__file__).with_name("search_space.py"))
    train: Any = evaluate
    problem = ArchitectureProblem(space, objectives=("score", "-macs"), limits={"macs": 1e6}, pool=60)
    result = minimize(problem, NSGA2(pop_size=20, **operators(space)), ("n_gen", options.generations), seed=0)
    best = sorted(zip(front(result), result.F[:, 0], result.F[:, 1], strict=True), key=lambda one: one[1])
    chosen = best[:: max(1, len(best) // max(1, options.train))][: options.train]
    rows = [
        [arch, f"{-forecast:.2f}", f"{macs:,.0f}", f"{train(arch, epochs=2):.2f}"] for arch, forecast, macs in chosen
    ]
    print_table(f"{len(chosen)} of a front of {len(best)}", ["arch", "forecast", "MACs", "accuracy %"], rows)


if __name__ == "__main__":
    main()
