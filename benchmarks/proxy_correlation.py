"""How well each proxy and aggregate ranks every labelled pool, beside #params and MACs.

    python -m benchmarks.proxy_correlation [--networks 1000]

Reads measurements/POOL.parquet (made by `python -m benchmarks.measurements`) and writes results/proxy_correlation.csv:
Spearman and Kendall correlation with the labels of each task on `networks` random measured networks, the 90 %
bootstrap interval of Spearman, and the published figure where there is one. No label is used by any proxy.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.stats import kendalltau, spearmanr

from archcast.datasets.benchmark import list_tasks, load_benchmark
from archcast.proxies.aggregate import MEMBERS, aggregate
from archcast.proxies.tables import FOLDER, MeasurementTable, load_measurements

RESULT = Path(__file__).parent / "results" / "proxy_correlation.csv"
PUBLISHED = {
    ("nasbench201-full", "params"): (0.747, None, None), ("nasbench201-full", "macs"): (0.799, 0.763, 0.718),
    ("nasbench201-full", "snip"): (0.591, 0.597, 0.521), ("nasbench201-full", "grasp"): (0.505, 0.498, 0.502),
    ("nasbench201-full", "synflow"): (0.758, 0.750, 0.719), ("nasbench201-full", "jacob_cov"): (0.800, 0.820, 0.779),
    ("nasbench201-full", "naswot"): (0.762, 0.799, 0.794), ("nasbench201-full", "gradsign"): (0.765, 0.793, 0.783),
    ("nasbench201-full", "zico"): (0.802, 0.809, 0.779), ("nasbench201-full", "az_nas_rank"): (0.892, 0.880, 0.859),
    ("nasbench201-full", "vkdnw_rank"): (0.919, 0.919, 0.906),
    ("nasbench101", "zico"): (0.63,), ("nasbench101", "grasp"): (0.45,), ("nasbench101", "jacob_cov"): (0.38,),
}  # fmt: skip
"""(pool, proxy) -> Spearman by task, in the order of the benchmark's tasks (REFERENCES of the README)."""

FloatArray = NDArray[np.float64]


def columns_of(table: MeasurementTable, rows: NDArray[np.int64]) -> dict[str, FloatArray]:
    """Name -> scores of every proxy and aggregate on `rows`."""
    proxies = {name: table.column(name)[rows].astype(np.float64) for name in table.names}
    measured = {name: values for name, values in proxies.items() if np.isfinite(values).any()}
    aggregates = {
        f"{method}_rank": aggregate(measured, method=method)
        for method, members in MEMBERS.items()
        if set(members) <= set(measured)
    }
    return {**measured, **aggregates, "mean_rank": aggregate(measured, method="mean_rank")}


def interval(scores: FloatArray, labels: FloatArray, rng: np.random.Generator) -> tuple[float, float]:
    """5 % and 95 % quantiles of Spearman over 200 bootstrap samples."""
    draws = rng.integers(len(labels), size=(200, len(labels)))
    values = [spearmanr(scores[draw], labels[draw]).statistic for draw in draws]
    low, high = np.nanquantile(values, [0.05, 0.95])
    return float(low), float(high)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", type=int, default=1000)
    parser.add_argument("--pools", nargs="+", default=sorted(path.stem for path in FOLDER.glob("*.parquet")))
    options = parser.parse_args()
    lines = []
    for pool in options.pools:
        lines += pool_lines(pool, options.networks)
    with RESULT.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["pool", "task", "proxy", "networks", "spearman", "low", "high", "kendall", "published"])
        writer.writerows(lines)


def pool_lines(pool: str, networks: int) -> list[list[object]]:
    table = load_measurements(pool)
    benchmark_name = str(table.about["benchmark"])
    lines: list[list[object]] = []
    rng = np.random.default_rng(0)
    for number, task in enumerate(list_tasks(benchmark_name)):
        benchmark = load_benchmark(benchmark_name, task)
        label_of = dict(zip(benchmark.specs, benchmark.scores, strict=True))
        known = np.asarray([row for row, spec in enumerate(table.specs) if spec in label_of], dtype=np.int64)
        if len(known) < 20:
            continue
        rows = np.sort(rng.permutation(known)[:networks])
        labels = np.asarray([label_of[table.specs[row]] for row in rows])
        for name, scores in columns_of(table, rows).items():
            both = np.isfinite(scores)
            if both.sum() < 20 or np.ptp(scores[both]) == 0:
                continue
            low, high = interval(scores[both], labels[both], rng)
            published = PUBLISHED.get((pool, name), ())
            lines.append([
                pool, task, name, int(both.sum()), f"{spearmanr(scores[both], labels[both]).statistic:.3f}",
                f"{low:.3f}", f"{high:.3f}", f"{kendalltau(scores[both], labels[both]).statistic:.3f}",
                published[number] if number < len(published) and published[number] is not None else "",
            ])  # fmt: skip
        best = max(
            (line for line in lines if line[0] == pool and line[1] == task), key=lambda line: float(str(line[4]))
        )
        print(f"{pool:24} {task:24} {len(rows):5}  best {best[2]} {best[4]}", flush=True)
    return lines


if __name__ == "__main__":
    main()
