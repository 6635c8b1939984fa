"""The TFRecord reader, on small files in the official format that these tests write themselves."""

from __future__ import annotations

import base64
import json
import struct
from pathlib import Path

import pytest

from archcast.datasets.benchmark import load_benchmark
from archcast.datasets.labels_nasbench101_full import CONVERTED, TABLE, final_metrics, read_records, tfrecords
from archcast.errors import DataError, MissingDataError

CELLS = {
    "aa": ("0110" "0001" "0001" "0000", "input,conv3x3-bn-relu,maxpool3x3,output", 200_000),
    "bb": ("011001000", "input,conv1x1-bn-relu,output", 2**31 - 1),
}  # fmt: skip


def crc32c(data: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def masked(data: bytes) -> bytes:
    crc = crc32c(data)
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)


def framed(record: bytes) -> bytes:
    length = struct.pack("<Q", len(record))
    return length + masked(length) + record + masked(record)


def varint(value: int) -> bytes:
    out = b""
    while value > 127:
        out += bytes([value & 127 | 128])
        value >>= 7
    return out + bytes([value])


def metrics(validation: float, test: float, params: int) -> bytes:
    def evaluation(val: float, tst: float) -> bytes:
        doubles = b"".join(bytes([n << 3 | 1]) + struct.pack("<d", v) for n, v in enumerate((1, 2, 3, val, tst), 1))
        path = b"checkpoint/" + b"x" * 150
        body = doubles + b"\x32" + varint(len(path)) + path
        return b"\x0a" + varint(len(body)) + body

    evaluations = evaluation(0.1, 0.1) + evaluation(0.5, 0.5) + evaluation(validation, test)
    return evaluations + b"\x10" + varint(params) + b"\x19" + struct.pack("<d", 12.5)


def record(cell: str, epochs: int, validation: float, test: float) -> bytes:
    matrix, operations, params = CELLS[cell]
    encoded = base64.b64encode(metrics(validation, test, params)).decode()
    return json.dumps([cell, epochs, matrix, operations, encoded]).encode()


def official_file(path: Path) -> Path:
    runs = [("aa", 0.90, 0.89), ("aa", 0.91, 0.90), ("bb", 0.80, 0.79), ("aa", 0.92, 0.91), ("bb", 0.81, 0.80)]
    records = [record(cell, 108, *accuracies) for cell, *accuracies in runs]
    records.insert(1, record("aa", 4, 0.3, 0.3))
    path.write_bytes(b"".join(map(framed, records)))
    return path


def test_records_become_one_row_a_cell(tmp_path: Path) -> None:
    frame = read_records(official_file(tmp_path / TABLE))
    assert frame["arch"].tolist() == ["0110000100010000:i-c3-mp-o", "011001000:i-c1-o"]
    assert frame["params"].tolist() == [200_000, 2**31 - 1]
    assert frame[["val_0", "val_1", "val_2"]].to_numpy()[0].tolist() == [0.90, 0.91, 0.92]
    assert frame.loc[1, "test_1"] == 0.80
    assert frame.iloc[1].isna().tolist().count(True) == 2


def test_benchmark_reads_and_keeps_the_converted_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARCHCAST_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("ARCHCAST_DATA", str(tmp_path))
    with pytest.raises(MissingDataError, match="archcast datasets fetch nasbench101-full"):
        load_benchmark("nasbench101-full")
    official_file(tmp_path / TABLE)
    bench = load_benchmark("nasbench101-full")
    assert bench.scores.tolist() == pytest.approx([90.0, 79.5])
    assert (bench.space.name, bench.kind, bench.columns["params"].tolist()) == (
        "nasbench101",
        "test",
        [200_000, 2**31 - 1],
    )
    assert len(bench.graphs(cache=False)) == 2
    kept = tmp_path / "home" / "datasets" / CONVERTED
    assert kept.is_file()
    monkeypatch.setattr("archcast.datasets.labels_nasbench101_full.read_records", lambda _: pytest.fail("read again"))
    assert load_benchmark("nasbench101-full", metric="val").scores.tolist() == pytest.approx([91.0, 80.5])


@pytest.mark.parametrize("cut", [1, 5, 200, 700])
def test_truncated_file_is_refused(tmp_path: Path, cut: int) -> None:
    path = official_file(tmp_path / TABLE)
    path.write_bytes(path.read_bytes()[:-cut])
    with pytest.raises(DataError, match="cut off"):
        list(tfrecords(path))


@pytest.mark.parametrize(
    "content",
    [b"", framed(b"not json"), framed(b'["aa", 108]'), framed(b'["aa", 108, "011001000", "input,output", "AAAA"]')],
    ids=["empty", "no json", "short row", "no metrics"],
)
def test_other_records_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / TABLE
    path.write_bytes(content)
    with pytest.raises(DataError, match="fetch the file again"):
        read_records(path)


def test_unknown_operation_is_refused(tmp_path: Path) -> None:
    path = tmp_path / TABLE
    encoded = base64.b64encode(metrics(0.9, 0.9, 7)).decode()
    path.write_bytes(framed(json.dumps(["aa", 108, "011001000", "input,conv7x7,output", encoded]).encode()))
    with pytest.raises(DataError, match="conv7x7"):
        read_records(path)


def test_last_evaluation_counts() -> None:
    assert final_metrics(metrics(0.25, 0.75, 300)) == (0.25, 0.75, 300)
