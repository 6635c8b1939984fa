"""Label readers: official formats are read, damaged files are refused with a specific error."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from archcast.datasets.benchmark import load_benchmark
from archcast.datasets.labels import LabelTable
from archcast.datasets.labels_macro import read_file as read_macro
from archcast.datasets.labels_nasbench201 import load_plain_pickle
from archcast.datasets.labels_nats_sss import read_file as read_nats
from archcast.errors import DataError, MissingDataError


class Payload:
    """What a hostile pickle would run: it makes a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (os.mkdir, (str(self.folder),))


def test_hostile_pickle_is_refused_and_not_run(tmp_path: Path) -> None:
    path, folder = tmp_path / "labels.pkl", tmp_path / "made"
    path.write_bytes(pickle.dumps({"000000": Payload(folder)}))
    with pytest.raises(DataError, match=rf"asks for {os.name}\.mkdir"):
        load_plain_pickle(path)
    assert not folder.exists()
    pickle.loads(path.read_bytes())
    assert folder.exists()  # it would have been run


def test_truncated_pickle_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "labels.pkl"
    path.write_bytes(pickle.dumps({"000000": [1.0, 2.0]})[:-4])
    with pytest.raises(DataError, match="cannot read"):
        load_plain_pickle(path)


def test_macro_official_format(tmp_path: Path) -> None:
    entries = {
        "10000000": {"test_acc": [90.0, 91.0, 92.0], "mean_acc": 91.0, "std": 0.8, "params": 7, "flops": 9},
        "00000000": {"test_acc": [80.0, 81.0, 82.0], "mean_acc": 81.0, "std": 0.8, "params": 5, "flops": 6},
    }
    path = tmp_path / "table.json"
    path.write_text(json.dumps(entries))
    table = read_macro(path)
    assert table.specs == ("00000000", "10000000")
    assert table.per_seed.tolist() == [[80.0, 81.0, 82.0], [90.0, 91.0, 92.0]]
    assert table.columns["params"].tolist() == [5, 7]
    assert table.columns["macs"].tolist() == [6, 9]


@pytest.mark.parametrize(
    "text",
    ["", '{"00000000": {"test_acc": [1, 2', "[1, 2]", '{"00000000": {"params": 1}}', '{"0": {"test_acc": "high"}}'],
    ids=["empty", "truncated", "list", "no accuracy", "text"],
)
def test_damaged_macro_table_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "table.json"
    path.write_text(text)
    with pytest.raises(DataError, match="fetch it again"):
        read_macro(path)


def test_nats_official_list_and_csv_agree(tmp_path: Path) -> None:
    official, tidy = tmp_path / "nats.yml", tmp_path / "nats.csv"
    official.write_text("'8:8:8:8:16': 82.56\n8:8:8:8:64: 86.85\n'8:8:8:8:8': 79.79\n")
    tidy.write_text("arch,acc\n8:8:8:8:8,79.79\n8:8:8:8:16,82.56\n8:8:8:8:64,86.85\n")
    left, right = read_nats(official), read_nats(tidy)
    assert left.specs == right.specs == ("8:8:8:8:8", "8:8:8:8:16", "8:8:8:8:64")
    assert left.per_seed.tolist() == right.per_seed.tolist() == [[79.79], [82.56], [86.85]]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("nats.csv", "arch,score\n8:8:8:8:8,79.79\n"),
        ("nats.csv", "arch,acc\n8:8:8:8:8,high\n"),
        ("nats.csv", "arch,acc\n8:8:8:8:8,1\n8:8:8:8:8,2\n"),
        ("nats.yml", "'8:8:8:8:8': 79.79\n'8:8:8"),
    ],
    ids=["no acc column", "text score", "twice", "truncated"],
)
def test_damaged_nats_table_is_refused(tmp_path: Path, name: str, text: str) -> None:
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(DataError, match="fetch it again"):
        read_nats(path)


def test_label_table_rejects_duplicates_wrong_lengths_and_empty_rows() -> None:
    with pytest.raises(DataError, match="'a' occurs 2 times"):
        LabelTable(("a", "b", "a"), np.ones((3, 1)))
    with pytest.raises(DataError, match="2 architectures but scores of shape"):
        LabelTable(("a", "b"), np.ones((3, 1)))
    with pytest.raises(DataError, match=r"'b' \(row 1\) has no finite score"):
        LabelTable(("a", "b"), np.array([[1.0, np.nan], [np.nan, np.inf]]))


def test_nasbench201_table_must_hold_the_whole_space(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARCHCAST_DATA", str(tmp_path))
    path = tmp_path / "nasbench201_accuracy.parquet"
    pd.DataFrame({"cellstr": ["|none~0|"], "cifar10-test": [50.0]}).to_parquet(path)
    with pytest.raises(DataError, match="not the 15,625 cells"):
        load_benchmark("nasbench201", metric="test")
    pd.DataFrame({"cellstr": ["|none~0|"]}).to_parquet(path)
    with pytest.raises(DataError, match="no column 'cifar10-test'"):
        load_benchmark("nasbench201", metric="test")
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(DataError, match="truncated or not a Parquet file"):
        load_benchmark("nasbench201", metric="test")


@pytest.mark.parametrize("name", ["nas-bench-macro", "nats-sss"])
def test_absent_tables_tell_the_command(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARCHCAST_DATA", str(tmp_path))
    with pytest.raises(MissingDataError, match=f"archcast datasets fetch {name}") as caught:
        load_benchmark(name)
    assert str(tmp_path) in str(caught.value)


@pytest.mark.shared
def test_macro_optimum_and_ceiling() -> None:
    bench = load_benchmark("nas-bench-macro")
    assert len(bench) == 6561
    assert bench.scores[bench.specs.index("22212220")] == bench.scores.max() == pytest.approx(93.1267, abs=1e-3)
    assert bench.noise_ceiling() == pytest.approx(0.881, abs=0.003)


@pytest.mark.shared
def test_nasbench101_defaults_to_the_longest_training_and_parses() -> None:
    bench = load_benchmark("nasbench101")
    assert len(bench) == 23_142
    assert bench.metric == "test accuracy after 108 epochs"
    assert bench.noise_ceiling() == pytest.approx(0.825, abs=0.002)
    assert 9.0 < bench.scores.min() < bench.scores.max() < 95.0
    assert all(bench.space.contains(spec) for spec in bench.specs[::500])
    assert load_benchmark("nasbench101", metric="val", epochs=4).kind == "val"


@pytest.mark.shared
def test_nats_is_the_whole_space() -> None:
    bench = load_benchmark("nats-sss")
    assert len(bench) == 32_768
    assert bench.scores.max() == pytest.approx(93.65)
    assert all(bench.space.contains(spec) for spec in bench.specs[::1000])
