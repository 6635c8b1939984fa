"""Unseen search spaces: rank each labelled pool with a ranker that has never met its space.

    python -m benchmarks.transfer [--networks 2000] [--seeds 0 1 2]

Writes results/transfer.csv: Spearman and Kendall correlation with the labels on random networks of every pool, for the
ranker fitted to the other spaces, its prior alone, #params, MACs, their rank mean, and the best training-free aggregate
of measured statistics (from results/proxy_correlation.csv, on the small stand-ins). Nothing of the space, labelled or
not, is seen beyond the pool being ranked. Cells of TransNAS-Bench-101 micro resemble those of NAS-Bench-201, which the
column `relatives` says; `--without-relatives` leaves NAS-Bench-201 out for them.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import kendalltau, rankdata, spearmanr
from tqdm import tqdm

from archcast.datasets.benchmark import Benchmark, load_benchmark
from archcast.encoders.features import encode, feature_column
from archcast.encoders.pool import Pool
from archcast.predictor.pretraining import SPACES, TASK, training_rows
from archcast.predictor.ranker import PoolRanker

FOLDER = Path(__file__).parent / "results"
TASKONOMY = ("taskonomy-scene", "taskonomy-object", "taskonomy-jigsaw")
POOLS = (
    *((space, TASK) for space in SPACES),
    ("nasbench201", "cifar100"), ("nasbench201", "imagenet16-120"), ("accel-nasbench", "imagenet1k"),
    *(("transnas101-micro", task) for task in TASKONOMY), *(("transnas101-macro", task) for task in TASKONOMY),
    ("ofa-mobilenetv3", "imagenet1k"), ("ofa-mobilenetv3-compofa", "imagenet1k"),
    ("ofa-mobilenetv3-mcofa", "imagenet1k"), ("nas-bench-bert-trained", "glue"),
    *((f"mini-{kind}", "cluttered-digits") for kind in ("cells", "shapes", "transformers", "mixers")),
)  # fmt: skip
RELATIVES = {"transnas101-micro": "nasbench201"}
AGGREGATES = ("az_nas_rank", "vkdnw_rank", "union_rank", "vote_rank", "mean_rank")

Sources = dict[str, tuple[NDArray[np.float32], NDArray[np.float64]]]


def sources(seed: int) -> Sources:
    """Features and labels of the training networks of each source space."""
    found = {}
    for space in SPACES:
        benchmark = load_benchmark(space, TASK)
        rows = training_rows(benchmark, seed=seed)
        found[space] = (encode(benchmark.graphs(rows)), benchmark.scores[rows])
    return found


def scores_of(
    benchmark: Benchmark, ranker: PoolRanker, rows: NDArray[np.int64]
) -> tuple[dict[str, NDArray[np.float64]], NDArray[np.float64]]:
    features = encode(benchmark.graphs(rows))
    params, macs = (feature_column(features, f"total/log_{name}") for name in ("params", "macs"))
    pool = Pool.of(features)
    return {
        "archcast": ranker.scores(features, pool), "prior": ranker.prior(features, pool),
        "#params": params, "MACs": macs, "rank mean": rankdata(params) + rankdata(macs),
    }, benchmark.scores[rows]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", type=int, default=2000)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--without-relatives", action="store_true")
    options = parser.parse_args()
    records = []
    for seed in options.seeds:
        known = sources(seed)
        for space, task in tqdm(POOLS, f"seed {seed}"):
            relative = RELATIVES.get(space) if options.without_relatives else None
            ranker = PoolRanker.fit({name: pair for name, pair in known.items() if name not in (space, relative)})
            benchmark = load_benchmark(space, task)
            rows = np.sort(np.random.default_rng(1000 + seed).permutation(len(benchmark))[: options.networks])
            scores, labels = scores_of(benchmark, ranker, rows)
            for method, values in scores.items():
                records.append({
                    "pool": space, "task": task, "method": method, "seed": seed, "networks": len(rows),
                    "relatives": RELATIVES.get(space, "") if relative is None else "",
                    "spearman": float(spearmanr(values, labels).statistic),
                    "kendall": float(kendalltau(values, labels).statistic),
                })  # fmt: skip
    table = pd.concat([pd.DataFrame(records), training_free()], ignore_index=True)
    name = "transfer_without_relatives.csv" if options.without_relatives else "transfer.csv"
    table.round(4).to_csv(FOLDER / name, index=False, lineterminator="\n")
    print(table.groupby(["pool", "task", "method"], sort=False).spearman.median().unstack().round(3).to_string())


def training_free() -> pd.DataFrame:
    """The best aggregate of measured statistics of each pool."""
    measured = pd.read_csv(FOLDER / "proxy_correlation.csv")
    measured = measured[measured.proxy.isin(AGGREGATES)]
    best = measured.loc[measured.groupby(["pool", "task"]).spearman.idxmax()]
    best = best[[pair in POOLS for pair in zip(best.pool, best.task, strict=True)]]
    columns = best[["pool", "task", "networks", "spearman", "kendall"]].copy()
    columns["method"] = "measured: " + best.proxy.str.removesuffix("_rank")
    return columns


if __name__ == "__main__":
    main()
