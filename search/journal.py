"""`SQLiteJournal`: trials in a SQLite file, in WAL mode, which several processes may share.

Every method is one transaction that is on the disk when it returns, so that a process may be killed at any time. A
trial whose process has died while it was pending is claimed by whoever asks first, and evaluated again.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from archcast.errors import ConfigError, DataError, MissingExtraError, StorageError
from archcast.search.history import Trial
from archcast.search.owners import is_alive, this_owner

if TYPE_CHECKING:
    from sqlalchemy import Connection

SCHEMA = 1

_WAIT = 60  # seconds a process waits for another one's transaction
_TABLES = (
    "CREATE TABLE IF NOT EXISTS about (key TEXT PRIMARY KEY, value TEXT NOT NULL)",
    "CREATE TABLE IF NOT EXISTS trials (number INTEGER PRIMARY KEY, spec TEXT NOT NULL, identity TEXT NOT NULL UNIQUE, "
    "state TEXT NOT NULL, scores TEXT NOT NULL, reason TEXT NOT NULL, forecast REAL, origin TEXT NOT NULL, "
    "seconds REAL, owner TEXT NOT NULL, version INTEGER NOT NULL)",
    "CREATE INDEX IF NOT EXISTS trials_version ON trials (version)",
)
_COLUMNS = "number, spec, identity, state, scores, reason, forecast, origin, seconds, owner"


class SQLiteJournal:
    """A journal on disk. Open it with `SQLiteJournal.open`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.owner = this_owner()
        self._seen = 0
        self._engine = _engine(path)
        with self._writing() as connection:
            for statement in _TABLES:
                connection.exec_driver_sql(statement)

    @classmethod
    def open(cls, path: str | Path, about: Mapping[str, Any], *, resume: bool = False) -> SQLiteJournal:
        """The journal at `path`, made if it does not exist.

        Args:
            about: what the search is: a journal of another one is refused.
            resume: go on with what is in it.

        Raises:
            ConfigError: it has trials already and `resume` is False, or it belongs to another search.
            DataError: the file is no journal.
            StorageError: it cannot be written.
            MissingExtraError: SQLAlchemy is not installed.
        """
        journal = cls(Path(path))
        wanted = {"schema": str(SCHEMA), **{key: str(value) for key, value in about.items()}}
        with journal._writing() as connection:
            trials = connection.exec_driver_sql("SELECT count(*) FROM trials").scalar_one()
            if trials and not resume:
                raise ConfigError(
                    f"{path} holds {trials} trials: resume it (resume=True, --resume) or name another file"
                )
            for key, value in wanted.items():
                connection.exec_driver_sql("INSERT OR IGNORE INTO about VALUES (?, ?)", (key, value))
            rows = connection.exec_driver_sql("SELECT key, value FROM about").all()
            different = [f"{key} is {value!r} there" for key, value in rows if wanted.get(key, value) != value]
            if different:
                raise ConfigError(f"{path} belongs to another search: {'; '.join(different)}. Name another file")
        return journal

    def news(self) -> list[Trial]:
        with self._engine.connect() as connection:
            rows = connection.exec_driver_sql(
                f"SELECT {_COLUMNS}, version FROM trials WHERE version > ? ORDER BY version", (self._seen,)
            ).all()
        if rows:
            self._seen = rows[-1][-1]
        return [_trial(row) for row in rows]

    def append(self, trials: Sequence[Trial], budget: int | None) -> list[Trial]:
        accepted = []
        with self._writing() as connection:
            number = connection.exec_driver_sql("SELECT count(*) FROM trials").scalar_one()
            version = self._next_version(connection)
            for trial in trials:
                if budget is not None and number >= budget:
                    break
                mine = replace(trial, number=number, owner=self.owner)
                done = connection.exec_driver_sql(
                    f"INSERT OR IGNORE INTO trials ({_COLUMNS}, version) VALUES ({', '.join('?' * 11)})",
                    (*_row(mine), version),
                )
                if done.rowcount:
                    accepted.append(mine)
                    number += 1
        return accepted

    def finish(self, trial: Trial) -> bool:
        return bool(self.finish_all([trial]))

    def finish_all(self, trials: Sequence[Trial]) -> int:
        """`finish` for many trials in one transaction; returns how many were pending."""
        with self._writing() as connection:
            version = self._next_version(connection)
            return sum(
                connection.exec_driver_sql(
                    "UPDATE trials SET state = ?, scores = ?, reason = ?, seconds = ?, version = ? "
                    "WHERE number = ? AND state = 'pending'",
                    (
                        trial.state,
                        json.dumps(trial.scores),
                        trial.reason,
                        _number(trial.seconds),
                        version,
                        trial.number,
                    ),
                ).rowcount
                for trial in trials
            )

    def claim(self) -> list[Trial]:
        claimed = []
        with self._writing() as connection:
            rows = connection.exec_driver_sql(f"SELECT {_COLUMNS} FROM trials WHERE state = 'pending' ORDER BY number")
            left = [trial for row in rows.all() if not is_alive((trial := _trial(row)).owner)]
            version = self._next_version(connection)
            for trial in left:
                connection.exec_driver_sql(
                    "UPDATE trials SET owner = ?, version = ? WHERE number = ?", (self.owner, version, trial.number)
                )
                claimed.append(replace(trial, owner=self.owner))
        return claimed

    def _next_version(self, connection: Connection) -> int:
        return int(connection.exec_driver_sql("SELECT coalesce(max(version), 0) + 1 FROM trials").scalar_one())

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        """A transaction that no other process's writing can come between."""
        from sqlalchemy.exc import DatabaseError, OperationalError

        try:
            with self._engine.connect() as connection:
                connection.exec_driver_sql("BEGIN IMMEDIATE")
                try:
                    yield connection
                except BaseException:
                    connection.exec_driver_sql("ROLLBACK")
                    raise
                connection.exec_driver_sql("COMMIT")
        except OperationalError as error:
            raise StorageError(f"cannot use the journal {self.path} ({error.orig}); check the folder") from error
        except DatabaseError as error:
            raise DataError(f"{self.path} is no journal of a search ({error.orig}); name another file") from error


def _engine(path: Path) -> Any:
    try:
        from sqlalchemy import create_engine, event
        from sqlalchemy.pool import NullPool
    except ImportError as error:
        raise MissingExtraError("a journal needs SQLAlchemy; run `pip install 'archcast[search]'`") from error
    try:
        path.absolute().parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"cannot write {path}: {error.strerror}; choose another file") from error
    engine = create_engine(
        f"sqlite:///{path}", isolation_level="AUTOCOMMIT", connect_args={"timeout": _WAIT}, poolclass=NullPool
    )

    @event.listens_for(engine, "connect")
    def set_up(connection: Any, _: Any) -> None:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")

    return engine


def _row(trial: Trial) -> tuple[Any, ...]:
    return (
        trial.number, trial.spec, trial.identity, trial.state, json.dumps(trial.scores), trial.reason,
        _number(trial.forecast), trial.origin, _number(trial.seconds), trial.owner,
    )  # fmt: skip


def _trial(row: Any) -> Trial:
    number, spec, identity, state, scores, reason, forecast, origin, seconds, owner = row[:10]
    return Trial(
        number, spec, identity, state, tuple(json.loads(scores)), reason,
        math.nan if forecast is None else forecast, origin, math.nan if seconds is None else seconds, owner,
    )  # fmt: skip


def _number(value: float) -> float | None:
    return None if math.isnan(value) else float(value)
