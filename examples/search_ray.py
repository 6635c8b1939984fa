"""The search of one's own space on many machines: trainings are tasks of a Ray cluster.

    python examples/search_ray.py [--address 10.0.0.1:6379] [--budget 8] [--journal out/search_ray.db]

Without an address Ray starts on this machine alone. The other machines need archcast and what `search_space.py`
imports, not the file itself: its functions are sent to them.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import archcast
from archcast.cli_output import note, print_table
from archcast.ray_executor import RayExecutor
from archcast.search.config import load_file
from archcast.search.progress import Progress


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--address", default="local", help="host:port of the head, auto, or local")
    parser.add_argument("--budget", type=int, default=8, help="trainings")
    parser.add_argument("--predictor", default="none", help="pretrained predictor, or none")
    parser.add_argument("--journal", default=None, help="keeps every proposal and result; goes on where it ended")
    options = parser.parse_args()
    space, evaluate = load_file(Path(__file__).with_name("search_space.py"))
    with RayExecutor(options.address, cpus=1) as executor, Progress(sys.stderr) as progress:
        note(f"{executor.slots} trainings at a time")
        result = archcast.run_search(
            space, evaluate, budget=options.budget, batch=executor.slots, executor=executor, limits={"macs": 1e6},
            pool=60, predictor=None if options.predictor == "none" else options.predictor,
            journal=options.journal, resume=options.journal is not None,
            on_start=progress.start, on_result=progress.step,
        )  # fmt: skip
    rows = [[trial.spec, f"{trial.scores[0]:.2f}", f"{trial.seconds:.1f}"] for trial in result.ranked[:5]]
    print_table("Best networks", ["arch", "accuracy %", "seconds"], rows)


if __name__ == "__main__":
    main()
