"""Neural heads on what accelerators offer, exercised on the CPU: half precision, and two processes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file
from scipy.stats import kendalltau

from archcast.predictor.heads.graph_statistics import GraphStatisticsHead
from archcast.predictor.heads.mlp import MLPConfig, MLPHead
from archcast.predictor.heads.parzc import ParZCConfig, ParZCHead
from tests.launching import finished

from .head_fit_run import CONFIG
from .measured_toy import toy_space

HALF = replace(CONFIG.training, mixed_precision="bf16")
HEADS: dict[str, tuple[Callable[..., Any], Any]] = {
    "graph statistics": (GraphStatisticsHead.fit, replace(CONFIG, training=HALF)),
    "mlp": (MLPHead.fit, MLPConfig(hidden=(24,), members=1, training=HALF)),
    "parzc": (
        ParZCHead.fit,
        ParZCConfig(statistics=("snip",), width=32, depth=1, training=replace(HALF, learning_rate=3e-3)),
    ),
}


@pytest.fixture(autouse=True)
def _fresh_accelerate() -> Iterator[None]:
    from accelerate.state import AcceleratorState

    AcceleratorState._reset_state(reset_partial_state=True)
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


@pytest.mark.parametrize("name", HEADS)
def test_learns_a_ranking_in_half_precision(name: str) -> None:
    fit, config = HEADS[name]
    networks, targets = toy_space(80, 0)
    head = fit(networks, targets, seed=0, config=config)
    others, truth = toy_space(150, 1)
    scores = head.predict(others)
    assert kendalltau(scores, truth).statistic > 0.5
    full = fit(networks, targets, seed=0, config=replace(config, training=replace(config.training, steps=1)))
    assert not np.array_equal(full.predict(others), scores)


def test_two_processes_fit_one_head(tmp_path: Path) -> None:
    done = finished(Path(__file__).parent / "head_fit_run.py", str(tmp_path))
    assert done.returncode == 0, done.stderr
    one, two = (load_file(tmp_path / f"{rank}.safetensors") for rank in (0, 1))
    assert set(one) == set(two)
    for name, values in one.items():
        np.testing.assert_allclose(values, two[name], atol=1e-9, err_msg=name)
    assert kendalltau(one["asked"], toy_space(100, 1)[1]).statistic > 0.5
