"""A few labels of an unseen space: alone, with the ranker of other spaces, and with zero-cost proxies.

    python -m benchmarks.adaptation [--labels 20 50] [--seeds 0 1 2] [--pools nasbench201 ...]

The networks are those of measurements/POOL.parquet that were measured most thoroughly (up to 2,000): `labels` of them
are drawn, the others are ranked. *pretrained* adds what other spaces know: the score of the ranker as an input and as
the zero-shot order of what is asked, and the kernel prior of all other families; *measured* adds the proxies; *chosen*
labels what `Predictor.suggest` names, in batches as of benchmarks/active_labels.py, instead of random networks;
*zero-shot* is the ranker on features without labels. Finished runs are kept; `--again` starts anew. Writes
results/adaptation.csv.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import kendalltau, spearmanr
from tqdm import tqdm

from archcast.datasets.benchmark import load_benchmark
from archcast.graphs.graph import GraphBatch
from archcast.predictor.predictor import Predictor
from archcast.predictor.pretraining import TASK, Sources, family_of, labelled_sources
from archcast.predictor.ranker import PoolRanker
from benchmarks.active_labels import SIZES, labelled_in_batches
from benchmarks.few_shot import prior_without
from benchmarks.measured_networks import thoroughly_measured
from benchmarks.resumable import append_missing

FloatArray = NDArray[np.float64]

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

STARTS = ("labels", "pretrained", "measured", "pretrained, measured", "pretrained, chosen",
          "pretrained, measured, chosen")  # fmt: skip
FIELDS = ("pool", "labels", "seed", "start", "task", "networks", "spearman", "kendall")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--labels", nargs="+", type=int, default=[20, 50])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--pools", nargs="+", default=list(POOLS), choices=list(POOLS), metavar="POOL")
    parser.add_argument("--again", action="store_true", help="forget what was finished")
    options = parser.parse_args()
    if options.again:
        OUTPUT.unlink(missing_ok=True)
    wanted = list(product(options.pools, options.labels, options.seeds, ("zero-shot", *STARTS)))
    append_missing(OUTPUT, FIELDS, tqdm(wanted, "runs"), run)
    table = pd.read_csv(OUTPUT)
    print(table.pivot_table(index=["pool", "labels"], columns="start", values="spearman", aggfunc="median").round(3))


@dataclass(frozen=True, eq=False)
class Measured:
    """The measured networks of a pool, and the ranker that has not seen its family."""

    graphs: GraphBatch
    labels: FloatArray
    columns: dict[str, FloatArray]
    ranker: PoolRanker

    def part(self, rows: NDArray[np.int64], wanted: bool) -> dict[str, FloatArray] | None:
        """What was measured of some of them, if that is wanted."""
        return {proxy: values[rows] for proxy, values in self.columns.items()} if wanted else None


@cache
def sources() -> Sources:
    return labelled_sources()


@lru_cache(1)
def measured_pool(name: str) -> Measured:
    space, task = POOLS[name]
    benchmark = load_benchmark(space, task)
    rows, columns = thoroughly_measured(name, benchmark.specs)
    ranker = PoolRanker.fit({other: pair for other, pair in sources().items() if other != space})
    return Measured(benchmark.graphs(rows), benchmark.scores[rows], columns, ranker)


def run(name: str, size: int, seed: int, start: str) -> dict[str, object]:
    """One line: how networks without labels are ranked."""
    pool, proxies = measured_pool(name), "measured" in start
    predictor = Predictor()
    if start == "zero-shot" or "pretrained" in start:
        predictor.ranker = pool.ranker
    if "pretrained" in start:
        predictor.kernel_prior = prior_without(family_of(POOLS[name][0]))
    train = np.random.default_rng(seed).permutation(len(pool.labels))[:size]
    if "chosen" in start:
        sizes = (*(batch for batch in SIZES if batch < size), size)
        *_, train = labelled_in_batches(predictor, pool.graphs, pool.labels, sizes, seed)
    test = np.setdiff1d(np.arange(len(pool.labels)), train)
    if start != "zero-shot":
        predictor.fit(pool.graphs.take(train), pool.labels[train], seed=seed, measured=pool.part(train, proxies))
    scores, labels = predictor(pool.graphs.take(test), measured=pool.part(test, proxies)), pool.labels[test]
    agreement = {"spearman": spearmanr(scores, labels).statistic, "kendall": kendalltau(scores, labels).statistic}
    return {
        "pool": name, "labels": size, "seed": seed, "start": start, "task": POOLS[name][1], "networks": len(test),
        **{key: round(float(value), 4) for key, value in agreement.items()},
    }  # fmt: skip


if __name__ == "__main__":
    main()
