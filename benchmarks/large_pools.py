"""Capturing and measuring large pools: in one process, in two, and on two nodes of Ray.

    python -m benchmarks.large_pools [--networks 240] [--names 120] [--repeats 3]

*measure*: the fast proxies of random cells of NAS-Bench-201 on their stand-ins (`archcast.proxies.score`, nothing
cached); *capture*: networks of timm by name, built and captured (`archcast.graphs.capture.capture_all`). One thread a
process, workers warm; the nodes have one core each and lie on the loopback. Every place must give the same values.
Writes results/large_pools.csv: medians of seconds over the repeats, and networks a second.
"""

from __future__ import annotations

import argparse
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import statistics
import time
from collections.abc import Callable
from concurrent.futures import Executor, ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tqdm import tqdm

from archcast.datasets.spaces import get_space
from archcast.graphs.capture import capture_all
from archcast.proxies.scoring import score
from archcast.ray_executor import RayExecutor
from archcast.workers import prepare_worker
from benchmarks.throughput import timm_names
from tests.search.ray_cluster import two_nodes

RESULT = Path(__file__).parent / "results" / "large_pools.csv"


def cells(count: int) -> list[str]:
    space, rng = get_space("nasbench201"), np.random.default_rng(0)
    return [f"nasbench201:{space.sample(rng)}" for _ in range(count)]


def measured(networks: list[str], executor: Executor | None) -> np.ndarray:
    found = score(networks, "fast", small=True, cache=False, executor=executor, progress=False)
    return np.asarray(found.values)


def captured(networks: list[str], executor: Executor | None) -> np.ndarray:
    graphs = capture_all(networks, executor=executor, progress=False)
    return np.asarray([(graph.params, graph.macs, len(graph.nodes)) for graph in graphs], dtype=np.float64)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", type=int, default=240)
    parser.add_argument("--names", type=int, default=120)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    works: dict[str, tuple[list[str], Callable[[list[str], Executor | None], Any]]] = {
        "measure": (cells(options.networks), measured), "capture": (timm_names(options.names), captured),
    }  # fmt: skip
    with (
        two_nodes() as cluster,
        RayExecutor(cluster.address) as ray,
        ProcessPoolExecutor(2, get_context("spawn"), prepare_worker) as processes,
    ):
        places: dict[str, Executor | None] = {"one process": None, "two processes": processes, "two nodes of Ray": ray}
        rows = []
        for work, (networks, run) in tqdm(works.items()):
            expected = run(networks, None)
            for place, executor in places.items():
                run(networks[:32], executor)
                seconds = []
                for _ in range(options.repeats):
                    started = time.perf_counter()
                    found = run(networks, executor)
                    seconds.append(time.perf_counter() - started)
                    np.testing.assert_array_equal(found, expected)
                middle = statistics.median(seconds)
                rows.append({
                    "work": work, "place": place, "networks": len(networks), "seconds": round(middle, 2),
                    "networks_per_second": round(len(networks) / middle, 1),
                })  # fmt: skip
                pd.DataFrame(rows).to_csv(RESULT, index=False, lineterminator="\n")
    print(pd.DataFrame(rows).to_string(index=False))


if __name__ == "__main__":
    main()
