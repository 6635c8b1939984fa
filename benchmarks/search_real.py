"""A real search: CNN/attention hybrids trained on the digits of scikit-learn, guided against random at equal budget.

    python -m benchmarks.search_real [--trainings 60] [--seeds 3]

The space and the training are those of examples/search_space.py, at most 500,000 MACs a network. Both searches spend
the same number of trainings; the best network of each is trained anew with five other seeds, because the best of many
single trainings flatters. `guided` runs with the pretrained predictor, which has not seen these digits, and without.
Writes results/search_real.csv, one row per search, and a page about the first guided search to out/search_real.html. It
goes on where it stopped: every search has a journal in out/.
"""

from __future__ import annotations

import argparse
import csv
import time
from pathlib import Path
from typing import Any

import numpy as np

from archcast.search.config import load_file
from archcast.search.report import write_report
from archcast.search.result import SearchResult
from archcast.search.run import run_search

ROOT = Path(__file__).parent.parent
RESULT = Path(__file__).parent / "results" / "search_real.csv"
METHODS: dict[str, tuple[str, str | None]] = {
    "random": ("random", None),
    "guided without pretraining": ("guided", None),
    "guided": ("guided", "base"),
}
FRESH_SEEDS = range(1, 6)


def search(method: str, seed: int, trainings: int) -> tuple[dict[str, Any], SearchResult]:
    space, evaluate = load_file(ROOT / "examples" / "search_space.py")
    strategy, predictor = METHODS[method]
    journal = ROOT / "out" / f"search_real {method} {seed}.db"
    started = time.perf_counter()
    result = run_search(
        space, evaluate, strategy=strategy, predictor=predictor, budget=trainings, seed=seed, pool=200,
        limits={"macs": 500_000}, journal=journal, resume=True,
    )  # fmt: skip
    best = result.best
    again = [float(evaluate(best.spec, seed=fresh)) for fresh in FRESH_SEEDS]  # type: ignore[call-arg]
    curve = result.curve
    row = {
        "method": method, "seed": seed, "trainings": trainings, "failed": len(result.history.failed),
        **{f"best_{n}": f"{curve[min(n, len(curve)) - 1]:.3f}" for n in (20, 40, 60)},
        "mean_of_all": f"{result.history.values.mean():.3f}", "again": f"{np.mean(again):.3f}",
        "arch": best.spec, "seconds": f"{time.perf_counter() - started:.0f}",
    }  # fmt: skip
    return row, result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trainings", type=int, default=60)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=list(METHODS))
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    if RESULT.exists():
        with RESULT.open(newline="") as file:
            rows = list(csv.DictReader(file))
    for seed in range(options.seeds):
        for method in options.methods:
            if any(row["method"] == method and int(row["seed"]) == seed for row in rows):
                continue
            row, result = search(method, seed, options.trainings)
            rows.append(row)
            print(row, flush=True)
            if method.startswith("guided") and seed == 0:
                write_report(result, ROOT / "out" / "search_real.html")
            with RESULT.open("w", newline="") as file:
                writer = csv.DictWriter(file, list(rows[0]))
                writer.writeheader()
                writer.writerows(rows)


if __name__ == "__main__":
    main()
