"""Networks of a benchmark whose measurements are in measurements/, for scripts that rank them with proxies."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from archcast.proxies.tables import load_measurements
from benchmarks.measurements import FAST, POOLS


def thoroughly_measured(
    table_name: str, specs: Sequence[str], proxies: Sequence[str] | None = None
) -> tuple[NDArray[np.int64], dict[str, NDArray[np.float64]]]:
    """Positions in `specs` of the networks measured most thoroughly, and their scores by proxy.

    Networks through which nothing flows stay: many of their proxies are missing, which ranks them last. Left out are
    those of which no proxy is known, and those that were measured with the fast proxies only where others had all.

    Args:
        table_name: of measurements/NAME.parquet.
        specs: the networks of the benchmark.
        proxies: the proxies wanted; those the table has not are left out, and all of it are given without.
    """
    table = load_measurements(table_name)
    names = [name for name in proxies or table.names if name in table.names]
    known = np.isfinite(np.stack([table.column(name) for name in names], axis=1))
    if POOLS[table_name].thorough is not None:
        slow = [name for name in table.names if name not in FAST]
        known &= np.isfinite(np.stack([table.column(name) for name in slow], axis=1)).any(axis=1, keepdims=True)
    row_of = {spec: row for row, spec in enumerate(specs)}
    kept = [i for i, spec in enumerate(table.specs) if spec in row_of and known[i].any()]
    rows = np.asarray([row_of[table.specs[i]] for i in kept], dtype=np.int64)
    return rows, {name: table.column(name)[kept].astype(np.float64) for name in names}
