"""The example runs as it stands."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_the_example_finds_a_network(tmp_path: Path) -> None:
    page = tmp_path / "search.html"
    command = [sys.executable, "examples/search.py", "--budget", "3", "--predictor", "none", "--output", str(page)]
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Best networks" in done.stdout
    assert "3/3 evaluated" in done.stderr
    assert page.read_text(encoding="utf-8").startswith("<!doctype html>")
