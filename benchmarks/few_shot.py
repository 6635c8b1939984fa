"""Few-shot, protocol P1: fit on n random labels of a space, rank the whole space.

    python -m benchmarks.few_shot            # everything, resumable: finished runs are kept
    python -m benchmarks.few_shot --spaces nas-bench-macro --seeds 0 1 --starts alone

Starts: *alone*, from the labels; *left out*, with the kernel prior of all labelled families but that of the space;
*in*, with that of all families, this one's other labels included (1,500 random networks: says what knowing a space is
worth, not what is reached on a new one); *measured*, alone with the zero-cost proxies of measurements/, where the
networks drawn and ranked are those that were measured. Writes `results/few_shot.csv` (one row per run and method) and
prints mean and deviation over seeds, and the share of the ceiling: the agreement of two training runs of the same
networks (`results/label_noise.csv`).
"""

from __future__ import annotations

import argparse
from functools import cache
from pathlib import Path
from time import monotonic

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from tqdm import tqdm

from archcast.datasets.benchmark import Benchmark, load_benchmark
from archcast.predictor.evaluation import METHOD, SUBSETS, few_shot
from archcast.predictor.kernel_prior import KernelPrior
from archcast.predictor.metrics import kendall_tau, n_at_k, spearman, top_k_regret
from archcast.predictor.predictor import Predictor
from archcast.predictor.pretraining import family_of, pools_by_family, ranking_pools
from benchmarks.measured_networks import thoroughly_measured

OUTPUT = Path(__file__).parent / "results" / "few_shot.csv"
CEILINGS = Path(__file__).parent / "results" / "label_noise.csv"

REFERENCE = {
    "nasbench201": {78: 0.810, 156: 0.843, 469: 0.887, 781: 0.900, 1563: 0.913},
    "nasbench101": {100: 0.767, 172: 0.801, 424: 0.838, 4236: 0.877},
    "nas-bench-macro": {33: 0.790, 66: 0.836, 328: 0.911, 656: 0.926},
    "nats-sss": {100: 0.829},
}
"""Kendall tau of LightGBM on path features that know the space (see docs/EXPERIMENTS.md for where these come from)."""

FURTHER_TASKS = {"nasbench201": ("cifar100", "imagenet16-120")}
"""Reported beside CIFAR-10, with the same sizes."""

STARTS = ("alone", "left out", "in", "measured")

POOLS = (
    "nasbench201/cifar10", "nasbench201/cifar100", "nasbench201/imagenet16-120", "nasbench101", "nas-bench-macro",
    "nats-sss/cifar10", "transnas101-micro/taskonomy-scene", "transnas101-micro/taskonomy-object",
    "transnas101-micro/taskonomy-jigsaw", "transnas101-macro/taskonomy-scene", "transnas101-macro/taskonomy-object",
    "transnas101-macro/taskonomy-jigsaw", "accel-nasbench", "ofa-mobilenetv3", "nas-bench-bert-trained", "mini-cells",
    "mini-shapes", "mini-transformers", "mini-mixers",
)  # fmt: skip
"""What the kernel prior is learnt from."""

