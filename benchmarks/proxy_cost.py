"""What measuring costs: one NAS-Bench-201 network on one core, batch 16.

    OMP_NUM_THREADS=1 python -m benchmarks.proxy_cost [--networks 20]

Writes results/proxy_cost.csv, medians over random cells of process time: all proxies from shared passes, the same one
by one, the `fast` ones, on the full network and on its small stand-in, and the peak of memory.
"""

from __future__ import annotations

import argparse
import csv
import os
import resource
import time
from collections.abc import Callable, Sequence
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"  # one core means one thread: processes share the cores, not threads
os.environ["OPENBLAS_NUM_THREADS"] = "1"

import numpy as np
import torch

from archcast.datasets.spaces import get_space
from archcast.graphs.modules import Buildable
from archcast.proxies.measurement import measure
from archcast.proxies.proxy import PROXY_NAMES, SEQUENCE_PROXIES, chosen

RESULT = Path(__file__).parent / "results" / "proxy_cost.csv"
ALL = [name for name in PROXY_NAMES if name not in SEQUENCE_PROXIES]
FAST = [proxy.name for proxy in chosen("fast") if proxy.name in ALL]


def one_by_one(network: Buildable, names: Sequence[str]) -> None:
    for name in names:
        measure(network, name)


def shared(network: Buildable, names: Sequence[str]) -> None:
    measure(network, names)


def seconds(
    run: Callable[[Buildable, Sequence[str]], None], networks: list[Buildable], names: Sequence[str]
) -> list[float]:
    times = []
    for network in networks:
        started = time.process_time()
        run(network, names)
        times.append(time.process_time() - started)
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", type=int, default=20)
    options = parser.parse_args()
    torch.set_num_threads(1)
    space = get_space("nasbench201")
    rng = np.random.default_rng(0)
    specs = [space.sample(rng) for _ in range(options.networks)]
    rows = []
    for size, used in (("small", space.small()), ("full", space)):
        networks = [used.buildable(spec) for spec in specs]
        measure(networks[0], ALL)  # imports
        for what, run, names in (("fast", shared, FAST), ("all", shared, ALL), ("all, one by one", one_by_one, ALL)):
            times = seconds(run, networks, names)
            low, middle, high = np.quantile(times, [0.1, 0.5, 0.9])
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            rows.append([size, what, len(names), len(times), *(f"{t:.3f}" for t in (middle, low, high)), f"{peak:.0f}"])
            print(*rows[-1], flush=True)
    with RESULT.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["network", "what", "proxies", "networks", "median_s", "p10_s", "p90_s", "peak_MiB_so_far"])
        writer.writerows(rows)


if __name__ == "__main__":
    main()
