"""How fast specs become graphs, and graphs features, on one core.

    python -m benchmarks.stamping_speed

Stamps every spec of a space (NAS-Bench-101: every 20th cell), first with nothing remembered (`cold`), then again with
the cells it has met (`warm`), and encodes them with the tabular encoder. One row per space in
`benchmarks/results/stamping_speed.csv`. Rates are networks per second of processor time of the one core used, so that
they do not depend on what else the machine does; `wall_seconds` is the clock time of cold stamping and encoding.
"""

from __future__ import annotations

import csv
import os
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ["OMP_NUM_THREADS"] = "1"  # one core means one thread: a second would count as processor time too
os.environ["OPENBLAS_NUM_THREADS"] = "1"

import numpy as np
from tqdm import tqdm

from archcast.datasets.space import SearchSpace
from archcast.datasets.spaces import SPACES
from archcast.encoders.features import encode

RESULT = Path(__file__).parent / "results" / "stamping_speed.csv"
EVERY = {"nasbench101": 20}
LARGEST = 500_000
"""Of spaces with more specs a sample of 20,000 is stamped."""


def stamped_spaces() -> dict[str, SearchSpace[Any]]:
    """The spaces that stamp graphs from blocks; the others capture each module."""
    return {
        name: space
        for name, space in SPACES.items()
        if type(space).stamp is not SearchSpace.stamp and not name.startswith("zoo-")
    }


def timed(work: Callable[[], Any]) -> tuple[Any, float, float]:
    """The result, and the seconds it took by the processor and by the clock."""
    clock, processor = time.perf_counter(), time.process_time()
    result = work()
    return result, time.process_time() - processor, time.perf_counter() - clock


def measure(name: str, space: SearchSpace[Any]) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    if space.size > LARGEST:
        specs = [space.sample(rng) for _ in range(20_000)]
    else:
        specs = list(islice(space.all_specs(), 0, None, EVERY.get(name, 1)))
    _, cold, cold_wall = timed(lambda: space.stamp(specs))
    batch, warm, _ = timed(lambda: space.stamp(specs))
    _, encoding, encoding_wall = timed(lambda: encode(batch))
    count = len(specs)
    return {
        "space": name,
        "specs": count,
        "nodes_per_graph": round(len(batch.kinds) / count, 1),
        "distinct_nodes": len(batch.nodes),
        "cold_seconds": round(cold, 3),
        "cold_rate": round(count / cold),
        "warm_rate": round(count / warm),
        "features_seconds": round(encoding, 3),
        "cold_with_features_rate": round(count / (cold + encoding)),
        "wall_seconds": round(cold_wall + encoding_wall, 3),
    }


def main() -> None:
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    rows = [measure(name, space) for name, space in tqdm(stamped_spaces().items(), desc="spaces")]
    RESULT.parent.mkdir(exist_ok=True)
    with RESULT.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    for row in rows:
        print(
            f"{row['space']:16} {row['specs']:6} specs: {row['cold_rate']:6}/s stamped cold, "
            f"{row['warm_rate']:6}/s warm, {row['cold_with_features_rate']:6}/s with features"
        )


if __name__ == "__main__":
    main()
