"""Checkpoints that are whole or not there, and a log of metrics that agrees with them.

A checkpoint is the folder `step-<number>` with `state.safetensors` (weights, state of the optimizer, generators) and
`state.json` (everything else). It is written under another name, flushed to disk and renamed, so that a process killed
at any moment leaves the last one intact. Nothing is pickled.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from torch import Tensor

from archcast.datasets.atomic import atomic_path, storage_error
from archcast.errors import BundleError

SCHEMA: Final = 1
"""Raised whenever the layout of checkpoints changes."""

_PREFIX: Final = "step-"


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """The state of a training after `step` steps: tensors by name, and what JSON can hold."""

    step: int
    tensors: dict[str, Tensor]
    record: dict[str, Any]

    def part(self, prefix: str) -> dict[str, Tensor]:
        """The tensors whose names start with `prefix`, without it."""
        return {name.removeprefix(prefix): value for name, value in self.tensors.items() if name.startswith(prefix)}


def write_checkpoint(folder: Path, checkpoint: Checkpoint, keep: int = 2) -> Path:
    """Store a checkpoint in `folder` and remove all but the `keep` latest.

    Raises:
        StorageError: the folder cannot be written.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    path = folder / f"{_PREFIX}{checkpoint.step:08d}"
    temporary = folder / f".{path.name}.tmp"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for left_over in folder.glob(f".{_PREFIX}*.tmp"):
            shutil.rmtree(left_over)
        temporary.mkdir()
        save_file(
            {name: value.contiguous() for name, value in checkpoint.tensors.items()}, temporary / "state.safetensors"
        )
        record = {"schema_version": SCHEMA, "step": checkpoint.step, **checkpoint.record}
        (temporary / "state.json").write_text(json.dumps(record, indent=1), encoding="utf-8")
        for name in ("state.safetensors", "state.json"):
            _flush(temporary / name)
        if path.exists():  # the same step again, after a resumption from an earlier one
            path.rename(folder / f".{path.name}.old.tmp")
        temporary.rename(path)
        for old in sorted(folder.glob(f"{_PREFIX}*"))[:-keep]:
            old.rename(hidden := folder / f".{old.name}.old.tmp")
            shutil.rmtree(hidden)
    except (OSError, SafetensorError) as error:
        failure = error if isinstance(error, OSError) else OSError(str(error))
        raise storage_error(path, failure) from error
    return path


def latest_checkpoint(folder: Path) -> Checkpoint | None:
    """The checkpoint of the latest step in `folder`; None where there is none.

    Raises:
        BundleError: it is damaged, or of another schema.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    found = sorted(folder.glob(f"{_PREFIX}*"))
    if not found:
        return None
    path = found[-1]
    try:
        record = json.loads((path / "state.json").read_text(encoding="utf-8"))
        if record["schema_version"] != SCHEMA:
            raise BundleError(
                f"{path} has schema {record['schema_version']}, not {SCHEMA}; train anew in another folder"
            )
        return Checkpoint(record["step"], load_file(path / "state.safetensors"), record)
    except (OSError, SafetensorError, KeyError, TypeError, json.JSONDecodeError) as error:
        raise BundleError(
            f"the checkpoint {path} is damaged ({error}); remove it to go on from the one before"
        ) from error


class MetricsLog:
    """`metrics.jsonl`, one line per step; lines are appended whole.

    Args:
        path: the file.
        step: steps that count: what was logged after them is forgotten, for it will be done again.

    Raises:
        StorageError: the file cannot be written.
    """

    def __init__(self, path: Path, step: int) -> None:
        kept = [line for line in read_metrics(path) if line["step"] <= step]
        with atomic_path(path) as temporary:
            temporary.write_text("".join(_line(record) for record in kept), encoding="utf-8")
        self.path = path
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND)

    def append(self, record: Mapping[str, Any]) -> None:
        """Add one line, in one system call: a reader never sees half of it, and a kill leaves none behind."""
        try:
            os.write(self._file, _line(record).encode())
        except OSError as error:
            raise storage_error(self.path, error) from error

    def close(self) -> None:
        os.close(self._file)


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The lines of a log of metrics; what follows the last whole line is left out."""
    if not path.is_file():
        return []
    text = path.read_text(encoding="utf-8")
    return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]


def _line(record: Mapping[str, Any]) -> str:
    return json.dumps(record) + "\n"


def _flush(path: Path) -> None:
    """Have the disk hold the file before its folder gets its final name."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
