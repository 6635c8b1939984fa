"""Writing files so that readers see the old one or the new one, never half of it."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from archcast.errors import StorageError


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A temporary path beside `path`; when the block ends well, the file written there takes the place of `path`.

    Raises:
        StorageError: the folder cannot be made or written (disk full, read-only, a file in the way).
            Nothing is left behind.
    """
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        temporary.replace(path)
    except OSError as error:
        raise storage_error(path, error) from error
    finally:
        _remove(temporary)


def storage_error(path: Path, error: OSError) -> StorageError:
    """The error for a file that could not be written; the caller raises it."""
    return StorageError(
        f"cannot write {path}: {error.strerror or error}. Free space or make the folder writable, or point "
        "ARCHCAST_HOME to another folder."
    )


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError:
        # A read-only folder refuses this as well; then the temporary file was never made.
        return
