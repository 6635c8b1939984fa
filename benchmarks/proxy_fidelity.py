"""What the small stand-ins of NAS-Bench-201 lose: ranks measured on them against ranks measured on the full networks.

    python -m benchmarks.proxy_fidelity

Reads measurements/nasbench201.parquet and nasbench201-full.parquet, writes results/proxy_fidelity.csv: Spearman
between the two measurements of each proxy, and of both with CIFAR-10 accuracy, on the networks that both tables hold.
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr

from archcast.datasets.benchmark import load_benchmark
from archcast.proxies.tables import load_measurements

RESULT = Path(__file__).parent / "results" / "proxy_fidelity.csv"


def main() -> None:
    small, full = load_measurements("nasbench201"), load_measurements("nasbench201-full")
    row_of = {spec: row for row, spec in enumerate(small.specs)}
    specs = [spec for spec in full.specs if spec in row_of]
    small_rows = [row_of[spec] for spec in specs]
    full_rows = [row for row, spec in enumerate(full.specs) if spec in row_of]
    benchmark = load_benchmark("nasbench201", "cifar10")
    label_of = dict(zip(benchmark.specs, benchmark.scores, strict=True))
    labels = np.asarray([label_of[spec] for spec in specs])
    with RESULT.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["proxy", "networks", "small_full", "small_accuracy", "full_accuracy"])
        for name in full.names:
            left, right = small.column(name)[small_rows], full.column(name)[full_rows]
            both = np.isfinite(left) & np.isfinite(right)
            pairs = ((left, right), (left, labels), (right, labels))
            values = [f"{spearmanr(a[both], b[both]).statistic:.3f}" for a, b in pairs]
            writer.writerow([name, int(both.sum()), *values])
            print(f"{name:20} {int(both.sum()):5}", *values)


if __name__ == "__main__":
    main()
