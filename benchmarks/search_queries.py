"""Queries to the optimum: every search strategy on the tables of NAS benchmarks, in one harness.

    python -m benchmarks.search_queries [--strategies guided weaknas ...] [--runs 20]

A run asks for batches (five for `guided`, ten for the others) and is told the table's score, until it meets the best
network of the table or its cap (1,500 queries for strategies without a model, 200 for the others). Isomorphic cells are
one network, the first of them in the table, for every strategy. `guided` starts from what other labelled spaces teach;
the searched one, and one that shares its cell, are left out. `lightgbm` is a plain loop for comparison: 20 random
networks, then batches of ten by LightGBM on path features over the whole space.

Tables: NAS-Bench-201, the validation accuracy after 200 epochs (mean of the training runs, the labels that come by pip)
and the test accuracy after 12; NAS-Bench-Macro and the 23,142 cells of NAS-Bench-101, test. Writes one row per run to
results/search_queries.csv, and goes on where it stopped.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from archcast.datasets.benchmark import Benchmark, load_benchmark
from archcast.predictor.kernel_prior import KernelPrior
from archcast.predictor.predictor import Predictor
from archcast.predictor.pretraining import SPACES, labelled_sources, pools_by_family, ranking_pools
from archcast.predictor.ranker import PoolRanker
from archcast.search.core import Search
from archcast.search.costs import Encoded
from archcast.search.spaces import BenchmarkSpace
from benchmarks.resumable import append_missing

RESULT = Path(__file__).parent / "results" / "search_queries.csv"
TABLES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "nasbench201 cifar10 val 200": ("nasbench201", "cifar10", {}),
    "nasbench201 cifar100 val 200": ("nasbench201", "cifar100", {}),
    "nasbench201 imagenet16-120 val 200": ("nasbench201", "imagenet16-120", {}),
    "nasbench201 cifar10 test 12": ("nasbench201", "cifar10", {"metric": "test", "epochs": 12}),
    "nasbench201 cifar100 test 12": ("nasbench201", "cifar100", {"metric": "test", "epochs": 12}),
    "nasbench201 imagenet16-120 test 12": ("nasbench201", "imagenet16-120", {"metric": "test", "epochs": 12}),
    "nas-bench-macro cifar10 test": ("nas-bench-macro", "cifar10", {}),
    "nasbench101 cifar10 test": ("nasbench101", "cifar10", {}),
}
TEACHERS = (
    "nasbench201/cifar10", "nasbench201/cifar100", "nasbench201/imagenet16-120", "nasbench101", "nas-bench-macro",
    "nats-sss", "transnas101-micro", "transnas101-macro", "accel-nasbench",
)  # fmt: skip
RELATED = {"nasbench201": ("nats-sss",), "nats-sss": ("nasbench201",)}
"""Spaces that share a cell are hidden together."""

STRATEGIES = ("guided", "guided without pretraining", "weaknas", "bananas", "gbdt-nas", "robot", "lightgbm",
              "evolution", "local", "nsga2", "random")  # fmt: skip
CHEAP = ("evolution", "local", "nsga2", "random")
CAP, CHEAP_CAP = 200, 1500
BATCH, OTHERS_BATCH = 5, 10
BUDGETS = (50, 100, 150, 200)
FIELDS = (
    "table",
    "strategy",
    "seed",
    "queries",
    "cap",
    *(f"best_{budget}" for budget in BUDGETS),
    "optimum",
    "seconds",
)


class EncodedOnce(BenchmarkSpace):
    """The measured networks of a benchmark, each encoded once for all runs; isomorphs are left out."""

    def __init__(self, benchmark: Benchmark) -> None:
        _, first = np.unique(benchmark.groups, return_index=True)
        rows = np.sort(first)
        distinct = Benchmark(
            benchmark.name, benchmark.task, benchmark.measurement,
            tuple(benchmark.specs[row] for row in rows), benchmark.scores[rows],
        )  # fmt: skip
        super().__init__(benchmark.space, benchmark.num_classes, distinct)
        self._whole: Encoded | None = None
        self._identities: dict[str, str] = {}

    def identity(self, spec: str) -> str:
        found = self._identities.get(spec)
        if found is None:
            found = self._identities[spec] = super().identity(spec)
        return found

    def encode(self, specs: Sequence[str]) -> Encoded:
        assert self.benchmark is not None
        if self._whole is None:
            self._whole = super().encode(self.benchmark.specs)
        rows = np.asarray([self._row_of_spec[spec] for spec in specs])
        counted = {name: values[rows] for name, values in self._whole.counted.items()}
        return Encoded(self._whole.features[rows], counted)


@cache
def place(table: str) -> EncodedOnce:
    name, task, measurement = TABLES[table]
    return EncodedOnce(load_benchmark(name, task, **measurement))


@cache
def taught_without(space: str) -> Predictor:
    """What a search uses of a predictor, learnt from other spaces: the zero-shot order, and which features count."""
    hidden = {space, *RELATED.get(space, ())}
    predictor = Predictor()
    predictor.ranker = PoolRanker.fit(labelled_sources([name for name in SPACES if name not in hidden]))
    teachers = [name for name in TEACHERS if name.partition("/")[0] not in hidden]
    predictor.kernel_prior = KernelPrior.learn(pools_by_family(ranking_pools(teachers)))
    return predictor


def run(table: str, strategy: str, seed: int, cap: int) -> dict[str, Any]:
    """One search until the optimum or the cap."""
    space = place(table)
    assert space.benchmark is not None
    optimum, started = float(space.benchmark.scores.max()), time.perf_counter()
    scores: list[float] = []
    for spec in asked(table, strategy, seed, cap):
        scores.append(space.lookup(spec))
        # Runs go on to the largest budget in the books, or to the optimum.
        if scores[-1] >= optimum:
            break
    best = np.maximum.accumulate(scores)
    row = {f"best_{budget}": f"{best[min(budget, len(best)) - 1]:.4f}" for budget in BUDGETS}
    queries = len(scores) if scores[-1] >= optimum else ""
    return {
        "table": table, "strategy": strategy, "seed": seed, "queries": queries, "cap": cap, **row,
        "optimum": f"{optimum:.4f}", "seconds": f"{time.perf_counter() - started:.2f}",
    }  # fmt: skip


def asked(table: str, strategy: str, seed: int, cap: int) -> Any:
    """The specs that a strategy asks for, each one told before the next batch is."""
    space = place(table)
    if strategy == "lightgbm":
        yield from plain_loop(space, seed, cap)
        return
    name = strategy.removesuffix(" without pretraining")
    predictor = taught_without(TABLES[table][0]) if strategy == "guided" else None
    search = Search(space, strategy=name, seed=seed, budget=cap, predictor=predictor)
    while specs := search.ask(BATCH if name == "guided" else OTHERS_BATCH):
        yield from specs
        search.tell(specs, [space.lookup(spec) for spec in specs])


def plain_loop(space: EncodedOnce, seed: int, cap: int) -> Any:
    """20 random networks, then the ten best by LightGBM of all the others, again and again."""
    import lightgbm

    from archcast.encoders.features import FEATURE_NAMES

    assert space.benchmark is not None
    specs, scores = space.benchmark.specs, space.benchmark.scores
    paths = [place for place, name in enumerate(FEATURE_NAMES) if name.startswith("path/")]
    rows = space.encode(specs).features[:, paths].astype(np.float64)
    rng = np.random.default_rng(seed)
    known = list(rng.permutation(len(specs))[:20])
    yield from (specs[row] for row in known)
    parameters = {"verbose": -1, "num_leaves": 15, "min_child_samples": 3, "learning_rate": 0.05, "num_threads": 1,
                  "seed": seed, "feature_fraction": 0.5}  # fmt: skip
    while len(known) < cap:
        model = lightgbm.train(parameters, lightgbm.Dataset(rows[known], scores[known]), 200)
        forecast = model.predict(rows, num_threads=1)
        forecast[known] = -np.inf
        best = np.argsort(-forecast, kind="stable")[:10]
        known += best.tolist()
        yield from (specs[row] for row in best)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--strategies", nargs="+", default=list(STRATEGIES), choices=STRATEGIES)
    parser.add_argument("--tables", nargs="+", default=list(TABLES), choices=list(TABLES))
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--output", type=Path, default=RESULT)
    options = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    for table in options.tables:
        for strategy in options.strategies:
            cap = CHEAP_CAP if strategy in CHEAP else CAP
            wanted = [(table, strategy, seed) for seed in range(options.runs)]
            append_missing(options.output, FIELDS, wanted, partial(run, cap=cap))
            print(table, strategy, flush=True)
    summary(options.output)


def summary(path: Path) -> None:
    """Mean queries (runs that met the cap count as the cap), and mean regret at the budgets."""
    import pandas as pd

    table = pd.read_csv(path)
    table["spent"] = table.queries.fillna(table.cap)
    table["found"] = table.queries.notna()
    for budget in BUDGETS:
        table[f"regret_{budget}"] = table.optimum - table[f"best_{budget}"]
    columns = ["spent", "found", *(f"regret_{budget}" for budget in BUDGETS), "seconds"]
    means = table.groupby(["table", "strategy"], sort=False)[columns].mean()
    print(means.round(3).to_string())


if __name__ == "__main__":
    main()
