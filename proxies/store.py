"""`MeasurementStore`: measurements on disk, so that no network is measured twice.

One SQLite file in write-ahead mode: many processes may read and write it, and a killed one leaves it whole. An entry
is named by the graph, the settings and the sources of this folder; where any of them differs there is no entry.
"""

from __future__ import annotations

import json
import sqlite3
import zlib
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from functools import cache
from pathlib import Path

import numpy as np

from archcast.datasets.cache import content_key, source_recipe
from archcast.datasets.home import home_folder
from archcast.errors import StorageError
from archcast.proxies.measurement import Measurements


class MeasurementStore:
    """Measurements by key.

    Args:
        path: the file; `ARCHCAST_HOME/measurements.sqlite` when left out.
    """

    def __init__(self, path: str | Path | None = None) -> None:
        self.path = home_folder() / "measurements.sqlite" if path is None else Path(path).expanduser()

    def read(self, keys: Iterable[str]) -> dict[str, Measurements]:
        """What there is under `keys`."""
        if not self.path.is_file():
            return {}
        found = {}
        with self._open() as connection:
            for key in keys:
                row = connection.execute("SELECT payload FROM measurements WHERE key = ?", (key,)).fetchone()
                if row is not None:
                    found[key] = _unpack(row[0])
        return found

    def write(self, key: str, measurements: Measurements) -> None:
        """Keep one measurement; it is on disk when the call returns.

        Raises:
            StorageError: the file cannot be written.
        """
        with self._open() as connection:
            connection.execute("INSERT OR REPLACE INTO measurements VALUES (?, ?)", (key, _pack(measurements)))

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with closing(sqlite3.connect(self.path, timeout=60)) as connection:
                connection.execute("PRAGMA journal_mode=WAL")
                connection.execute("PRAGMA synchronous=NORMAL")
                connection.execute("CREATE TABLE IF NOT EXISTS measurements (key TEXT PRIMARY KEY, payload BLOB)")
                with connection:
                    yield connection
        except (sqlite3.Error, OSError) as error:
            raise StorageError(
                f"{self.path} cannot be used ({error}); free some space, set ARCHCAST_HOME, or remove the file"
            ) from error


def measurement_key(identity: str, ops: Iterable[str], *settings: object) -> str:
    """The key of one network: its graph or other identity, the order of its nodes, all that decides the measurement."""
    return content_key(recipe(), identity, " ".join(ops), *map(str, settings))


@cache
def recipe() -> str:
    """Fingerprint of the sources that measure."""
    folder = Path(__file__).resolve().parent
    measuring = [folder / f"{name}.py" for name in _MEASURING]
    return source_recipe([*measuring, *sorted((folder / "scores").glob("*.py"))])


_MEASURING = (
    "fisher_information",
    "measurement",
    "noise",
    "pass_state",
    "passes",
    "proxy",
    "sample_gradients",
    "stages",
    "subject",
    "tape",
)


def _pack(measurements: Measurements) -> bytes:
    head = json.dumps({
        "name": measurements.name, "scores": dict(measurements.scores), "ops": measurements.ops,
        "missing": dict(measurements.missing), "notes": measurements.notes, "seconds": measurements.seconds,
        "nodes": list(measurements.nodes),
    }).encode()  # fmt: skip
    body = b"".join(array.astype("<f4").tobytes() for array in measurements.nodes.values())
    return zlib.compress(len(head).to_bytes(4, "little") + head + body)


def _unpack(payload: bytes) -> Measurements:
    raw = zlib.decompress(payload)
    size = int.from_bytes(raw[:4], "little")
    head = json.loads(raw[4 : 4 + size])
    values = np.frombuffer(raw[4 + size :], dtype="<f4").astype(np.float64)
    values = values.reshape(len(head["nodes"]), len(head["ops"]))
    return Measurements(
        head["name"], head["scores"], dict(zip(head["nodes"], values, strict=True)), tuple(head["ops"]),
        head["missing"], tuple(head["notes"]), head["seconds"],
    )  # fmt: skip
