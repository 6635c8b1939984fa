"""Speed and memory of asking on a pool of 100,000 candidates, and of resuming a journal of 10,000 evaluations.

    python -m benchmarks.search_ask_speed

The space is 100,000 networks of NATS-Bench's size space at several image sizes, under made-up scores. First every
network is turned into a graph and encoded, once; then `guided` asks for batches of ten with 150 networks measured,
again and again. Memory is that of the process, before the first and after the last of these. Writes
results/search_ask_speed.csv.
"""

from __future__ import annotations

import csv
import resource
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from archcast.datasets.spaces import get_space
from archcast.graphs.graph import GraphBatch
from archcast.search.core import Search
from archcast.search.history import Trial
from archcast.search.journal import SQLiteJournal
from archcast.search.objectives import Objectives
from archcast.search.space import Space

RESULT = Path(__file__).parent / "results" / "search_ask_speed.csv"
POOL, KNOWN, BATCH, BATCHES = 100_000, 150, 10, 10
EVALUATIONS = 10_000


class Sizes(Space):
    """100,000 networks: the 32,768 of NATS-Bench's size space at four image sizes, the first 100,000 of them."""

    name = "sizes"

    def __init__(self) -> None:
        spaces = [type(get_space("nats-sss"))((1, 3, size, size)) for size in (16, 32, 48, 64)]
        self._spaces = {str(space.input_shape[2]): space for space in spaces}
        self._specs = tuple(
            f"{size} {spec}" for spec in get_space("nats-sss").all_specs() for size in self._spaces
        )[:POOL]  # fmt: skip

    def specs(self) -> tuple[str, ...]:
        return self._specs

    @property
    def size(self) -> float:
        return float(len(self._specs))

    def sample(self, rng: np.random.Generator) -> str:
        return self._specs[int(rng.integers(len(self._specs)))]

    def neighbours(self, spec: str) -> list[str]:
        size, _, channels = spec.partition(" ")
        return [f"{size} {other}" for other in get_space("nats-sss").neighbours(channels)]

    def graphs(self, specs: Sequence[str]) -> GraphBatch:
        parts = [spec.partition(" ") for spec in specs]
        batches = {size: space.stamp([c for s, _, c in parts if s == size])
                   for size, space in self._spaces.items() if any(s == size for s, _, _ in parts)}  # fmt: skip
        whole = GraphBatch.concatenate(list(batches.values()))
        order = np.argsort([list(batches).index(size) for size, _, _ in parts], kind="stable")
        return whole.take(np.argsort(order, kind="stable"))

    def network(self, spec: str) -> Any:
        size, _, channels = spec.partition(" ")
        return self._spaces[size].module(channels)


def score(spec: str) -> float:
    """Made up: wide and large networks do well, with noise that belongs to the network."""
    numbers = [float(number) for number in spec.replace(" ", ":").split(":")]
    noise = np.random.default_rng([int(number) for number in numbers]).normal()
    return float(np.log(numbers).sum() + 0.2 * noise)


def memory() -> float:
    """MB in use now, where /proc tells; else the most that ever was."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
        return pages * resource.getpagesize() / 2**20
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


def asking() -> dict[str, float]:
    space, rng = Sizes(), np.random.default_rng(0)
    search = Search(space, strategy="guided")
    known = [space.specs()[row] for row in rng.permutation(POOL)[:KNOWN]]
    search.tell(known, [score(spec) for spec in known])
    started = time.perf_counter()
    specs = search.ask(BATCH)  # encodes the pool
    encoding = time.perf_counter() - started
    search.tell(specs, [score(spec) for spec in specs])
    before, started, times = memory(), time.perf_counter(), []
    for _ in range(BATCHES):
        begun = time.perf_counter()
        specs = search.ask(BATCH)
        times.append(time.perf_counter() - begun)
        search.tell(specs, [score(spec) for spec in specs])
    spent = time.perf_counter() - started
    return {
        "encode_pool_seconds": encoding,
        "ask_seconds_median": float(np.median(times)),
        "proposals_per_second": BATCH * BATCHES / spent,
        "candidates_per_second": POOL * BATCHES / spent,
        "memory_before_mb": before,
        "memory_after_mb": memory(),
    }


def resuming() -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run.db"
        journal, space = SQLiteJournal.open(path, {}), Sizes()
        specs = space.specs()[:EVALUATIONS]
        trials = journal.append([Trial(0, spec, spec) for spec in specs], None)
        journal.finish_all([
            Trial(trial.number, trial.spec, trial.identity, "done", (score(trial.spec),)) for trial in trials
        ])  # fmt: skip
        started = time.perf_counter()
        search = Search(space, strategy="random", journal=SQLiteJournal.open(path, {}, resume=True))
        opened = time.perf_counter() - started
        assert len(search.history.done) == EVALUATIONS
        assert search.objectives == Objectives.of("score")
        started = time.perf_counter()
        search.ask(1)
        return {"resume_seconds": opened, "first_ask_seconds": time.perf_counter() - started}


def main() -> None:
    row = {**resuming(), **asking()}
    with RESULT.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(row))
        writer.writeheader()
        writer.writerow({name: f"{value:.4g}" for name, value in row.items()})
    for name, value in row.items():
        print(f"{name:24} {value:12.4g}")


if __name__ == "__main__":
    main()
