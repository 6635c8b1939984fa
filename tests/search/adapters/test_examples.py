"""The examples run as they stand, in a folder of their own."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[3]
EXAMPLES = {
    "optuna_search": ["--budget", "3", "--predictor", "none"],
    "ray_tune_search": ["--budget", "2", "--predictor", "none"],
    "syne_tune_search": ["--budget", "2", "--predictor", "none"],
    "neps_search": ["--budget", "2", "--predictor", "none"],
    "pymoo_search": ["--generations", "2", "--train", "1"],
    "sklearn_model_selection": ["--networks", "18"],
}


@pytest.mark.slow
@pytest.mark.parametrize("name", EXAMPLES)
def test_example(name: str, tmp_path: Path) -> None:
    if name == "neps_search" and importlib.util.find_spec("neps") is None:
        pytest.skip("NePS needs pandas and networkx below 3; `make test-neps` runs it")
    done = subprocess.run(
        [sys.executable, str(CHECKOUT / "examples" / f"{name}.py"), *EXAMPLES[name]], cwd=tmp_path, text=True,
        env={**os.environ, "SYNETUNE_FOLDER": str(tmp_path), "RAY_USAGE_STATS_ENABLED": "0"}, capture_output=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "Best networks" in done.stdout or "a front of" in done.stdout or "Kendall tau" in done.stdout
    assert "width" in done.stdout or "gp" in done.stdout
