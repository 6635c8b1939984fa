"""A few labels of an unseen space: alone, with the ranker of other spaces, and with zero-cost proxies.

    python -m benchmarks.adaptation [--labels 20 50] [--seeds 0 1 2] [--pools nasbench201 ...]

The networks are those of measurements/POOL.parquet that were measured most thoroughly (up to 2,000): `labels` of them
are drawn, the others are ranked. *pretrained* adds what other spaces know: the score of the ranker as an input, and the
kernel prior of all other families; *measured* adds the proxies; *zero-shot* is the ranker on features without labels.
Writes results/adaptation.csv.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import kendalltau, spearmanr
from tqdm import tqdm

from archcast.datasets.benchmark import load_benchmark
from archcast.predictor.predictor import Predictor
from archcast.predictor.pretraining import TASK, Sources, family_of, labelled_sources
from archcast.predictor.ranker import PoolRanker
from benchmarks.few_shot import prior_without
from benchmarks.measured_networks import thoroughly_measured

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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--labels", nargs="+", type=int, default=[20, 50])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--pools", nargs="+", default=list(POOLS), choices=list(POOLS), metavar="POOL")
    options = parser.parse_args()
    sources = labelled_sources()
    records: list[dict[str, object]] = []
    for name in tqdm(options.pools, "pools"):
        records += pool_lines(name, sources, options.labels, options.seeds)
        pd.DataFrame(records).round(4).to_csv(OUTPUT, index=False, lineterminator="\n")
    table = pd.DataFrame(records)
    print(table.pivot_table(index=["pool", "labels"], columns="start", values="spearman", aggfunc="median").round(3))


def pool_lines(name: str, sources: Sources, sizes: list[int], seeds: list[int]) -> list[dict[str, object]]:
    space, task = POOLS[name]
    benchmark = load_benchmark(space, task)
    ranker = PoolRanker.fit({other: pair for other, pair in sources.items() if other != space})
    rows, columns = thoroughly_measured(name, benchmark.specs)
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
                if "pretrained" in start:
                    predictor.ranker, predictor.kernel_prior = ranker, prior_without(family_of(space))
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
