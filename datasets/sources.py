"""The catalogue of official label sources: what `archcast datasets list | info` show and `fetch` downloads."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

from archcast.datasets.home import data_folders
from archcast.errors import UnknownNameError


@dataclass(frozen=True)
class SourceFile:
    """One downloadable file: tried at each of `urls` in turn, accepted only with this SHA-256."""

    name: str
    urls: tuple[str, ...]
    sha256: str
    size: int


@dataclass(frozen=True)
class Source:
    """Where the labels of one benchmark come from.

    Attributes:
        tables: file names that `load_benchmark` accepts, any of them.
        files: what `fetch` downloads; empty where no official file can be read safely, then `instructions` tell why.
        package: importable package that holds labels, where there is one.
    """

    name: str
    title: str
    home: str
    licence: str
    citation: str
    tables: tuple[str, ...] = ()
    files: tuple[SourceFile, ...] = ()
    package: str = ""
    instructions: str = ""

    @property
    def size(self) -> int:
        """Bytes that `fetch` downloads."""
        return sum(file.size for file in self.files)

    def present(self) -> Path | None:
        """Where labels of this benchmark are on this machine: a table, else the package; None where there are none."""
        for folder in data_folders():
            for table in self.tables:
                if (folder / table).exists():  # an unpacked archive is a folder
                    return folder / table
        found = importlib.util.find_spec(self.package) if self.package else None
        return Path(found.origin).parent if found is not None and found.origin else None


@cache
def catalogue() -> Mapping[str, Source]:
    """Benchmark name -> its source, from `sources.json`."""
    text = Path(__file__).with_name("sources.json").read_text(encoding="utf-8")
    return MappingProxyType({name: _source(name, entry) for name, entry in json.loads(text).items()})


def _source(name: str, entry: dict[str, Any]) -> Source:
    files = tuple(
        SourceFile(file["name"], tuple(file["urls"]), file["sha256"], file["size"]) for file in entry.pop("files")
    )
    return Source(name=name, files=files, tables=tuple(entry.pop("tables")), **entry)


def get_source(name: str, sources: Mapping[str, Source] | None = None) -> Source:
    """The source of benchmark `name`.

    Raises:
        UnknownNameError: there is none; the message lists the names.
    """
    known = catalogue() if sources is None else sources
    if name not in known:
        raise UnknownNameError(f"no data source {name!r}; there are: {', '.join(known)}")
    return known[name]


def describe(name: str) -> dict[str, Any]:
    """Everything `archcast datasets info` prints about one benchmark, ready for JSON.

    Keys: name, title, tasks, metrics, home, licence, citation, download_bytes, files, instructions, present.
    """
    from archcast.datasets.labels import label_source

    source, labels = get_source(name), label_source(name)
    present = source.present()
    return {
        "name": name,
        "title": source.title,
        "tasks": list(labels.tasks),
        "metrics": [str(measurement) for measurement in labels.measurements],
        "home": source.home,
        "licence": source.licence,
        "citation": source.citation,
        "download_bytes": source.size,
        "files": [{"name": file.name, "url": file.urls[0], "sha256": file.sha256} for file in source.files],
        "instructions": source.instructions,
        "present": str(present) if present else None,
    }


def describe_all() -> list[dict[str, Any]]:
    """`describe` for every benchmark, in the order of the catalogue."""
    return [describe(name) for name in catalogue()]
