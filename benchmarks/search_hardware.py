"""Accuracy against latency on NAS-Bench-201: hypervolume after 25, 50 and 100 evaluations.

    python -m benchmarks.search_hardware [--runs 10]

Accuracy: CIFAR-10 validation after 200 epochs. Latency: `nasbench201_latency.parquet` (measured on real devices, from
HELP) in ARCHCAST_DATA. `latency measured`: a strategy learns it with the accuracy, of the networks it evaluates;
`latency known`: it is looked up before, as an estimate would be. Hypervolumes are shares of that of the whole table's
front, above the reference point of the table's median accuracy and highest latency. Isomorphic cells are one network.
`guided` starts from what other spaces than NAS-Bench-201 teach. Writes results/search_hardware.csv, one row per
run, and goes on where it stopped.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from archcast.datasets.home import find_table
from archcast.datasets.labels_parquet import read_parquet
from archcast.search.core import Search
from archcast.search.pareto import hypervolume
from benchmarks.resumable import append_missing
from benchmarks.search_queries import place, taught_without

RESULT = Path(__file__).parent / "results" / "search_hardware.csv"
TABLE = "nasbench201 cifar10 val 200"
LATENCIES = "nasbench201_latency.parquet"
DEVICES = ("1080ti_32", "raspi4", "gold_6226")
METHODS = {
    "guided, latency known": ("guided", True),
    "guided, latency measured": ("guided", False),
    "nsga2": ("nsga2", False),
    "random": ("random", False),
}
BUDGETS = (25, 50, 100)
BATCH = 5
FIELDS = ("device", "method", "seed", *(f"share_{budget}" for budget in BUDGETS), "seconds")


@cache
def latencies(device: str) -> Mapping[str, float]:
    """Spec -> milliseconds."""
    table = read_parquet(find_table("nasbench201", [LATENCIES]), ["cellstr", device])
    return dict(zip(table["cellstr"], table[device].astype(float), strict=True))


@cache
def whole(device: str) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
    """`[n, 2]` accuracy and minus latency of the table, the reference point, and the hypervolume of it all."""
    bench = place(TABLE).benchmark
    assert bench is not None
    values = np.stack([bench.scores, [-latencies(device)[spec] for spec in bench.specs]], axis=1)
    reference = np.asarray([np.median(values[:, 0]), values[:, 1].min()])
    return values, reference, hypervolume(values, reference)


def run(device: str, method: str, seed: int) -> dict[str, Any]:
    space, table = place(TABLE), latencies(device)
    strategy, known = METHODS[method]
    _, reference, total = whole(device)
    started = time.perf_counter()
    search = Search(
        space, strategy=strategy, objectives=("accuracy", "-latency"), seed=seed, budget=max(BUDGETS),
        costs={"latency": table} if known else None,
        predictor=taught_without("nasbench201") if strategy == "guided" else None,
    )  # fmt: skip
    while specs := search.ask(BATCH):
        search.tell(specs, [{"accuracy": space.lookup(spec), "latency": table[spec]} for spec in specs])
    values = search.history.values
    shares = {f"share_{budget}": f"{hypervolume(values[:budget], reference) / total:.4f}" for budget in BUDGETS}
    seconds = f"{time.perf_counter() - started:.1f}"
    return {"device": device, "method": method, "seed": seed, **shares, "seconds": seconds}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--devices", nargs="+", default=list(DEVICES))
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=list(METHODS))
    parser.add_argument("--output", type=Path, default=RESULT)
    options = parser.parse_args()
    append_missing(options.output, FIELDS, product(options.devices, options.methods, range(options.runs)), run)
    summary(options.output)


def summary(path: Path) -> None:
    import pandas as pd

    columns = [*(f"share_{budget}" for budget in BUDGETS), "seconds"]
    table = pd.read_csv(path)
    grouped = table.groupby(["device", "method"], sort=False)[columns]
    print(grouped.mean().round(4).to_string(), grouped.std().round(4).to_string(), sep="\n\n")


if __name__ == "__main__":
    main()
