"""How the command line prints: rich tables for people, JSON and CSV for programs."""

from __future__ import annotations

import csv
import json
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from archcast.errors import StorageError

Row = Mapping[str, Any]


def print_json(value: Any) -> None:
    """One JSON document on stdout; what JSON cannot hold (NaN, infinities) becomes null."""
    print(json.dumps(_plain(value), indent=2, ensure_ascii=False))


def write_csv(path: str | Path, rows: Sequence[Row]) -> None:
    """The rows as CSV; columns in the order they first occur, NaN as empty.

    Raises:
        StorageError: the file cannot be written.
    """
    columns = list(dict.fromkeys(name for row in rows for name in row))
    try:
        Path(path).absolute().parent.mkdir(parents=True, exist_ok=True)
        with Path(path).open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, columns, restval="")
            writer.writeheader()
            writer.writerows({name: _cell(value) for name, value in row.items()} for row in rows)
    except OSError as error:
        raise StorageError(f"cannot write {path}: {error.strerror}; choose another file") from error


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], *, left: int = 1) -> None:
    """A table on stdout; the first `left` columns are aligned to the left, the others to the right."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left", title_style="bold")
    for position, column in enumerate(columns):
        text = position < left
        table.add_column(column, justify="left" if text else "right", overflow="fold", no_wrap=not text)
    for row in rows:
        table.add_row(*row)
    # A pipe has no width: do not fold what another program is going to read.
    Console(width=None if sys.stdout.isatty() else 160, markup=False, highlight=False).print(table)


def note(text: str) -> None:
    """A line for people on stderr, which leaves stdout to the results."""
    print(text, file=sys.stderr, flush=True)


def count(value: float) -> str:
    """12345678 -> '12.35 M'."""
    for size, suffix in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.2f} {suffix}"
    return f"{value:.0f}"


def figure(value: float | None, digits: int = 3) -> str:
    """A number, or a dash where there is none."""
    return "-" if value is None or not math.isfinite(value) else f"{value:.{digits}f}"


def figure_with_interval(row: Row, name: str, digits: int = 3) -> str:
    """'0.812 [0.801, 0.823]', or the number alone where no interval is known."""
    text = figure(row.get(name), digits)
    if row.get(f"{name}_low") is None or text == "-":
        return text
    return f"{text} [{row[f'{name}_low']:.{digits}f}, {row[f'{name}_high']:.{digits}f}]"


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if hasattr(value, "tolist"):  # numpy scalars and arrays, without importing numpy
        return _plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, (str, int, float, bool)) or value is None else str(value)


def _cell(value: Any) -> Any:
    value = _plain(value)
    return "" if value is None else json.dumps(value) if isinstance(value, (dict, list)) else value
