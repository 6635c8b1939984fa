"""How fast graphs come out of the cache, against stamping them.

    python -m benchmarks.graph_cache [--repeats 5]

Writes benchmarks/results/graph_cache.csv, one row per space: seconds (best of the repeats, CPU time of one process) to
stamp all graphs, to pack and write them, to open them again; bytes on disk. NAS-Bench-101 is 20,000 random cells.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tqdm import tqdm

from archcast.datasets.cache import GraphCache, content_key
from archcast.datasets.spaces import SPACES
from benchmarks.stamping_speed import stamped_spaces

RESULTS = Path(__file__).parent / "results" / "graph_cache.csv"
LARGEST = 50_000


def specs_of(name: str) -> list[str]:
    """All specs of a space, or 20,000 random ones where there are many more."""
    space = SPACES[name]
    if space.size <= LARGEST:
        return list(space.all_specs())
    rng = np.random.default_rng(0)
    return [space.sample(rng) for _ in range(20_000)]


def best(repeats: int, run: Callable[[], Any]) -> tuple[float, Any]:
    """Least CPU seconds of several runs, and the last result."""
    seconds, result = [], None
    for _ in range(repeats):
        start = time.process_time()
        result = run()
        seconds.append(time.process_time() - start)
    return min(seconds), result


def measure(name: str, repeats: int) -> dict[str, Any]:
    space, specs = SPACES[name], specs_of(name)
    key = content_key(name, *specs)
    with tempfile.TemporaryDirectory() as folder:
        cache = GraphCache(folder, required=True)
        stamping, graphs = best(1, lambda: space.stamp(specs))
        writing, _ = best(repeats, lambda: cache.put(key, graphs))
        opening, again = best(repeats, lambda: cache.get(key))
        if again is None or not np.array_equal(again.edge_index, graphs.edge_index):
            raise SystemExit(f"{name}: the cache gave other graphs back than were put in")
        return {
            "space": name,
            "graphs": len(graphs),
            "nodes": len(graphs.kinds),
            "edges": graphs.edge_index.shape[1],
            "stamp_seconds": round(stamping, 3),
            "write_seconds": round(writing, 3),
            "open_seconds": round(opening, 3),
            "megabytes": round(cache.size / 1e6, 2),
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    frame = pd.DataFrame([measure(name, arguments.repeats) for name in tqdm(stamped_spaces())])
    frame.to_csv(RESULTS, index=False)
    print(frame.to_string(index=False))


if __name__ == "__main__":
    main()
