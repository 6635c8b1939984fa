"""Search one's own space with real trainings, write a page about it, and take the best network.

python examples/search.py [--budget 20] [--predictor base]
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import archcast
from archcast.cli_output import note, print_table
from archcast.search.config import load_file
from archcast.search.progress import Progress
from archcast.search.report import write_report


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--budget", type=int, default=20, help="trainings")
    parser.add_argument("--predictor", default="base", help="pretrained predictor, or none")
    parser.add_argument("--output", default="out/search.html", help="page about the search")
    options = parser.parse_args()
    space, evaluate = load_file(Path(__file__).with_name("search_space.py"))
    with Progress(sys.stderr) as progress:
        result = archcast.run_search(
            space, evaluate, budget=options.budget, limits={"macs": 1e6}, pool=60,
            predictor=None if options.predictor == "none" else options.predictor,
            on_start=progress.start, on_result=progress.step,
        )  # fmt: skip
    rows = [[trial.spec, f"{trial.scores[0]:.2f}", str(trial.number + 1)] for trial in result.ranked[:5]]
    print_table("Best networks", ["arch", "accuracy %", "evaluation"], rows)
    print(space.network(result.best.spec))
    note(f"wrote {write_report(result, options.output)}")


if __name__ == "__main__":
    main()
