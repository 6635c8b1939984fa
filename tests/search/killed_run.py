"""A search in a process of its own, to be killed: `python -m tests.search.killed_run JOURNAL LOG BUDGET STRATEGY`."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from archcast.search.run import run_search
from tests.search.toy import CountingSpace, score


def main() -> None:
    journal, log, budget, strategy = sys.argv[1:]

    def evaluate(spec: str) -> float:
        time.sleep(0.005)
        with Path(log).open("a", encoding="utf-8") as file:
            file.write(f"{spec}\n")
        return score(spec)

    run_search(
        CountingSpace(), evaluate, budget=int(budget), strategy=strategy, predictor=None, journal=journal, resume=True
    )  # fmt: skip


if __name__ == "__main__":
    main()
