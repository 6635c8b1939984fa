"""What the labels of each benchmark allow: training runs, agreement between runs, isomorphs, leaks of random splits.

    python -m benchmarks.label_noise

Writes benchmarks/results/label_noise.csv, one row per benchmark, task and measurement. `distinct` counts isomorphism
groups, `ceiling` is the mean Kendall tau between two runs of the same networks, `leaked_share` the share of unlabelled
networks that are the same network as a labelled one, in a random split at the largest published size. Benchmarks whose
table is absent are named and left out.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tqdm import tqdm

from archcast.datasets.benchmark import Benchmark, list_benchmarks, list_metrics, list_tasks, load_benchmark
from archcast.datasets.splits import P1_SIZES, count_isomorphs_across, random_split
from archcast.errors import MissingDataError

RESULTS = Path(__file__).parent / "results" / "label_noise.csv"


def leaked_share(bench: Benchmark) -> float:
    split = random_split(len(bench), P1_SIZES[bench.name][-1])
    return count_isomorphs_across(split, bench.groups) / len(split.test)


def describe(bench: Benchmark, leaked: float, groups: int) -> dict[str, Any]:
    runs = np.isfinite(bench.seeds).sum(axis=1) if bench.seeds is not None else np.ones(len(bench))
    return {
        "benchmark": bench.name,
        "task": bench.task,
        "kind": bench.kind,
        "epochs": bench.measurement.epochs,
        "networks": len(bench),
        "distinct": groups,
        "runs": round(float(runs.mean()), 3),
        "lowest": round(float(bench.scores.min()), 3),
        "median": round(float(np.median(bench.scores)), 3),
        "highest": round(float(bench.scores.max()), 3),
        "ceiling": None if (ceiling := bench.noise_ceiling()) is None else round(ceiling, 4),
        "leaked_share": round(leaked, 4),
    }


def main() -> None:
    rows = []
    for name in tqdm(list_benchmarks()):
        try:
            bench = load_benchmark(name)
            leaked, groups = leaked_share(bench), len(np.unique(bench.groups))
            for task in list_tasks(name):
                for measurement in list_metrics(name):
                    bench = load_benchmark(name, task, metric=measurement.kind, epochs=measurement.epochs)
                    rows.append(describe(bench, leaked, groups))
        except MissingDataError as error:
            tqdm.write(f"left out: {error}")
    frame = pd.DataFrame(rows)
    frame.to_csv(RESULTS, index=False)
    print(frame.to_string(index=False))


if __name__ == "__main__":
    main()
