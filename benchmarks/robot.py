"""RoBoT on NAS-Bench-201: accuracy of the network it chooses against the number of networks it evaluates.

    python -m benchmarks.robot [--seeds 20] [--budgets 10,20,40]

Needs `nasbench201_zero_cost_reference.parquet` (9,445 cells with 13 published proxies) in ARCHCAST_DATA. As in the
paper, a search observes the validation accuracy after 12 epochs; its choice is judged by the accuracy after 200, here
on the validation set, because no table we can read has test accuracies after 200 epochs. Writes results/robot.csv:
mean, spread, median and worst of the seeds, beside the start from random weights (the paper's), the tops of the single
proxies, random search, and the best that 12 epochs can tell.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from archcast.datasets.benchmark import load_benchmark
from archcast.datasets.home import find_table
from archcast.datasets.labels_parquet import read_parquet
from archcast.proxies.robot import RobotSearch

RESULT = Path(__file__).parent / "results" / "robot.csv"
TABLE = "nasbench201_zero_cost_reference.parquet"
# The task whose images the proxies were measured on; there are none for CIFAR-100.
MEASURED_ON = {"cifar10": "cifar10", "cifar100": "cifar10", "imagenet16-120": "ImageNet16-120"}
SIX = ("grad_norm", "snip", "grasp", "fisher", "synflow", "jacov")
"""The six proxies of the paper."""

ALL = (*SIX, "epe_nas", "flops", "l2_norm", "nwot", "params", "plain", "zen")
FAILED = -1e8

FloatArray = NDArray[np.float64]
Choice = Callable[[FloatArray, FloatArray, int, int], int]
"""(proxies, observed accuracies, budget, seed) -> the network that is chosen."""


def robot(start: str) -> Choice:
    def choose(scores: FloatArray, observed: FloatArray, budget: int, seed: int) -> int:
        search = RobotSearch(scores, budget, seed=seed, start=start)  # type: ignore[arg-type]
        return search.run(lambda index: float(observed[index])).index

    return choose


def random_search(_scores: FloatArray, observed: FloatArray, budget: int, seed: int) -> int:
    drawn = np.random.default_rng(seed).permutation(len(observed))[:budget]
    return int(drawn[np.argmax(observed[drawn])])


def best_single(scores: FloatArray, observed: FloatArray, budget: int, _seed: int) -> int:
    """The budget is shared evenly by the tops of the proxies."""
    each = max(budget // scores.shape[1], 1)
    tops = np.argsort(-np.nan_to_num(scores, nan=-np.inf), axis=0, kind="stable")[:each].ravel()[:budget]
    return int(tops[np.argmax(observed[tops])])


METHODS: dict[str, Choice] = {
    "robot": robot("proxies"),
    "robot, random start": robot("random"),
    "tops of the proxies": best_single,
    "random search": random_search,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--budgets", default="10,20,40")
    parser.add_argument("--output", type=Path, default=RESULT)
    options = parser.parse_args()
    budgets = [int(number) for number in options.budgets.split(",")]
    with options.output.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(
            ["task", "proxies", "method", "budget", "seeds", "mean", "sd", "median", "worst", "by_12_epochs", "best"]
        )
        for task in MEASURED_ON:
            for names in (SIX, ALL):
                scores, observed, final = pool(task, names)
                limits = [f"{final[np.argmax(observed)]:.2f}", f"{final.max():.2f}"]
                for method, choose in METHODS.items():
                    for budget in budgets:
                        got = [final[choose(scores, observed, budget, seed)] for seed in range(options.seeds)]
                        row = [np.mean(got), np.std(got), np.median(got), np.min(got)]
                        head = [task, len(names), method, budget, options.seeds]
                        writer.writerow([*head, *(f"{value:.2f}" for value in row), *limits])
                        print(*head, *(f"{value:.2f}" for value in row), *limits, flush=True)


def pool(task: str, names: tuple[str, ...]) -> tuple[FloatArray, FloatArray, FloatArray]:
    """`[n, S]` proxies, and `[n]` accuracy after 12 and after 200 epochs of the cells that have proxies."""
    table = read_parquet(find_table("nasbench201", [TABLE]))
    # The rows of ImageNet16-120 have no cell text; both data sets hold the same cells under the same operations.
    cells = table[table["dataset"] == "cifar10"].set_index("net")["net_str"]
    rows = table[table["dataset"] == MEASURED_ON[task]]
    specs = cells.loc[rows["net"]].to_list()
    values = rows[list(names)].to_numpy(dtype=np.float64, copy=True)
    values[values < FAILED / 2] = np.nan
    short = load_benchmark("nasbench201", task, metric="val", epochs=12)
    long = load_benchmark("nasbench201", task)  # both list all cells in the order of the space
    place = {spec: index for index, spec in enumerate(long.specs)}
    index = np.asarray([place[spec] for spec in specs])
    return values, short.scores[index], long.scores[index]


if __name__ == "__main__":
    main()
