"""Zero-Cost-PT on the supernet of NAS-Bench-201: how accurate is the network that it finds?

    python -m benchmarks.zero_cost_pt [--seeds 4] [--orders 5] [--proxies naswot,synflow]

Needs the labels of nasbench201 (`pip install 'archcast[benchmarks]'`). The supernet has one cell in each stage and
sees noise of 16 x 16; the networks found are validated by the same proxy at full size. Writes results/zero_cost_pt.csv:
for every seed the cell, its validation accuracy after 200 epochs on the three data sets, and the number of the 15,625
cells that are better. The paper gives test accuracies, which no table we can read has after 200 epochs.
"""

from __future__ import annotations

import argparse
import csv
import time
from pathlib import Path

from archcast.datasets.benchmark import load_benchmark
from archcast.datasets.nasbench201_supernet import NASBench201Supernet
from archcast.datasets.nasbench201_supernet import discretise as to_spec
from archcast.proxies.operation_scoring import Choices, search_operations

RESULT = Path(__file__).parent / "results" / "zero_cost_pt.csv"
TASKS = ("cifar10", "cifar100", "imagenet16-120")
IMAGE = (1, 3, 16, 16)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--orders", type=int, default=5)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--proxies", default="naswot,synflow")
    parser.add_argument("--output", type=Path, default=RESULT)
    options = parser.parse_args()
    accuracy = {task: load_benchmark("nasbench201", task) for task in TASKS}
    with options.output.open("w", newline="") as file:
        writer = csv.writer(file)
        columns = [f"{task} {what}" for task in TASKS for what in ("val", "better")]
        writer.writerow(["proxy", "seed", "orders", "distinct", "seconds", "cell", *columns])
        for proxy in options.proxies.split(","):
            for seed in range(options.seeds):
                started = time.perf_counter()
                found = search_operations(
                    lambda: NASBench201Supernet(cells=1), network, proxy,
                    orders=options.orders, batch=options.batch, input_shape=IMAGE, seed=seed,
                )  # fmt: skip
                seconds = time.perf_counter() - started
                spec = to_spec(found.choices)
                row: list[str] = []
                for benchmark in accuracy.values():
                    value = benchmark.scores[benchmark.specs.index(spec)]
                    row += [f"{value:.2f}", str(int((benchmark.scores > value).sum()))]
                head = [proxy, seed, options.orders, len(found.proposals), f"{seconds:.0f}", spec]
                writer.writerow([*head, *row])
                file.flush()
                print(*head, *row, flush=True)


def network(choices: Choices) -> str:
    return f"nasbench201:{to_spec(choices)}"


if __name__ == "__main__":
    main()
