"""`append_missing`: a CSV that a killed benchmark goes on with."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any


def append_missing(
    path: Path, fields: Sequence[str], wanted: Iterable[tuple[Any, ...]], run: Callable[..., Mapping[str, Any]]
) -> None:
    """Append the row `run(*key)` to the CSV at `path` for every key of `wanted` that it lacks, each one at once.

    Args:
        fields: the columns; as many of the first as a key has are the key.
    """
    finished: list[dict[str, str]] = []
    if path.exists():
        with path.open(newline="") as file:
            finished = list(csv.DictReader(file))
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, fields)
        if not finished:
            writer.writeheader()
        for key in wanted:
            named = dict(zip(fields, map(str, key), strict=False))
            if not any(named.items() <= row.items() for row in finished):
                writer.writerow(run(*key))
                file.flush()
