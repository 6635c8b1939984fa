"""Where archcast keeps and looks for files.

Two environment variables decide: `ARCHCAST_DATA`, a folder the user fills with benchmark tables (never written to),
and `ARCHCAST_HOME`, archcast's own folder (default `~/.cache/archcast`) with `datasets/` for downloads and
`graphs/` for the graph cache.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from archcast.errors import MissingDataError


def home_folder() -> Path:
    """archcast's own folder: `ARCHCAST_HOME`, else `~/.cache/archcast`. It need not exist yet."""
    chosen = os.environ.get("ARCHCAST_HOME", "")
    return Path(chosen).expanduser() if chosen else Path.home() / ".cache" / "archcast"


def download_folder() -> Path:
    """Where `archcast datasets fetch` puts the official files."""
    return home_folder() / "datasets"


def data_folders() -> tuple[Path, ...]:
    """The folders tables are looked up in, first match wins: `ARCHCAST_DATA` (where set), then the downloads."""
    chosen = os.environ.get("ARCHCAST_DATA", "")
    return (*([Path(chosen).expanduser()] if chosen else []), download_folder())


def find_table(benchmark: str, names: Sequence[str]) -> Path:
    """The first of the files `names` found in `data_folders()`.

    Raises:
        MissingDataError: none of them exists; the message names files, folders and the command that fetches them.
    """
    folders = data_folders()
    for folder in folders:
        for name in names:
            if (folder / name).is_file():
                return folder / name
    unset = "" if os.environ.get("ARCHCAST_DATA") else " (ARCHCAST_DATA is not set)"
    raise MissingDataError(
        f"{benchmark}: no {' or '.join(names)} in {' or '.join(map(str, folders))}{unset}. "
        f"Run `archcast datasets fetch {benchmark}`, or set ARCHCAST_DATA to the folder that holds it."
    )
