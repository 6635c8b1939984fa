"""Do intervals hold, and does the spread tell where forecasts err?

    python -m benchmarks.uncertainty [--labels 20 50 156] [--seeds 0 1 2]

For every labelled pool: a predictor fitted to so many random networks (*wanted*; half the pool at most), judged on up
to 2,000 others. *coverage* is the share of true values within the 90 % interval, *within* that within one spread of the
value (68 % for normal errors), *rho* Spearman's correlation of spread and absolute error, *rho_difficulty* that of the
width of the interval. Beside the tau there, `Predictor.cross_validated` says what the labels alone promised. Writes
results/uncertainty.csv.
"""

from __future__ import annotations

import argparse
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm import tqdm

from archcast.datasets.benchmark import load_benchmark
from archcast.predictor.metrics import coverage, kendall_tau, spearman
from archcast.predictor.predictor import Predictor

OUTPUT = Path(__file__).parent / "results" / "uncertainty.csv"
POOLS = (
    "nasbench201/cifar10", "nasbench201/cifar100", "nasbench201/imagenet16-120", "nasbench101/cifar10",
    "nas-bench-macro/cifar10", "nats-sss/cifar10", "transnas101-micro/taskonomy-scene",
    "transnas101-micro/taskonomy-object", "transnas101-micro/taskonomy-jigsaw", "transnas101-macro/taskonomy-scene",
    "transnas101-macro/taskonomy-object", "transnas101-macro/taskonomy-jigsaw", "accel-nasbench/imagenet1k",
    "ofa-mobilenetv3/imagenet1k", "ofa-mobilenetv3-compofa/imagenet1k", "ofa-mobilenetv3-mcofa/imagenet1k",
    "nas-bench-bert-trained/glue", "mini-cells/cluttered-digits", "mini-shapes/cluttered-digits",
    "mini-transformers/cluttered-digits", "mini-mixers/cluttered-digits",
)  # fmt: skip
TEST = 2000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--labels", nargs="+", type=int, default=[20, 50, 156])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--pools", nargs="+", default=list(POOLS), choices=list(POOLS), metavar="POOL")
    options = parser.parse_args()
    rows: list[dict[str, object]] = []
    for labels, seed in product(options.labels, options.seeds):
        for pool in tqdm(options.pools, f"{labels} labels, seed {seed}"):
            rows.append(line(pool, labels, seed))
            pd.DataFrame(rows).round(4).to_csv(OUTPUT, index=False)
    table, figures = pd.DataFrame(rows), ["tau", "coverage", "within", "rho"]
    print(table.groupby(["wanted", "pool"], sort=False)[figures].mean().round(3).to_string())
    print(table.groupby("wanted")[figures].mean().round(3).to_string())


def line(pool: str, labels: int, seed: int) -> dict[str, object]:
    """One pool and seed."""
    benchmark = load_benchmark(*pool.split("/"))
    order = np.random.default_rng(seed).permutation(len(benchmark))
    train, test = order[: min(labels, len(order) // 2)], order[min(labels, len(order) // 2) :][:TEST]
    predictor = Predictor().fit(benchmark.graphs(train), benchmark.scores[train], seed=seed, unit=benchmark.unit)
    forecast, truth = predictor.predict(benchmark.graphs(test)), benchmark.scores[test]
    error = np.abs(truth - forecast.values)
    assert predictor.cross_validated is not None
    return {
        "pool": pool, "wanted": labels, "labels": len(train), "networks": len(test), "seed": seed,
        "tau": kendall_tau(truth, forecast.scores), "cross_validated": predictor.cross_validated.tau,
        "deviation": predictor.cross_validated.deviation, "coverage": coverage(truth, forecast.low, forecast.high),
        "width": float(np.median(forecast.high - forecast.low)), "within": float((error <= forecast.spread).mean()),
        "rho": spearman(forecast.spread, error), "rho_difficulty": spearman(forecast.high - forecast.low, error),
    }  # fmt: skip


if __name__ == "__main__":
    main()
