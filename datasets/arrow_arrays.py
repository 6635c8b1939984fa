"""Named arrays in one Arrow IPC file, memory-mapped when read.

Arrays of any length stand side by side: each is one cell of a one-row table, a large list of its type. Reading costs no
copy; nothing of the file is touched before it is used.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from archcast.datasets.atomic import atomic_path
from archcast.errors import DataError

Arrays = dict[str, NDArray[Any]]


def write_arrays(
    path: Path, arrays: Mapping[str, NDArray[Any]], texts: Mapping[str, list[str]], metadata: Mapping[str, str]
) -> None:
    """Write numeric arrays of any shape, lists of texts, and a few facts. The file appears complete or not at all.

    Raises:
        StorageError: it cannot be written.
    """
    columns = {name: _one_cell(pa.array(array.reshape(-1))) for name, array in arrays.items()}
    columns |= {name: _one_cell(pa.array(values, type=pa.string())) for name, values in texts.items()}
    shapes = {name: array.shape for name, array in arrays.items()}
    table = pa.table(columns).replace_schema_metadata({**metadata, "shapes": json.dumps(shapes)})
    with (
        atomic_path(path) as temporary,
        pa.OSFile(str(temporary), "wb") as sink,
        pa.ipc.new_file(sink, table.schema) as out,
    ):
        out.write_table(table)


def _one_cell(values: pa.Array) -> pa.Array:
    return pa.LargeListArray.from_arrays(pa.array([0, len(values)], type=pa.int64()), values)


def read_metadata(path: Path) -> dict[str, str]:
    """The facts written with `write_arrays`, without touching the arrays.

    Raises:
        DataError: the file is truncated or not one of ours.
    """
    return _open(path)[1]


def read_arrays(path: Path) -> tuple[Arrays, dict[str, list[str]], dict[str, str]]:
    """What `write_arrays` wrote: read-only arrays (views of the mapped file), texts, facts.

    Raises:
        DataError: the file is truncated or not one of ours.
    """
    batch, metadata = _open(path)
    try:
        shapes = json.loads(metadata.pop("shapes"))
        arrays: Arrays = {}
        texts: dict[str, list[str]] = {}
        for name, column in zip(batch.schema.names, batch.columns, strict=True):
            if name in shapes:
                arrays[name] = column.values.to_numpy(zero_copy_only=True).reshape(shapes[name])
            else:
                texts[name] = column.values.to_pylist()
    except (pa.ArrowException, ValueError, KeyError) as error:
        raise DataError(f"{path} is damaged: {error}") from error
    return arrays, texts, metadata


def _open(path: Path) -> tuple[Any, dict[str, str]]:
    try:
        # The map stays open as long as an array refers to it.
        reader = pa.ipc.open_file(pa.memory_map(str(path)))
        batch = reader.get_batch(0)
        metadata = {key.decode(): value.decode() for key, value in (reader.schema.metadata or {}).items()}
    except (pa.ArrowException, OSError, IndexError, ValueError) as error:
        raise DataError(f"{path} is truncated or not an Arrow file: {error}") from error
    return batch, metadata


def narrow(values: NDArray[np.int64]) -> NDArray[Any]:
    """The same integers in the smallest signed type that holds them."""
    low, high = (int(values.min()), int(values.max())) if values.size else (0, 0)
    for kind in (np.int8, np.int16, np.int32):
        limits = np.iinfo(kind)
        if limits.min <= low and high <= limits.max:
            return values.astype(kind)
    return values
