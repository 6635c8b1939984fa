"""`MeasurementTable`: measurements of the networks of a pool as one Parquet file, small enough for git.

Columns: `spec`; one float32 column per proxy with its score; and one list of float16 per proxy with its values at the
nodes of the graph that was measured, `node:NAME`, on a signed logarithmic scale (`compress`). What was measured, and
how, stands in the metadata of the file.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from archcast.datasets.atomic import atomic_path
from archcast.errors import DataError, MissingDataError
from archcast.proxies.signed_log import SMALLEST, signed_log

FOLDER: Final = Path(__file__).resolve().parent.parent / "measurements"
"""Where the tables of the benchmarks are, in a checkout."""

_NODE = "node:"


@dataclass(frozen=True, eq=False)
class MeasurementTable:
    """Measurements of many networks of one pool.

    Attributes:
        specs: `[n]` the networks.
        names: `[S]` the proxies.
        scores: `[n, S]` scores, higher is better, NaN where there is none.
        nodes: proxy -> `[N]` its values at all nodes of all networks one behind the other, NaN where it has none.
        ptr: `[n + 1]` network i owns the nodes `ptr[i]:ptr[i + 1]`.
        about: how it was measured: benchmark, batch, seed, input shape ...
    """

    specs: tuple[str, ...]
    names: tuple[str, ...]
    scores: NDArray[np.float32]
    nodes: Mapping[str, NDArray[np.float32]]
    ptr: NDArray[np.int64]
    about: Mapping[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.specs)

    def column(self, name: str) -> NDArray[np.float32]:
        """`[n]` the scores of one proxy."""
        result: NDArray[np.float32] = self.scores[:, self.names.index(name)]
        return result


def compress(values: NDArray[Any]) -> NDArray[np.float16]:
    """sign(x) log(1 + |x| / 1e-6): float16 then keeps about two digits of anything from 1e-6 to 1e22."""
    return signed_log(values).astype(np.float16)


def expand(values: NDArray[np.float16]) -> NDArray[np.float32]:
    """The inverse of `compress`."""
    wide = values.astype(np.float64)
    return np.asarray(np.sign(wide) * np.expm1(np.abs(wide)) * SMALLEST, dtype=np.float32)


def write_table(path: Path, table: MeasurementTable) -> None:
    """Write `table` to `path`, whole or not at all."""
    columns: dict[str, Any] = {"spec": pa.array(table.specs)}
    for index, name in enumerate(table.names):
        columns[name] = pa.array(table.scores[:, index].astype(np.float32))
    offsets = pa.array(table.ptr.astype(np.int32))
    for name, values in table.nodes.items():
        columns[_NODE + name] = pa.ListArray.from_arrays(offsets, pa.array(compress(values)))
    arrow = pa.table(columns).replace_schema_metadata({"archcast": json.dumps(dict(table.about))})
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as partial:
        pq.write_table(arrow, partial, compression="zstd", compression_level=15)


def read_table(path: Path) -> MeasurementTable:
    """The table at `path`.

    Raises:
        MissingDataError: there is none.
        DataError: it is damaged or something else.
    """
    if not path.is_file():
        raise MissingDataError(f"no measurements at {path}; make them with `python -m benchmarks.measurements`")
    try:
        arrow = pq.read_table(path)
        about = json.loads((arrow.schema.metadata or {})[b"archcast"])
        node_names = [name for name in arrow.column_names if name.startswith(_NODE)]
        names = tuple(name for name in arrow.column_names if name != "spec" and name not in node_names)
        scores = np.stack([arrow[name].to_numpy() for name in names], axis=1)
        nodes, ptr = {}, np.zeros(arrow.num_rows + 1, dtype=np.int64)
        for name in node_names:
            lists = arrow[name].combine_chunks()
            ptr = np.asarray(lists.offsets.to_numpy(), dtype=np.int64)
            nodes[name.removeprefix(_NODE)] = expand(lists.values.to_numpy(zero_copy_only=False))
        return MeasurementTable(tuple(arrow["spec"].to_pylist()), names, scores, nodes, ptr, about)
    except (pa.ArrowException, KeyError, ValueError, OSError) as error:
        raise DataError(f"{path} is damaged or no table of measurements ({error}); make it anew") from error


def load_measurements(benchmark: str) -> MeasurementTable:
    """The table of the networks of a benchmark.

    Raises:
        MissingDataError: it was not made.
    """
    return read_table(FOLDER / f"{benchmark}.parquet")


def concatenate(tables: Sequence[MeasurementTable]) -> MeasurementTable:
    """One table of all networks; the tables were measured in the same way.

    Raises:
        DataError: they hold other proxies or were measured in another way.
    """
    first = tables[0]
    if any(table.names != first.names or dict(table.about) != dict(first.about) for table in tables):
        raise DataError("the tables were measured in different ways and cannot be joined")
    node_names = [name for name in first.names if any(name in table.nodes for table in tables)]
    nodes = {
        name: np.concatenate([
            table.nodes.get(name, np.full(int(table.ptr[-1]), np.nan, dtype=np.float32)) for table in tables
        ])
        for name in node_names
    }  # fmt: skip
    counts = np.concatenate([np.diff(table.ptr) for table in tables])
    ptr = np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)])
    specs = tuple(spec for table in tables for spec in table.specs)
    scores = np.concatenate([table.scores for table in tables])
    return MeasurementTable(specs, first.names, scores, nodes, ptr, first.about)


def table_of(
    specs: Sequence[str], names: Sequence[str], measured: Sequence[Any], about: Mapping[str, Any]
) -> MeasurementTable:
    """A table from `Measurements` in the order of `specs`; None for a network that could not be measured.

    A proxy that was not asked for at a network is NaN there.
    """
    kept = [name for name in names if any(m is not None and name in m.nodes for m in measured)]
    counts = [0 if m is None else len(m.ops) for m in measured]
    scores = [[np.nan if m is None else m.scores.get(name, np.nan) for name in names] for m in measured]
    nodes = {}
    for name in kept:
        parts = [
            m.nodes.get(name, np.full(count, np.nan))
            for m, count in zip(measured, counts, strict=True)
            if m is not None
        ]
        nodes[name] = np.concatenate(parts).astype(np.float32)
    ptr = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    return MeasurementTable(tuple(specs), tuple(names), np.asarray(scores, dtype=np.float32), nodes, ptr, dict(about))
