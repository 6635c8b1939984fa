"""Trainings leave their process group before the process ends."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.launching import finished

OPENS = """
import atexit, os, sys
from torch import distributed

def told(): os.write(1, b"open\\n" if distributed.is_initialized() else b"closed\\n")

atexit.register(told)  # runs after what is registered later
from archcast.encoders.devices import accelerator
accelerator(cpu=True)
distributed.barrier()
if len(sys.argv) > 1: raise RuntimeError(sys.argv[1])
"""

OWN = """
import atexit, os
from torch import distributed
atexit.register(lambda: os.write(1, b"open\\n" if distributed.is_initialized() else b"closed\\n"))
distributed.init_process_group("gloo")
from archcast.encoders.devices import accelerator
accelerator(cpu=True)
distributed.barrier()
"""


def run(tmp_path: Path, source: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    script = tmp_path / "script.py"
    script.write_text(source, encoding="utf-8")
    return finished(script, *arguments)


def test_the_group_of_a_training_is_closed_at_exit(tmp_path: Path) -> None:
    done = run(tmp_path, OPENS)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["closed", "closed"]


@pytest.mark.slow
def test_a_group_that_someone_else_opened_is_left_to_them(tmp_path: Path) -> None:
    done = run(tmp_path, OWN)
    assert done.stdout.split() == ["open", "open"], done.stderr


@pytest.mark.slow
def test_after_an_error_the_process_ends_at_once(tmp_path: Path) -> None:
    done = run(tmp_path, OPENS, "of the script itself")
    assert done.returncode == 1
    assert "RuntimeError: of the script itself" in done.stderr
    assert "closed" not in done.stdout
