"""Zero-shot, leave one space out: pretrain on three spaces, rank 3,000 random networks of the fourth.

    python -m benchmarks.zero_shot           # three seeds of networks and of pretraining; resumable

Writes `results/zero_shot.csv`; the same run gives interval coverage on the held-out networks of trained spaces
(`results/coverage.csv`) and on the unseen space, with the familiarity that should tell them apart.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tqdm import tqdm

from archcast.datasets.benchmark import Benchmark, load_benchmark
from archcast.predictor.evaluation import score_networks
from archcast.predictor.predictor import Predictor
from archcast.predictor.pretraining import SPACES, TASK, pretrain, training_rows

FOLDER = Path(__file__).parent / "results"
SAMPLE = 3000
TARGET = {"nasbench201": 0.845, "nasbench101": 0.83, "nas-bench-macro": 0.85, "nats-sss": 0.90}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    arguments = parser.parse_args()
    rows = _read("zero_shot.csv")
    covered = _read("coverage.csv")
    done = {(row["held_out"], row["seed"]) for row in covered}
    for seed in arguments.seeds:
        for held_out in tqdm([space for space in SPACES if (space, seed) not in done], f"seed {seed}"):
            predictor = pretrain([space for space in SPACES if space != held_out], seed=seed)
            for space in SPACES:
                benchmark = load_benchmark(space, task=TASK)
                records, cover = _score(predictor, benchmark, seed, unseen=space == held_out)
                covered.append({"held_out": held_out, **cover})
                if space == held_out:
                    rows += records
            pd.DataFrame(rows).round(4).to_csv(FOLDER / "zero_shot.csv", index=False)
            pd.DataFrame(covered).round(4).to_csv(FOLDER / "coverage.csv", index=False)
    summary(pd.DataFrame(rows), pd.DataFrame(covered))


def _read(name: str) -> list[dict[str, Any]]:
    """Rows of an earlier run, so that a stopped one goes on where it was."""
    path = FOLDER / name
    if not path.exists():
        return []
    return [{str(key): value for key, value in row.items()} for row in pd.read_csv(path).to_dict("records")]


def _score(
    predictor: Predictor, benchmark: Benchmark, seed: int, unseen: bool
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Scores of up to 3,000 networks that the predictor has not been trained on."""
    order = np.random.default_rng(1000 + seed).permutation(len(benchmark))
    seen = np.zeros(0, np.int64) if unseen else training_rows(benchmark, seed=seed)
    chosen = np.sort(order[~np.isin(order, seen)][:SAMPLE])
    graphs, truth = benchmark.graphs(chosen), benchmark.scores[chosen]
    forecast = predictor.predict(graphs)
    results = score_networks(
        forecast, graphs, truth, protocol="zero-shot", benchmark=benchmark.name, task=benchmark.task,
        metric=benchmark.metric, labels=0, seed=seed, subset="sample",
    )  # fmt: skip
    cover = {
        "benchmark": benchmark.name, "seed": seed, "unseen": unseen, "networks": len(chosen),
        "coverage": float(np.mean((truth >= forecast.low) & (truth <= forecast.high))),
        "median_width": float(np.median(forecast.high - forecast.low)),
        "familiarity": float(np.mean(forecast.familiarity)),
    }  # fmt: skip
    return [result.to_record() for result in results], cover


def summary(table: pd.DataFrame, covered: pd.DataFrame) -> None:
    """Print medians over seeds."""
    for target in SPACES:
        rows = table[table.benchmark == target]
        rho = rows[rows.method == "archcast"].rho
        base = ", ".join(f"{m} {g.rho.median():.3f}" for m, g in rows[rows.method != "archcast"].groupby("method"))
        print(
            f"{target:16s} Spearman {rho.median():.3f} [{rho.min():.3f}, {rho.max():.3f}]; "
            f"target {TARGET[target]}; {base}"
        )
    for (space, unseen), rows in covered.groupby(["benchmark", "unseen"]):
        print(
            f"{space:16s} {'unseen' if unseen else 'trained'}: coverage {rows.coverage.median():.3f} "
            f"[{rows.coverage.min():.3f}, {rows.coverage.max():.3f}], familiarity {rows.familiarity.median():.2f}"
        )


if __name__ == "__main__":
    main()
