"""Do chosen labels need fewer than random ones?

    python -m benchmarks.active_labels [--pools nasbench201 ...] [--seeds 0 1 2 3 4]

Each seed draws 1,500 candidates of a pool. *active* labels what `Predictor.suggest` names, in batches from 24 labels
on, and fits anew after each; *random* labels the first n of the same candidates. Kendall tau is that over up to 3,000
other networks (all networks where there are fewer), by the Gaussian processes alone. The saving is 1 - n / n', with n'
the labels at which random choice, interpolated in log n, reaches the same tau. Writes results/active_labels.csv.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from tqdm import tqdm

from archcast.datasets.benchmark import load_benchmark
from archcast.graphs.graph import GraphBatch
from archcast.predictor.blend import PROCESSES
from archcast.predictor.metrics import kendall_tau
from archcast.predictor.predictor import Predictor

OUTPUT = Path(__file__).parent / "results" / "active_labels.csv"
POOLS = {
    "nasbench201": "cifar10", "nas-bench-macro": "cifar10", "accel-nasbench": "imagenet1k",
    "transnas101-micro": "taskonomy-object", "transnas101-macro": "taskonomy-scene",
}  # fmt: skip
SIZES = (24, 36, 54, 81, 122)
FURTHER = (182, 273)
"""Random labels only, to find what random choice needs for the tau of the last active batch."""
CANDIDATES, TEST = 1500, 3000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pools", nargs="+", default=list(POOLS), choices=list(POOLS), metavar="POOL")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2, 3, 4])
    options = parser.parse_args()
    table = pd.read_csv(OUTPUT) if OUTPUT.exists() else pd.DataFrame(columns=["pool", "seed"])
    done = set(table[["pool", "seed"]].itertuples(index=False, name=None))
    for seed in tqdm(options.seeds, "seeds"):
        for pool in options.pools:
            if (pool, seed) not in done:
                table = pd.concat([table, pd.DataFrame(run(pool, seed)).round(4)], ignore_index=True)
                table.to_csv(OUTPUT, index=False)
    print(savings(table).to_string(index=False))


def run(pool: str, seed: int) -> list[dict[str, object]]:
    """Tau of both ways of choosing at every size."""
    benchmark = load_benchmark(pool, POOLS[pool])
    order = np.random.default_rng(seed).permutation(len(benchmark))
    candidates = order[:CANDIDATES]
    test = order[CANDIDATES : CANDIDATES + TEST] if len(order) > CANDIDATES + 500 else order
    graphs, scores, predictor = benchmark.graphs(candidates), benchmark.scores[candidates], Predictor()
    asked, truth = benchmark.graphs(test), benchmark.scores[test]
    records: list[dict[str, object]] = []
    for chosen in labelled_in_batches(predictor, graphs, scores, SIZES, seed):
        tau = kendall_tau(truth, predictor(asked))
        records.append({"pool": pool, "seed": seed, "way": "active", "labels": len(chosen), "tau": tau})
    for size in (*SIZES, *FURTHER):
        predictor.fit(graphs[:size], scores[:size], seed=seed, heads=PROCESSES)
        tau = kendall_tau(truth, predictor(asked))
        records.append({"pool": pool, "seed": seed, "way": "random", "labels": size, "tau": tau})
    return records


def labelled_in_batches(
    predictor: Predictor, graphs: GraphBatch, labels: NDArray[np.float64], sizes: Sequence[int], seed: int
) -> Iterator[NDArray[np.int64]]:
    """Positions of the networks the predictor has asked for, so many in all, after it has learnt from each batch."""
    chosen = np.zeros(0, dtype=np.int64)
    for size in sizes:
        left = np.setdiff1d(np.arange(len(labels)), chosen)
        known = graphs.take(chosen) if len(chosen) else None
        picks = predictor.suggest(graphs.take(left), size - len(chosen), labelled=known, seed=seed)
        chosen = np.concatenate([chosen, left[picks]])
        predictor.fit(graphs.take(chosen), labels[chosen], seed=seed, heads=PROCESSES)
        yield chosen


def savings(table: pd.DataFrame) -> pd.DataFrame:
    """A row for each pool and size: mean tau of both ways, and the share of labels that choosing saves."""
    mean = table.groupby(["pool", "way", "labels"], sort=False).tau.mean()
    rows = []
    for pool in dict.fromkeys(table.pool):
        random = mean[pool]["random"]
        levels = np.maximum.accumulate(random.to_numpy())
        for size, tau in mean[pool]["active"].items():
            needed = float(np.exp(np.interp(tau, levels, np.log(random.index.to_numpy(float)))))
            beyond = tau > levels[-1]
            rows.append({
                "pool": pool, "labels": size, "active": round(tau, 3), "random": round(random[size], 3),
                "random needs": f"{'> ' if beyond else ''}{needed:.0f}", "saved": round(1 - size / needed, 2),
            })  # fmt: skip
    return pd.DataFrame(rows)


if __name__ == "__main__":
    main()
