"""A benchmark that was killed goes on with what is missing, and makes nothing twice."""

from __future__ import annotations

import csv
from itertools import product
from pathlib import Path

import pytest

from benchmarks.resumable import append_missing

FIELDS = ("table", "seed", "found")
WANTED = list(product(("a", "b"), range(3)))


def test_rows_that_are_there_stay_and_the_rest_follows(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    made: list[tuple[str, int]] = []

    def run(table: str, seed: int) -> dict[str, object]:
        if len(made) == 4:
            raise KeyboardInterrupt
        made.append((table, seed))
        return {"table": table, "seed": seed, "found": f"{table}{seed}"}

    with pytest.raises(KeyboardInterrupt):
        append_missing(path, FIELDS, WANTED, run)
    assert path.read_text().count("table") == 1
    before, made[:] = list(made), []
    append_missing(path, FIELDS, WANTED, run)
    assert before + made == WANTED
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["found"] for row in rows] == ["a0", "a1", "a2", "b0", "b1", "b2"]
    made[:] = []
    append_missing(path, FIELDS, WANTED, run)
    assert made == []
