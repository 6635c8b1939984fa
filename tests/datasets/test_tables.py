"""User tables: three formats round-trip, and each kind of bad input has its own error."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from archcast.datasets.tables import read_table, write_table
from archcast.errors import ArchcastError, DataError, MissingDataError, StorageError, UnknownNameError

GOOD = "arch,score,task\n02012100,91.5,cifar10\ntimm:resnet50,80.25,cifar10\n"


def write(tmp_path: Path, text: str | bytes, name: str = "table.csv") -> Path:
    path = tmp_path / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


@pytest.mark.parametrize("name", ["t.csv", "t.parquet", "t.jsonl", "T.CSV"])
def test_round_trip_is_exact(tmp_path: Path, name: str) -> None:
    archs = ["02012100", "|a~0|+|b, c~0|", 'quoted "x"', "schön"]
    scores = np.array([1 / 3, -2e-17, 93.12666320800781, 4.0])
    path = write_table(tmp_path / "new" / name, archs, scores, {"task": "cifar10", "params": [1, 2, 3, 4]})
    table = read_table(path)
    assert table.archs == tuple(archs)
    assert np.array_equal(table.scores, scores)
    assert table.task == "cifar10"
    assert table.extra["params"].tolist() == [1, 2, 3, 4]
    assert [entry.name for entry in path.parent.iterdir()] == [name]


def test_digits_stay_text_and_a_byte_order_mark_is_read(tmp_path: Path) -> None:
    table = read_table(write(tmp_path, b"\xef\xbb\xbf" + GOOD.encode()))
    assert table.archs == ("02012100", "timm:resnet50")
    assert repr(table) == "Table(2 architectures: cifar10)"


def test_equal_duplicates_are_merged(tmp_path: Path) -> None:
    table = read_table(write(tmp_path, "arch,score\na,1\nb,2\na,1.0\n"))
    assert table.archs == ("a", "b")


def test_choice_of_task_and_split(tmp_path: Path) -> None:
    path = write(tmp_path, "arch,score,task,split\na,1,x,train\na,2,y,train\nb,3,x,test\n")
    table = read_table(path, task="x")
    assert table.archs == ("a", "b")
    assert table.rows_of_split("test").tolist() == [1]
    assert read_table(path, task="x", split="train").split == "train"
    with pytest.raises(UnknownNameError, match="'train', 'test'"):
        table.rows_of_split("valid")


BAD_CSV = {
    "empty": ("", "holds no rows"),
    "header only": ("arch,score\n", "holds no rows"),
    "no score": ("arch,accuracy\na,1\n", "no column 'score'; its columns are 'arch', 'accuracy'"),
    "no arch": ("network,score\na,1\n", "no column 'arch'"),
    "two scores": ("arch,score,score\na,1,2\n", "column 'score' twice"),
    "nan": ("arch,score\na,1\nb,nan\n", "row 2 has 'nan'"),
    "inf": ("arch,score\na,inf\n", "row 1 has 'inf'"),
    "minus inf": ("arch,score\na,-inf\n", "row 1 has '-inf'"),
    "blank score": ("arch,score\na,1\nb,\n", "row 2 has ''"),
    "text score": ("arch,score\na,high\nb,1\nc,91%\n", "row 1 has 'high', row 3 has '91%'"),
    "many bad": ("arch,score\n" + "".join(f"a{i},x\n" for i in range(9)), "and 4 more"),
    "overflow": ("arch,score\na,1e999\n", "row 1 has '1e999'"),
    "blank arch": ("arch,score\n ,1\n", "arch must be text, but row 1"),
    "conflict": ("arch,score\na,1\nb,2\na,3\n", "'a' has score 1 in row 1 and score 3 in row 3"),
    "short row": ("arch,score\na\n", "row 1: 1 values for 2 columns"),
    "long row": ("arch,score\na,1\nb,2,3\n", "row 2: 3 values for 2 columns"),
    "unquoted comma": ("arch,score\nop(a, b),2\n", "quote commas"),
    "mixed tasks": ("arch,score,task\na,1,x\nb,2,y\n", "mixes several values of task: 'x', 'y'"),
    "mixed devices": ("arch,score,device\na,1,cpu\nb,2,gpu\n", "Choose one with device="),
}


@pytest.mark.parametrize(("text", "message"), BAD_CSV.values(), ids=BAD_CSV.keys())
def test_bad_csv(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataError) as caught:
        read_table(write(tmp_path, text))
    assert message in str(caught.value)
    assert "table.csv" in str(caught.value)


BAD_JSONL = {
    "broken": ('{"arch": "a", "score": 1}\n{"arch": "b", "sco', "line 2: not JSON"),
    "list": ('["a", 1]\n', "line 1: list instead of a JSON object"),
    "null score": ('{"arch": "a", "score": null}\n', "row 1 has None"),
    "true": ('{"arch": "a", "score": true}\n', "true or false"),
    "nested score": ('{"arch": "a", "score": [1]}\n', "row 1 has [1]"),
    "number as arch": ('{"arch": 2012100, "score": 1}\n', "arch must be text, but row 1 has 2012100"),
    "missing key": ('{"arch": "a", "score": 1}\n{"arch": "b"}\n', "row 2 has nan"),
    "empty": ("", "holds no rows"),
    "deep": ("[" * 100_000, "line 1: not JSON"),
}


@pytest.mark.parametrize(("text", "message"), BAD_JSONL.values(), ids=BAD_JSONL.keys())
def test_bad_jsonl(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataError) as caught:
        read_table(write(tmp_path, text, "table.jsonl"))
    assert message in str(caught.value)


def test_truncated_parquet(tmp_path: Path) -> None:
    path = write_table(tmp_path / "t.parquet", ["a", "b"], [1.0, 2.0])
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DataError, match="truncated or not a Parquet file"):
        read_table(path)


def test_parquet_with_text_scores_and_numeric_archs(tmp_path: Path) -> None:
    pd.DataFrame({"arch": ["a"], "score": ["good"]}).to_parquet(tmp_path / "t.parquet")
    with pytest.raises(DataError, match="row 1 has 'good'"):
        read_table(tmp_path / "t.parquet")
    pd.DataFrame({"arch": [7], "score": [1.0]}).to_parquet(tmp_path / "t.parquet")
    with pytest.raises(DataError, match="arch must be text"):
        read_table(tmp_path / "t.parquet")


def test_wrong_encoding(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="not UTF-8 text"):
        read_table(write(tmp_path, "arch,score\nschön,1\n".encode("latin-1")))
    with pytest.raises(DataError):
        read_table(write(tmp_path, GOOD.encode("utf-16")))


def test_unknown_ending_folder_and_absent_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"unknown file ending '\.xlsx'; use one of \.csv, \.parquet, \.jsonl"):
        read_table(write(tmp_path, GOOD, "table.xlsx"))
    with pytest.raises(DataError, match="is a folder"):
        read_table(tmp_path)
    with pytest.raises(MissingDataError, match=r"there is no table at .*gone\.csv"):
        read_table(tmp_path / "gone.csv")


def test_unknown_choices_list_the_values(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD)
    with pytest.raises(UnknownNameError, match="there are: 'cifar10'"):
        read_table(path, task="mnist")
    with pytest.raises(UnknownNameError, match="no column 'device'"):
        read_table(path, device="cpu")


@pytest.mark.parametrize(
    ("archs", "scores", "message"),
    [
        (["a", "b"], [1.0], "2 architectures but 1 scores"),
        (["a"], [float("nan")], "row 1 has nan"),
        (["a", "a"], [1.0, 2.0], "score 1 in row 1 and score 2 in row 2"),
        ([""], [1.0], "arch must be text"),
    ],
)
def test_unusable_values_are_not_written(tmp_path: Path, archs: list[str], scores: list[float], message: str) -> None:
    with pytest.raises(DataError, match=message):
        write_table(tmp_path / "t.csv", archs, scores)
    assert list(tmp_path.iterdir()) == []


def test_extra_columns_of_wrong_length_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="2 architectures but 3 values of 'params'"):
        write_table(tmp_path / "t.csv", ["a", "b"], [1.0, 2.0], {"params": [1, 2, 3]})


def test_failed_write_keeps_the_old_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_table(tmp_path / "t.csv", ["a"], [1.0])

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pd.DataFrame, "to_csv", full)
    with pytest.raises(StorageError, match="No space left"):
        write_table(path, ["b"], [2.0])
    assert read_table(path).archs == ("a",)
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(StorageError):
        write_table(path / "below" / "t.jsonl", ["b"], [2.0])


def test_every_error_is_ours() -> None:
    assert issubclass(DataError, ArchcastError)
    assert issubclass(DataError, ValueError)
    assert issubclass(MissingDataError, FileNotFoundError)
