"""Networks of a benchmark whose measurements are in measurements/, for scripts that rank them with proxies."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from archcast.proxies.tables import load_measurements


def thoroughly_measured(
    table_name: str, specs: Sequence[str], proxies: Sequence[str] | None = None, share: float = 1.0
) -> tuple[NDArray[np.int64], dict[str, NDArray[np.float64]]]:
    """Positions in `specs` of the networks measured most thoroughly, and their scores by proxy.

    Args:
        table_name: of measurements/NAME.parquet.
        specs: the networks of the benchmark.
        proxies: the proxies wanted; those the table has not are left out, and all of it are given without.
        share: how many of the scores of the best measured network a network must have.
    """
    table = load_measurements(table_name)
    names = [name for name in proxies or table.names if name in table.names]
    scores = np.stack([table.column(name) for name in names], axis=1).astype(np.float64)
    row_of = {spec: row for row, spec in enumerate(specs)}
    count = np.isfinite(scores).sum(axis=1)
    kept = [i for i, spec in enumerate(table.specs) if spec in row_of and count[i] >= share * count.max()]
    rows = np.asarray([row_of[table.specs[i]] for i in kept], dtype=np.int64)
    return rows, dict(zip(names, scores[kept].T, strict=True))
