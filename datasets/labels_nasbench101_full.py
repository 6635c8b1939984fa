"""All 423,624 cells of NAS-Bench-101 at 108 epochs, from the official `nasbench_only108.tfrecord`.

Neither TensorFlow nor compiled protocol buffers are needed. A TFRecord file is a chain of

    uint64 length, uint32 checksum of it, `length` bytes, uint32 checksum of those

and each record is a JSON list `[hash, epochs, "0110...", "input,conv3x3-bn-relu,...", base64 of ModelMetrics]`,
where `ModelMetrics` holds `repeated EvaluationData evaluation_data = 1; int32 trainable_parameters = 2` and
`EvaluationData` the doubles `validation_accuracy = 4`, `test_accuracy = 5`. The last evaluation is the trained network.
The checksums are not tested again: `archcast datasets fetch` compares the SHA-256 of the whole file.
"""

from __future__ import annotations

import base64
import binascii
import json
import logging
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from tqdm.auto import tqdm

from archcast.datasets.atomic import atomic_path
from archcast.datasets.home import download_folder, find_table
from archcast.datasets.labels import LabelSource, LabelTable, Measurement
from archcast.datasets.labels_nasbench101 import cell_spec
from archcast.datasets.labels_parquet import read_parquet
from archcast.errors import DataError, StorageError

TABLE = "nasbench_only108.tfrecord"
CONVERTED = "nasbench_only108.parquet"
EPOCHS = 108

_logger = logging.getLogger(__name__)


def read(_task: str, measurement: Measurement) -> LabelTable:
    source = find_table("nasbench101-full", [TABLE])
    frame = converted(source, download_folder() / CONVERTED)
    columns = [name for name in frame.columns if name.startswith(f"{measurement.kind}_")]
    return LabelTable(
        tuple(frame["arch"]),
        frame[columns].to_numpy(np.float64) * 100.0,
        {"params": frame["params"].to_numpy(np.int64)},
    )


def converted(source: Path, target: Path) -> pd.DataFrame:
    """The table of `source`, kept as Parquet at `target` because reading the records takes about a minute."""
    stamp = f"{source.stat().st_size} bytes"
    if target.is_file() and (pq.read_metadata(target).metadata or {}).get(b"source") == stamp.encode():
        return read_parquet(target)
    frame = read_records(source)
    table = pa.Table.from_pandas(frame, preserve_index=False).replace_schema_metadata({"source": stamp})
    try:
        with atomic_path(target) as temporary:
            pq.write_table(table, temporary)
    except StorageError as error:
        _logger.warning("the converted table of %s is not kept: %s", source.name, error)
    return frame


def read_records(path: Path) -> pd.DataFrame:
    """One row per cell: `arch`, `params`, and `val_0` ... `test_2` as fractions of 1, NaN where a run is missing.

    Raises:
        DataError: the file is truncated or holds something else.
    """
    cells: dict[str, dict[str, Any]] = {}
    progress = tqdm(tfrecords(path), desc=f"reading {path.name}", unit=" records", leave=False)
    for number, record in enumerate(progress):
        try:
            digest, epochs, matrix, operations, metrics = json.loads(record)
            validation, test, params = final_metrics(base64.b64decode(metrics))
        except (ValueError, TypeError, IndexError, struct.error, binascii.Error) as error:
            raise DataError(
                f"{path}: record {number} is not of NAS-Bench-101 ({error}); fetch the file again"
            ) from error
        if epochs != EPOCHS:
            continue
        cell = cells.setdefault(digest, {"arch": (matrix, operations), "params": params, "val": [], "test": []})
        cell["val"].append(validation)
        cell["test"].append(test)
    if not cells:
        raise DataError(f"{path} holds no cell trained for {EPOCHS} epochs; fetch the file again")
    return _frame(list(cells.values()))


def _frame(cells: list[dict[str, Any]]) -> pd.DataFrame:
    columns: dict[str, Any] = {
        "arch": [cell_spec(matrix, operations.split(",")) for matrix, operations in (cell["arch"] for cell in cells)],
        "params": [cell["params"] for cell in cells],
    }
    runs = max(len(cell["val"]) for cell in cells)
    for kind in ("val", "test"):
        for run in range(runs):
            columns[f"{kind}_{run}"] = [cell[kind][run] if run < len(cell[kind]) else np.nan for cell in cells]
    return pd.DataFrame(columns)


def tfrecords(path: Path) -> Iterator[bytes]:
    """The records of a TFRecord file.

    Raises:
        DataError: the file ends inside a record.
    """
    left = path.stat().st_size
    with path.open("rb") as file:
        while left:
            header = file.read(12)
            size = struct.unpack("<Q", header[:8])[0] if len(header) == 12 else left
            left -= 16 + size
            if left < 0:
                raise DataError(f"{path} ends inside a record: the download was cut off; fetch it again")
            yield file.read(size)
            file.seek(4, 1)


def final_metrics(message: bytes) -> tuple[float, float, int]:
    """Validation accuracy, test accuracy and parameters from a serialised `ModelMetrics`."""
    fields = list(_protobuf_fields(message))
    evaluation = dict(_protobuf_fields([value for number, value in fields if number == 1][-1]))
    params = next(value for number, value in fields if number == 2)
    return evaluation[4], evaluation[5], params


def _protobuf_fields(message: bytes) -> Iterator[tuple[int, Any]]:
    """Field numbers and values: integers, doubles, or the bytes of nested messages and strings."""
    position = 0
    while position < len(message):
        tag, position = _varint(message, position)
        match tag & 7:
            case 0:
                value, position = _varint(message, position)
                yield tag >> 3, value
            case 1:
                yield tag >> 3, struct.unpack_from("<d", message, position)[0]
                position += 8
            case 2:
                size, position = _varint(message, position)
                if position + size > len(message):
                    raise ValueError("a nested message is cut off")
                yield tag >> 3, message[position : position + size]
                position += size
            case kind:
                raise ValueError(f"wire type {kind} does not occur in ModelMetrics")


def _varint(message: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[position]
        position += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, position
        shift += 7


SOURCE = LabelSource(
    tasks=("cifar10",),
    measurements=(Measurement("test", EPOCHS), Measurement("val", EPOCHS)),
    read=read,
    space="nasbench101",
)
