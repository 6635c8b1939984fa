"""Few-shot, protocol P1: fit on n random labels of a space, rank the whole space.

    python -m benchmarks.few_shot            # everything, resumable: finished runs are kept
    python -m benchmarks.few_shot --spaces nas-bench-macro --seeds 0 1

Writes `results/few_shot.csv` (one row per run and method) and prints medians over seeds beside the reference figures.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import pandas as pd
from tqdm import tqdm

from archcast.datasets.benchmark import load_benchmark
from archcast.predictor.evaluation import few_shot

OUTPUT = Path(__file__).parent / "results" / "few_shot.csv"

REFERENCE = {
    "nasbench201": {78: 0.810, 156: 0.843, 469: 0.887, 781: 0.900, 1563: 0.913},
    "nasbench101": {100: 0.767, 172: 0.801, 424: 0.838, 4236: 0.877},
    "nas-bench-macro": {33: 0.790, 66: 0.836, 328: 0.911, 656: 0.926},
    "nats-sss": {100: 0.829},
}
"""Kendall tau of LightGBM on path features that know the space (see docs/EXPERIMENTS.md for where these come from)."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--spaces", nargs="+", default=list(REFERENCE))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2, 3, 4])
    arguments = parser.parse_args()
    table = pd.read_csv(OUTPUT) if OUTPUT.exists() else pd.DataFrame()
    runs = [(space, size, seed) for space in arguments.spaces for size in REFERENCE[space] for seed in arguments.seeds]
    for space, size, seed in tqdm(runs, "few-shot runs"):
        if not table.empty and ((table.benchmark == space) & (table.labels == size) & (table.seed == seed)).any():
            continue
        results = few_shot(load_benchmark(space), [size], [seed], resamples=0, progress=False)
        fresh = pd.DataFrame([result.to_record() for result in results]).round(4)
        table = pd.concat([table, fresh], ignore_index=True)
        table.to_csv(OUTPUT, index=False)
    summary(table)


def summary(table: pd.DataFrame) -> None:
    """Print median and range of Kendall tau over seeds, with the reference and the baselines."""
    whole = table[table.subset == "whole space"]
    for _, rows in whole.groupby(["benchmark", "labels"]):
        space, size = str(rows.benchmark.iloc[0]), int(rows.labels.iloc[0])
        tau = rows[rows.method == "archcast"].tau
        clean = table[(table.benchmark == space) & (table.labels == size) & (table.method == "archcast")]
        other = clean[clean.subset == "without isomorphs"].tau.median()
        base = ", ".join(f"{m} {g.tau.median():.3f}" for m, g in rows[rows.method != "archcast"].groupby("method"))
        reference = REFERENCE.get(space, {}).get(size, float("nan"))
        print(
            f"{space:16s} {size:5d} labels: tau {tau.median():.3f} [{tau.min():.3f}, {tau.max():.3f}] over {len(tau)} "
            f"seeds; reference {reference:.3f}; without isomorphs {other:.3f}; {base}"
        )


if __name__ == "__main__":
    main()