KEYS = ["benchmark", "task", "labels", "seed", "start"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--spaces", nargs="+", default=list(REFERENCE))
    parser.add_argument("--seeds", nargs="+", type=int, default=list(range(10)))
    parser.add_argument("--starts", nargs="+", default=list(STARTS), choices=STARTS, metavar="START")
    parser.add_argument("--tasks", nargs="+", default=["cifar10", "cifar100", "imagenet16-120"])
    parser.add_argument("--largest", type=int, default=10_000, help="leave out runs with more labels than this")
    options = parser.parse_args()
    table = pd.read_csv(OUTPUT) if OUTPUT.exists() else pd.DataFrame(columns=KEYS)
    done = set(table[KEYS].itertuples(index=False, name=None))
    for run in tqdm(_runs(options), "few-shot runs"):
        if run in done:
            continue
        table = pd.concat([table, pd.DataFrame(_lines(*run)).round(4)], ignore_index=True)
        table.to_csv(OUTPUT, index=False)
    summary(table)


def _runs(options: argparse.Namespace) -> list[tuple[str, str, int, int, str]]:
    """The small ones first, a seed at a time, so that what is there at any moment is of use."""
    runs = []
    for space in options.spaces:
        tasks = ("cifar10", *FURTHER_TASKS.get(space, ()))
        for task in (task for task in tasks if task in options.tasks):
            sizes = [size for size in REFERENCE[space] if size <= options.largest]
            starts = [start for start in options.starts if task == "cifar10" or start in ("alone", "left out")]
            runs += [
                (space, task, size, seed, start) for size in sizes for seed in options.seeds for start in starts
                if start != "measured" or size < 700
            ]  # fmt: skip
    return sorted(runs, key=lambda run: (run[2] > 500, run[3], run[1] != "cifar10"))


def _lines(space: str, task: str, size: int, seed: int, start: str) -> list[dict[str, object]]:
    benchmark = load_benchmark(space, task)
    started = monotonic()
    if start == "measured":
        lines = [_measured(benchmark, size, seed)]
    else:
        prior = None if start == "alone" else prior_without(family_of(space) if start == "left out" else "")
        results = few_shot(benchmark, [size], [seed], lambda: _predictor(prior), resamples=0, progress=False)
        lines = [result.to_record() for result in results if start == "alone" or result.method == METHOD]
    return [{**line, "start": start, "seconds": monotonic() - started} for line in lines]


def _predictor(prior: KernelPrior | None) -> Predictor:
    predictor = Predictor()
    predictor.kernel_prior = prior
    return predictor


@cache
def _families() -> dict[str, list[tuple[NDArray[np.float32], NDArray[np.float64]]]]:
    return pools_by_family(ranking_pools(POOLS, per_pool=1500))


@cache
def prior_without(left_out: str) -> KernelPrior:
    """The kernel prior of all families but one; of all, where the name is empty."""
    return KernelPrior.learn({family: pools for family, pools in _families().items() if family != left_out})


def _measured(benchmark: Benchmark, size: int, seed: int) -> dict[str, object]:
    """One run on the networks that were measured: some labelled, all ranked."""
    rows, columns = thoroughly_measured(benchmark.space.name, benchmark.specs)
    train = np.sort(np.random.default_rng(seed).permutation(len(rows))[:size])
    graphs, truth = benchmark.graphs(rows), benchmark.scores[rows]
    predictor = Predictor().fit(
        graphs.take(train), truth[train], seed=seed, measured={name: values[train] for name, values in columns.items()}
    )
    forecast = predictor.predict(graphs, measured=columns)
    return {
        "protocol": "few-shot", "benchmark": benchmark.name, "task": benchmark.task, "metric": benchmark.metric,
        "method": METHOD, "labels": size, "seed": seed, "subset": "measured networks", "networks": len(rows),
        "tau": kendall_tau(truth, forecast.scores), "rho": spearman(truth, forecast.scores),
        "regret": top_k_regret(truth, forecast.scores), "n_at_10": n_at_k(truth, forecast.scores),
        "coverage": float(((truth >= forecast.low) & (truth <= forecast.high)).mean()),
        "width": float(np.median(forecast.high - forecast.low)),
        "without_measurements": _without(benchmark, rows, train, seed),
    }  # fmt: skip


def _without(benchmark: Benchmark, rows: NDArray[np.int64], train: NDArray[np.int64], seed: int) -> float:
    """Kendall tau of the same labels without proxies, on the same networks."""
    graphs, truth = benchmark.graphs(rows), benchmark.scores[rows]
    return kendall_tau(truth, Predictor().fit(graphs.take(train), truth[train], seed=seed)(graphs))


def ceiling(space: str, task: str, metric: str) -> float:
    """Kendall tau between two training runs of the same networks; NaN where each was trained once."""
    table = pd.read_csv(CEILINGS)
    kind = "val" if metric.startswith("validation") else "test"
    found = table[(table.benchmark == space) & (table.task == task) & (table.kind == kind)].dropna(subset="ceiling")
    return float(found.sort_values("epochs").ceiling.iloc[-1]) if len(found) else float("nan")


def summary(table: pd.DataFrame) -> None:
    """Print mean and deviation of Kendall tau over seeds, with the reference, the ceiling and the time of a run."""
    own = table[(table.method == METHOD) & table.subset.isin([SUBSETS[0], "measured networks"])]
    for (space, task, size, start), rows in own.groupby(["benchmark", "task", "labels", "start"], sort=False):
        tau, top = rows.tau, ceiling(str(space), str(task), str(rows.metric.iloc[0]))
        without = "" if start != "measured" else f"; without {rows.without_measurements.mean():.3f}"
        print(
            f"{space} {task} {size} labels, {start}: tau {tau.mean():.3f} +- {tau.std():.3f} over {len(tau)} seeds, "
            f"{tau.mean() / top:.3f} of the ceiling {top:.3f}; {rows.seconds.mean():.0f} s a run{without}"
        )


if __name__ == "__main__":
    main()
