"""`read_table` and `write_table`: a user's own measurements as CSV, Parquet or JSON lines.

A table has the columns `arch` (any network name or spec, text) and `score` (a finite number, higher is better), and
may have `task`, `metric`, `device`, `split`. Other columns are kept as they are. Row numbers in error messages count
data rows from 1, in the order of the file, without the header.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd

from archcast.datasets.atomic import atomic_path
from archcast.datasets.labels import FloatArray
from archcast.datasets.labels_parquet import read_parquet
from archcast.errors import DataError, MissingDataError, UnknownNameError
from archcast.graphs.graph import IntArray

REQUIRED = ("arch", "score")
OPTIONAL = ("task", "metric", "device", "split")
_SHOWN = 5
F = TypeVar("F")


@dataclass(frozen=True, eq=False)
class Table:
    """Architectures with one finite score each; equal rows were merged.

    Attributes:
        archs: the networks, each once.
        scores: `[n]`, higher is better.
        extra: the other columns, `[n]` rows.
        task, metric, device, split: the value that all rows share, "" where the table has no such column; `split` is
            "" also where rows differ.
    """

    archs: tuple[str, ...]
    scores: FloatArray
    extra: pd.DataFrame
    task: str = ""
    metric: str = ""
    device: str = ""
    split: str = ""

    def __len__(self) -> int:
        return len(self.archs)

    def __repr__(self) -> str:
        about = ", ".join(text for text in (self.task, self.metric, self.device, self.split) if text)
        return f"Table({len(self)} architectures{': ' if about else ''}{about})"

    def rows_of_split(self, name: str) -> IntArray:
        """Positions of the rows whose `split` is `name`.

        Raises:
            UnknownNameError: no row is; the message lists the splits there are.
        """
        values = self.extra["split"].astype(str) if "split" in self.extra else pd.Series([self.split] * len(self))
        rows = np.flatnonzero(values.to_numpy() == name)
        if not len(rows):
            known = ", ".join(repr(value) for value in pd.unique(values) if value) or "none"
            raise UnknownNameError(f"the table has no rows of split {name!r}; its splits are: {known}")
        return rows


def read_table(
    path: str | Path,
    *,
    task: str | None = None,
    metric: str | None = None,
    device: str | None = None,
    split: str | None = None,
) -> Table:
    """Read a table of measured networks. The file ending decides the format: .csv, .parquet, .jsonl.

    Args:
        task, metric, device, split: keep only the rows with this value in the column of that name. A table that
            mixes several tasks, metrics or devices can only be read with a choice, because their scores do not compare.

    Raises:
        MissingDataError: there is no file at `path`.
        DataError: the table cannot be used; the message names column and rows.
        UnknownNameError: no row has the chosen task, metric, device or split; the message lists the values.
    """
    path = Path(path)
    frame = _read_frame(path)
    _require_columns(path, frame)
    for column, value in {"task": task, "metric": metric, "device": device, "split": split}.items():
        frame = _select(path, frame, column, value)
    scores = _scores(path, frame)
    archs = _archs(path, frame)
    kept = _merge(path, archs, scores, frame.index.to_numpy())
    return Table(
        tuple(archs[row] for row in kept),
        scores[kept],
        frame.iloc[kept].drop(columns=list(REQUIRED)).reset_index(drop=True),
        **{column: _shared(frame, column) for column in OPTIONAL},
    )


def write_table(
    path: str | Path, archs: Sequence[str], scores: Sequence[float] | FloatArray, extra: Mapping[str, Any] | None = None
) -> Path:
    """Write a table that `read_table` reads back; the old file stays until the new one is complete.

    Raises:
        DataError: lengths differ, a score is not finite, a network occurs twice with different scores, or the ending of
            `path` is unknown.
        StorageError: the file cannot be written.
    """
    path = Path(path)
    if len(archs) != len(scores):
        raise DataError(f"{len(archs)} architectures but {len(scores)} scores; give one score for each")
    frame = pd.DataFrame({"arch": list(archs), "score": list(scores)})
    for column, values in (extra or {}).items():
        if not isinstance(values, str) and len(values) != len(frame):
            raise DataError(f"{len(frame)} architectures but {len(values)} values of {column!r}; give one for each")
        frame[column] = values
    write = _format(path, _WRITERS)
    _merge(path, _archs(path, frame), _scores(path, frame), frame.index.to_numpy())
    with atomic_path(path) as temporary:
        write(frame, temporary)
    return path


def _read_csv(path: Path) -> pd.DataFrame:
    # Not pd.read_csv: it turns specs such as 02012100 into numbers and accepts rows of any length.
    with path.open(newline="", encoding="utf-8-sig") as file:
        rows = [row for row in csv.reader(file, skipinitialspace=True) if row]
    header, body = (rows[0], rows[1:]) if rows else ([], [])
    for number, row in enumerate(body, start=1):
        if len(row) != len(header):
            raise DataError(
                f"{path}, row {number}: {len(row)} values for {len(header)} columns; quote commas in values"
            )
    frame = pd.DataFrame(body, columns=header, dtype=object)
    for column in set(header) - {*REQUIRED, *OPTIONAL}:
        if header.count(column) == 1:
            frame[column] = _numeric_if_possible(frame[column])
    return frame


def _numeric_if_possible(column: pd.Series[Any]) -> pd.Series[Any]:
    try:
        return pd.to_numeric(column)
    except ValueError:
        return column


def _read_jsonl(path: Path) -> pd.DataFrame:
    rows = []
    with path.open(encoding="utf-8-sig") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise DataError(f"{path}, line {number}: not JSON ({error}); write one JSON object a line") from None
            if not isinstance(row, dict):
                raise DataError(f"{path}, line {number}: {type(row).__name__} instead of a JSON object")
            rows.append(row)
    return pd.DataFrame(rows, dtype=object)


def _write_csv(frame: pd.DataFrame, path: Path) -> None:
    frame.to_csv(path, index=False)


def _write_jsonl(frame: pd.DataFrame, path: Path) -> None:
    lines = (json.dumps(row, ensure_ascii=False) for row in frame.astype(object).to_dict("records"))
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def _write_parquet(frame: pd.DataFrame, path: Path) -> None:
    frame.to_parquet(path, index=False)


_READERS: dict[str, Callable[[Path], pd.DataFrame]] = {
    ".csv": _read_csv,
    ".parquet": read_parquet,
    ".jsonl": _read_jsonl,
}
_WRITERS: dict[str, Callable[[pd.DataFrame, Path], None]] = {
    ".csv": _write_csv,
    ".parquet": _write_parquet,
    ".jsonl": _write_jsonl,
}


def _format(path: Path, formats: Mapping[str, F]) -> F:
    if path.suffix.lower() not in formats:
        raise DataError(f"{path}: unknown file ending {path.suffix!r}; use one of {', '.join(formats)}")
    return formats[path.suffix.lower()]


def _read_frame(path: Path) -> pd.DataFrame:
    if path.is_dir():
        raise DataError(f"{path} is a folder; give the table file itself")
    if not path.is_file():
        raise MissingDataError(f"there is no table at {path.absolute()}; check the path")
    read = _format(path, _READERS)
    try:
        frame = read(path)
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text (byte {error.start}); save it as UTF-8") from error
    except (csv.Error, OSError) as error:
        raise DataError(f"{path} cannot be read as {path.suffix[1:]}: {error}") from error
    frame.columns = frame.columns.astype(str).str.strip()
    return frame


def _require_columns(path: Path, frame: pd.DataFrame) -> None:
    if not len(frame.columns) or frame.empty:
        raise DataError(f"{path} holds no rows; it needs the columns arch and score and at least one row")
    twice = frame.columns[frame.columns.duplicated()]
    if len(twice):
        raise DataError(f"{path} has the column {twice[0]!r} twice; rename or drop one")
    missing = [column for column in REQUIRED if column not in frame]
    if missing:
        found = ", ".join(map(repr, frame.columns))
        raise DataError(f"{path} has no column {' and no column '.join(map(repr, missing))}; its columns are {found}")


def _select(path: Path, frame: pd.DataFrame, column: str, value: str | None) -> pd.DataFrame:
    """The rows with `value` in `column`; without a value, refuse a mixture (of anything but splits)."""
    if column not in frame:
        if value is None:
            return frame
        raise UnknownNameError(f"{path} has no column {column!r}, so it cannot be reduced to {column}={value!r}")
    texts = frame[column].astype(str)
    known = ", ".join(map(repr, sorted(texts.unique())))
    if value is not None:
        chosen = frame[texts == value]
        if chosen.empty:
            raise UnknownNameError(f"{path} has no rows with {column}={value!r}; there are: {known}")
        return chosen
    if column != "split" and texts.nunique() > 1:
        raise DataError(f"{path} mixes several values of {column}: {known}. Choose one with {column}=...")
    return frame


def _shared(frame: pd.DataFrame, column: str) -> str:
    if column not in frame or frame[column].nunique(dropna=False) != 1:
        return ""
    return str(frame[column].iloc[0])


def _scores(path: Path, frame: pd.DataFrame) -> FloatArray:
    column = frame["score"]
    if column.map(lambda value: isinstance(value, bool)).any():
        raise DataError(f"{path}: scores are true or false; scores must be numbers")
    scores = np.array([_number(value) for value in column])
    bad = np.flatnonzero(~np.isfinite(scores))
    if len(bad):
        raise DataError(
            f"{path}: scores must be finite numbers, but {_listed(frame, bad, 'score')}; correct or drop them"
        )
    return scores


def _number(value: object) -> float:
    """`value` as float; NaN where it is not a number."""
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return float("nan")


def _archs(path: Path, frame: pd.DataFrame) -> list[str]:
    column = frame["arch"]
    bad = np.flatnonzero([not isinstance(value, str) or not value.strip() for value in column])
    if len(bad):
        raise DataError(f"{path}: arch must be text, but {_listed(frame, bad, 'arch')}; correct or drop them")
    return [value.strip() for value in column]


def _listed(frame: pd.DataFrame, rows: np.ndarray[Any, Any], column: str) -> str:
    """`row 3 has 'nan', row 7 has '' and 12 more` for an error message; rows count from 1."""
    values = frame[column].tolist()  # Python values: their repr is what the file says
    shown = [f"row {frame.index[row] + 1} has {values[row]!r}" for row in rows[:_SHOWN]]
    more = f" and {len(rows) - _SHOWN} more" if len(rows) > _SHOWN else ""
    return ", ".join(shown) + more


def _merge(path: Path, archs: Sequence[str], scores: FloatArray, numbers: IntArray) -> IntArray:
    """Positions of the first occurrence of each network; repeats must agree in their score.

    `numbers` are the rows of the file, counted from 0, that the positions stand for.
    """
    first: dict[str, int] = {}
    for row, arch in enumerate(archs):
        before = first.setdefault(arch, row)
        if scores[before] != scores[row]:
            one, other = (f"score {scores[at]:g} in row {numbers[at] + 1}" for at in (before, row))
            raise DataError(f"{path}: {arch!r} has {one} and {other}; keep one, or write their mean")
    return np.fromiter(first.values(), dtype=np.int64, count=len(first))
