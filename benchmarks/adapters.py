"""Our sampler inside Optuna against Optuna's own, on the tables of NAS-Bench-201.

    python -m benchmarks.adapters [--runs 5]

A study suggests one of five operations for each of the six edges, and is told the validation accuracy after 200 epochs.
It ends at the best network of the table or after 200 trials; isomorphic cells have one score, that of the first in the
table. `Sampler` starts from what other labelled spaces teach (this one and its kin are left out), or from nothing; TPE
is Optuna's, as it comes and `multivariate`. TPE may propose a network again, which then counts again. `as run_search`
tells whether a run of `run_search` with the same seed, asked for one network at a time, proposes the same networks in
the same order. Writes one row per study to results/adapters.csv.
"""

from __future__ import annotations

import argparse
import csv
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import optuna

from archcast.search.adapters.optuna import Sampler
from archcast.search.costs import Encoded
from archcast.search.run import run_search
from archcast.search.spaces import ChoiceSpace
from benchmarks.search_queries import EncodedOnce, place, taught_without

RESULT = Path(__file__).parent / "results" / "adapters.csv"
TABLES = ("nasbench201 cifar10 val 200", "nasbench201 cifar100 val 200", "nasbench201 imagenet16-120 val 200")
SAMPLERS = ("ours", "ours without pretraining", "tpe", "tpe multivariate", "random")
OPERATIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
SOURCES = ((0,), (0, 1), (0, 1, 2))
CAP, BUDGETS = 200, (25, 50, 100)


def cell(choose: Any) -> str:
    """One operation for every edge."""
    nodes = [
        "|".join(f"{choose(f'edge{source}{target}', OPERATIONS)}~{source}" for source in sources)
        for target, sources in enumerate(SOURCES, start=1)
    ]
    return "+".join(f"|{node}|" for node in nodes)


class Cells(ChoiceSpace):
    """Choices of operations; graphs, features and isomorphs are those of the benchmark."""

    table: EncodedOnce

    @property
    def size(self) -> float:
        return float(len(OPERATIONS) ** 6)

    @classmethod
    def of(cls, table: EncodedOnce) -> Cells:
        made = cls(cell, table.network, name="cells")
        object.__setattr__(made, "table", table)
        object.__setattr__(made, "scored_whole", int(made.size))
        return made

    def identity(self, spec: str) -> str:
        return self.table.identity(self.config(spec))

    def encode(self, specs: Sequence[str]) -> Encoded:
        assert self.table.benchmark is not None
        rows = [self.table._row_of[self.identity(spec)] for spec in specs]
        return self.table.encode([self.table.benchmark.specs[row] for row in rows])

    def score(self, spec: str) -> float:
        return self.table.lookup(self.config(spec))


def sampler(name: str, space: Cells, seed: int) -> optuna.samplers.BaseSampler:
    if name.startswith("ours"):
        predictor = taught_without("nasbench201") if name == "ours" else None
        return Sampler(space, predictor=predictor, seed=seed)
    if name == "random":
        return optuna.samplers.RandomSampler(seed)
    return optuna.samplers.TPESampler(seed=seed, multivariate=name == "tpe multivariate")


def run(table: str, name: str, seed: int) -> dict[str, Any]:
    """One study."""
    space, started = Cells.of(place(table)), time.perf_counter()
    assert space.table.benchmark is not None
    optimum = float(space.table.benchmark.scores.max())
    tried: list[str] = []

    def objective(trial: optuna.Trial) -> float:
        cell(trial.suggest_categorical)
        tried.append(space.spec_of(trial.params))
        score = space.score(tried[-1])
        if score >= optimum:
            trial.study.stop()
        return score

    study = optuna.create_study(direction="maximize", sampler=sampler(name, space, seed))
    study.optimize(objective, n_trials=CAP)
    seconds = time.perf_counter() - started
    scores = [space.score(spec) for spec in tried]
    best = np.maximum.accumulate(scores)
    regrets = {f"regret_{n}": f"{optimum - best[min(n, len(best)) - 1]:.4f}" for n in BUDGETS}
    return {
        "table": table, "sampler": name, "seed": seed, "queries": len(tried) if best[-1] >= optimum else "", "cap": CAP,
        **regrets, "different": len({space.identity(spec) for spec in tried}), "trials": len(tried),
        "as run_search": same(space, name, seed, tried), "seconds": f"{seconds:.2f}",
    }  # fmt: skip


def same(space: Cells, name: str, seed: int, tried: list[str]) -> str:
    """Whether `run_search` proposes the same; empty for the samplers of Optuna."""
    if not name.startswith("ours"):
        return ""
    predictor = taught_without("nasbench201") if name == "ours" else None
    result = run_search(space, space.score, predictor=predictor, budget=len(tried), seed=seed, batch=1)
    return "yes" if [trial.spec for trial in result.history] == tried else "no"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
    rows = []
    for table in TABLES:
        for name in SAMPLERS:
            for seed in range(options.runs):
                rows.append(run(table, name, seed))
                print(*rows[-1].values(), sep=",", flush=True)
    with RESULT.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
