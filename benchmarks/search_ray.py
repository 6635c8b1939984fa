"""A search on two nodes of Ray, one worker and one node killed in the middle: nothing lost, nothing counted twice.

    python -m benchmarks.search_ray [--evaluations 200] [--seconds 0.1]

Two nodes of one core each on the loopback. Every evaluation writes a line when it starts and sleeps; one in the middle
waits until its worker is killed with SIGKILL, a later one on the second node until that node is. Two of the first
networks kill every worker they get. Afterwards the journal must hold each network once, with its score or its failure.
The overhead is the time an evaluation takes in a search whose evaluations do nothing, on both nodes and in two threads
(`ray_ms`, `threads_ms`: medians of five, by turns), proposals and journal included. Writes results/search_ray.csv.
"""

from __future__ import annotations

import argparse
import csv
import os
import signal
import statistics
import tempfile
import threading
import time
from collections import Counter
from concurrent.futures import Executor, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

from archcast.ray_executor import RayExecutor
from archcast.search.core import Search
from archcast.search.history import Trial
from archcast.search.journal import SQLiteJournal
from archcast.search.run import Evaluate, run_search
from tests.search.ray_cluster import Noted, Victim, await_victim, lines, two_nodes
from tests.search.toy import CountingSpace, score

RESULT = Path(__file__).parent / "results" / "search_ray.csv"
SLOTS = 2
TURNS = 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--evaluations", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=0.1, help="that an evaluation takes")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, two_nodes() as cluster, RayExecutor(cluster.address) as executor:
        folder = Path(name)
        places: dict[str, Executor] = {"ray": executor, "threads": ThreadPoolExecutor(SLOTS)}
        each: dict[str, list[float]] = {place: [] for place in places}
        for turn in range(TURNS):
            for place, made in places.items():
                each[place].append(seconds_each(made, folder / f"{place}{turn}.db", options.evaluations))
        row = struck(cluster, executor, folder, options.evaluations, options.seconds)
    row |= {f"{place}_ms": round(1000 * statistics.median(times), 1) for place, times in each.items()}
    with RESULT.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(row))
        writer.writeheader()
        writer.writerow(row)
    print(row)


def struck(cluster: Any, executor: Executor, folder: Path, evaluations: int, seconds: float) -> dict[str, Any]:
    """The search in which a worker and a node are killed, and what its journal holds afterwards."""
    journal, log = folder / "run.db", folder / "log"
    deadly = tuple(Search(CountingSpace(), strategy="random").ask(2 * SLOTS)[:2])
    (second,) = cluster.worker_nodes
    victims = (Victim(folder / "worker"), Victim(folder / "node", second.node_id, evaluations // 2))

    def strike() -> None:
        os.kill(await_victim(folder / "worker")[0], signal.SIGKILL)
        await_victim(folder / "node")
        cluster.remove_node(second, allow_graceful=False)

    killer = threading.Thread(target=strike, daemon=True)
    killer.start()
    started = time.perf_counter()
    search(executor, Noted(log, seconds, victims, deadly), evaluations, journal)
    took = time.perf_counter() - started
    killer.join()
    trials = SQLiteJournal.open(journal, {}, resume=True).news()
    times = Counter(spec for spec, _, _ in lines(log))
    return {
        "evaluations": len(trials),
        "workers_killed": 1,
        "nodes_killed": 1,
        "lost": sum(not as_it_should(trial, deadly) for trial in trials) + evaluations - len(trials),
        "twice_in_journal": len(trials) - len({trial.identity for trial in trials}),
        "evaluated_again": sum(count - 1 for spec, count in times.items() if spec not in deadly),
        "failures": sum(trial.state == "failed" for trial in trials),
        "starts_of_a_failure": max(times[spec] for spec in deadly),
        "seconds": round(took, 1),
        "seconds_of_evaluations_on_two": round(evaluations * seconds / SLOTS, 1),
    }


def as_it_should(trial: Trial, deadly: tuple[str, ...]) -> bool:
    """Whether a trial has its score, or is a failure because it kills its workers."""
    if trial.spec in deadly:
        return trial.state == "failed" and trial.reason.startswith("WorkerError")
    return trial.state == "done" and trial.scores == (score(trial.spec),)


def seconds_each(executor: Executor, journal: Path, evaluations: int) -> float:
    """Of a search whose evaluations do nothing, with both slots busy."""
    wait([executor.submit(time.sleep, 0.5) for _ in range(SLOTS)])
    started = time.perf_counter()
    search(executor, score, evaluations, journal)
    return (time.perf_counter() - started) / evaluations


def search(executor: Executor, evaluate: Evaluate, evaluations: int, journal: Path) -> None:
    run_search(
        CountingSpace(), evaluate, budget=evaluations, batch=2 * SLOTS, strategy="random", predictor=None,
        journal=journal, executor=executor,
    )  # fmt: skip


if __name__ == "__main__":
    main()
