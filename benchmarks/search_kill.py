"""Twenty kill -9 at random moments of one search: nothing lost, nothing counted twice.

    python -m benchmarks.search_kill [--kills 20] [--evaluations 400]

A process searches with a journal; it is killed at a random moment after its first evaluation and started again, and in
the end comes to its end. Every evaluation writes a line into a file of its own. Afterwards the journal must hold each
network once, with its score, in the order of an uninterrupted search; and a network was evaluated again only if the
process was killed while it was under way. Writes results/search_kill.csv.
"""

from __future__ import annotations

import argparse
import csv
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from archcast.search.journal import SQLiteJournal
from archcast.search.run import run_search
from tests.search.toy import CountingSpace, score

RESULT = Path(__file__).parent / "results" / "search_kill.csv"
ROOT = Path(__file__).parent.parent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--evaluations", type=int, default=370)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        journal, log = Path(folder) / "run.db", Path(folder) / "log.txt"
        command = [sys.executable, "-m", "tests.search.killed_run", str(journal), str(log), str(options.evaluations),
                   "evolution"]  # fmt: skip
        killed = kill_again_and_again(command, log, options.kills, random.Random(options.seed))
        subprocess.run(command, cwd=ROOT, check=True)
        trials = sorted(SQLiteJournal.open(journal, {}, resume=True).news(), key=lambda trial: trial.number)
        times = Counter(log.read_text(encoding="utf-8").split())
    straight = run_search(
        CountingSpace(), score, budget=options.evaluations, strategy="evolution", predictor=None
    ).history  # fmt: skip
    row = {
        "kills": options.kills,
        "killed_at_work": killed,
        "evaluations": len(trials),
        "lost": sum(trial.state != "done" or trial.scores != (score(trial.spec),) for trial in trials),
        "twice_in_journal": len(trials) - len({trial.spec for trial in trials}),
        "evaluated_again": sum(times.values()) - len(times),
        "as_uninterrupted": [trial.spec for trial in trials] == [trial.spec for trial in straight],
    }
    with RESULT.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(row))
        writer.writeheader()
        writer.writerow(row)
    print(row)


def kill_again_and_again(command: list[str], log: Path, kills: int, rng: random.Random) -> int:
    """How many of the kills met a process at work."""
    killed = 0
    for turn in range(kills):
        before = log.stat().st_size if log.exists() else 0
        process = subprocess.Popen(command, cwd=ROOT)
        while process.poll() is None and (log.stat().st_size if log.exists() else 0) == before:
            time.sleep(0.001)
        time.sleep(rng.random() * 0.2)
        killed += process.poll() is None
        process.send_signal(signal.SIGKILL)
        process.wait()
        print(f"kill {turn + 1}", flush=True)
    return killed


if __name__ == "__main__":
    main()
