"""A few labels of an unseen space: alone, with the ranker of other spaces, and with zero-cost proxies.

    python -m benchmarks.adaptation [--labels 20 50] [--seeds 0 1 2] [--pools nasbench201 ...]

The networks are those of measurements/POOL.parquet that were measured most thoroughly (up to 2,000): `labels` of them
are drawn, the others are ranked. *pretrained* adds the score of the ranker, fitted to the other spaces, as an input;
*measured* adds the proxies; *zero-shot* is the ranker without labels. Writes results/adaptation.csv.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import kendalltau, spearmanr
from tqdm import tqdm

from archcast.datasets.benchmark import load_benchmark
from archcast.encoders.features import encode
from archcast.predictor.predictor import Predictor
from archcast.predictor.pretraining import PER_SPACE, SPACES, TASK, training_rows
from archcast.predictor.ranker import PoolRanker
from archcast.proxies.tables import load_measurements

OUTPUT = Path(__file__).parent / "results" / "adaptation.csv"
POOLS = {
    "nasbench201": ("nasbench201", TASK), "nasbench201-full": ("nasbench201", TASK),
    "nasbench101": ("nasbench101", TASK), "nas-bench-macro": ("nas-bench-macro", TASK),
    "nats-sss": ("nats-sss", TASK), "accel-nasbench": ("accel-nasbench", "imagenet1k"),
    "transnas101-micro": ("transnas101-micro", "taskonomy-object"),
    "transnas101-macro": ("transnas101-macro", "taskonomy-object"),
    "ofa-mobilenetv3": ("ofa-mobilenetv3", "imagenet1k"), "mini-cells": ("mini-cells", "cluttered-digits"),
}  # fmt: skip
"""Name of the table -> benchmark and task."""

STARTS = ("labels", "pretrained", "measured", "pretrained, measured")


def measured_networks(name: str, specs: tuple[str, ...]) -> tuple[NDArray[np.int64], dict[str, NDArray[np.float64]]]:
    """Rows of the benchmark that were measured most thoroughly, and their scores by proxy."""
    table = load_measurements(name)
    row_of = {spec: row for row, spec in enumerate(specs)}
    scores = np.asarray(table.scores, np.float64)
    count = np.isfinite(scores).sum(axis=1)
    kept = [i for i, spec in enumerate(table.specs) if spec in row_of and count[i] >= 0.9 * count.max()]
    rows = np.asarray([row_of[table.specs[i]] for i in kept], dtype=np.int64)
    return rows, {proxy: scores[kept, number] for number, proxy in enumerate(table.names)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--labels", nargs="+", type=int, default=[20, 50])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--pools", nargs="+", default=list(POOLS), choices=list(POOLS), metavar="POOL")
    options = parser.parse_args()
    sources = {}
    for name in SPACES:
        benchmark = load_benchmark(name, task=TASK)
        rows = training_rows(benchmark, PER_SPACE)
        sources[name] = (encode(benchmark.graphs(rows)), benchmark.scores[rows])
    records: list[dict[str, object]] = []
    for name in tqdm(options.pools, "pools"):
        records += pool_lines(name, sources, options.labels, options.seeds)
        pd.DataFrame(records).round(4).to_csv(OUTPUT, index=False, lineterminator="\n")
    table = pd.DataFrame(records)
    print(table.pivot_table(index=["pool", "labels"], columns="start", values="spearman", aggfunc="median").round(3))


def pool_lines(
    name: str, sources: dict[str, tuple[NDArray[np.float32], NDArray[np.float64]]], sizes: list[int], seeds: list[int]
) -> list[dict[str, object]]:
    space, task = POOLS[name]
    benchmark = load_benchmark(space, task)
    ranker = PoolRanker.fit({other: pair for other, pair in sources.items() if other != space})
    rows, columns = measured_networks(name, benchmark.specs)
    graphs, labels = benchmark.graphs(rows), benchmark.scores[rows]
    records: list[dict[str, object]] = []
    for size in sizes:
        for seed in seeds:
            order = np.random.default_rng(seed).permutation(len(rows))
            train, test = order[:size], order[size:]
            zero_shot = Predictor()
            zero_shot.ranker = ranker
            found = {"zero-shot": zero_shot(graphs.take(test))}
            for start in STARTS:
                predictor = Predictor()
                predictor.ranker = ranker if "pretrained" in start else None
                known, asked = (
                    {proxy: values[part] for proxy, values in columns.items()} if "measured" in start else None
                    for part in (train, test)
                )
                predictor.fit(graphs.take(train), labels[train], seed=seed, measured=known)
                found[start] = predictor(graphs.take(test), measured=asked)
            for start, scores in found.items():
                records.append({
                    "pool": name, "task": task, "labels": size, "seed": seed, "start": start, "networks": len(test),
                    "spearman": float(spearmanr(scores, labels[test]).statistic),
                    "kendall": float(kendalltau(scores, labels[test]).statistic),
                })  # fmt: skip
    return records


if __name__ == "__main__":
    main()
