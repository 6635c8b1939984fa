"""What every head does, old or new, whatever part of the networks it reads."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from scipy.stats import kendalltau

from archcast.errors import BundleError
from archcast.predictor.heads.gaussian_process import GaussianProcessHead
from archcast.predictor.heads.gbdt import GBDTHead
from archcast.predictor.heads.gbdt_nas import GBDTNASConfig, GBDTNASHead
from archcast.predictor.heads.graph_statistics import GraphStatisticsConfig, GraphStatisticsHead
from archcast.predictor.heads.mlp import MLPConfig, MLPHead
from archcast.predictor.heads.parzc import ParZCConfig, ParZCHead
from archcast.predictor.heads.ridge import RidgeHead
from archcast.predictor.heads.state import HeadState
from archcast.predictor.heads.training import HeadTraining

from .measured_toy import FloatArray, toy_networks, toy_space

TRAINING = HeadTraining(steps=60, batch_size=30, learning_rate=0.01, cpu=True)
PARZC = ParZCConfig(statistics=("snip", "synflow"), width=32, depth=1, training=replace(TRAINING, learning_rate=3e-3))
GRAPH = GraphStatisticsConfig(width=12, layers=2, dim=12, members=2, training=replace(TRAINING, steps=50))

NEW: dict[str, Callable[..., Any]] = {
    "parzc, paper": partial(ParZCHead.fit, config=PARZC),
    "parzc, released": partial(ParZCHead.fit, config=replace(PARZC, variant="released")),
    "mlp": partial(MLPHead.fit, config=MLPConfig(hidden=(24,), members=2, training=TRAINING)),
    "graph statistics": partial(GraphStatisticsHead.fit, config=GRAPH),
    "gbdt-nas": partial(GBDTNASHead.fit, config=GBDTNASConfig()),
}
"""Heads that are data by `state`."""
ALL: dict[str, Callable[..., Any]] = {
    "gp": GaussianProcessHead.fit, "gbdt": GBDTHead.fit, "ridge": RidgeHead.fit, **NEW,
}  # fmt: skip
READERS: dict[str, Any] = {
    "parzc": ParZCHead, "mlp": MLPHead, "graph-statistics": GraphStatisticsHead, "gbdt-nas": GBDTNASHead,
}  # fmt: skip


@pytest.fixture(autouse=True)
def _fresh_accelerate() -> Iterator[None]:
    """accelerate keeps precision and device as long as the process lives; every test starts anew."""
    from accelerate.state import AcceleratorState

    AcceleratorState._reset_state(reset_partial_state=True)
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


@pytest.mark.usefixtures("quick_trees")
@pytest.mark.parametrize("fit", ALL.values(), ids=ALL)
class TestEveryHead:
    def test_learns_a_ranking_from_eighty_labels(self, fit: Callable[..., Any]) -> None:
        head = fit(*toy_space(80, 0), seed=0)
        others, truth = toy_space(150, 1)
        assert kendalltau(head.predict(others), truth).statistic > 0.5

    def test_same_seed_same_scores_however_often_it_is_asked(self, fit: Callable[..., Any]) -> None:
        networks, targets = toy_space(40, 0)
        others, _ = toy_space(20, 1)
        head, again = (fit(networks, targets, seed=3) for _ in range(2))
        np.testing.assert_array_equal(head.predict(others), again.predict(others))
        np.testing.assert_array_equal(head.predict(others), head.predict(others))

    def test_answers_float64_one_per_network(self, fit: Callable[..., Any]) -> None:
        head = fit(*toy_space(30, 0), seed=0)
        for count in (1, 7):
            scores = head.predict(toy_space(count, 1)[0])
            assert scores.shape == (count,)
            assert scores.dtype == np.float64
            assert np.isfinite(scores).all()

    def test_a_score_does_not_depend_on_the_company(self, fit: Callable[..., Any]) -> None:
        head = fit(*toy_space(30, 0), seed=0)
        others, _ = toy_space(9, 1)
        alone = np.concatenate([head.predict(others.take(np.asarray([row]))) for row in range(9)])
        np.testing.assert_allclose(alone, head.predict(others), atol=1e-4)

    def test_equal_networks_or_equal_targets_give_the_mean(self, fit: Callable[..., Any]) -> None:
        networks, targets = toy_space(24, 0)
        same = toy_networks(["01201201"]).take(np.zeros(24, np.int64))
        np.testing.assert_allclose(fit(same, targets, seed=0).predict(same), targets.mean(), rtol=1e-3)
        np.testing.assert_allclose(fit(networks, np.full(24, 2.5), seed=0).predict(networks), 2.5, rtol=1e-3)

    def test_the_input_is_left_as_it_was(self, fit: Callable[..., Any]) -> None:
        networks, targets = toy_space(24, 0)
        before = networks.features.copy(), targets.copy(), networks.nodes["snip"].copy()
        fit(networks, targets, seed=0).predict(networks)
        for left, right in zip(before, (networks.features, targets, networks.nodes["snip"]), strict=True):
            np.testing.assert_array_equal(left, right)


@pytest.fixture(scope="module")
def fitted() -> dict[str, Any]:
    networks, targets = toy_space(40, 0)
    return {name: fit(networks, targets, seed=1) for name, fit in NEW.items()}


every_new = pytest.mark.parametrize("name", NEW)


def state_of(head: Any) -> HeadState:
    found: HeadState = head.state()
    return found


@every_new
def test_a_head_survives_json_and_safetensors(name: str, fitted: dict[str, Any], tmp_path: Path) -> None:
    state = state_of(fitted[name])
    save_file(state.arrays, tmp_path / "head.safetensors")
    settings = json.loads(json.dumps(dict(state.settings), allow_nan=False))
    again = READERS[state.kind].from_state(HeadState(state.kind, settings, load_file(tmp_path / "head.safetensors")))
    others, _ = toy_space(30, 1)
    np.testing.assert_array_equal(again.predict(others), fitted[name].predict(others))
    if hasattr(again, "spread"):
        np.testing.assert_array_equal(again.spread(others), fitted[name].spread(others))


def broken(array: FloatArray) -> Iterator[FloatArray]:
    yield array.reshape(-1)[:-1]
    yield np.full_like(array, np.nan)
    yield array.astype(np.int64)


@every_new
def test_misshapen_missing_and_unknown_arrays_are_refused(name: str, fitted: dict[str, Any]) -> None:
    state = state_of(fitted[name])
    reader = READERS[state.kind]
    for key in list(state.arrays)[:3] + list(state.arrays)[-2:]:
        for bad in broken(state.arrays[key]):
            with pytest.raises(BundleError):
                reader.from_state(replace(state, arrays={**state.arrays, key: bad}))
        with pytest.raises(BundleError):
            reader.from_state(replace(state, arrays={k: v for k, v in state.arrays.items() if k != key}))
    with pytest.raises(BundleError, match="differs in"):
        reader.from_state(replace(state, arrays={**state.arrays, "more": np.zeros(1)}))
    with pytest.raises(BundleError, match="not of"):
        reader.from_state(replace(state, kind="other"))


@every_new
def test_senseless_settings_are_refused_before_anything_is_built(name: str, fitted: dict[str, Any]) -> None:
    state = state_of(fitted[name])
    reader = READERS[state.kind]
    nested = "config" in state.settings
    config = state.settings["config"] if nested else state.settings
    for key, value in config.items():
        for bad in (None, "x" if not isinstance(value, str) else 3, [1e9]):
            changed = {**config, key: bad}
            if changed == config:
                continue
            if key == "drop_below" and bad is None:
                continue
            with pytest.raises(BundleError):
                reader.from_state(replace(state, settings={**state.settings, "config": changed} if nested else changed))
    for key in ("width", "depth", "layers", "dim", "segments", "members", "leaves"):
        if key in config:
            huge = {**config, key: 10**12}
            with pytest.raises(BundleError):
                reader.from_state(replace(state, settings={**state.settings, "config": huge} if nested else huge))
    with pytest.raises(BundleError):
        reader.from_state(replace(state, settings={"config": {}}))


def test_trees_that_lead_astray_are_refused(fitted: dict[str, Any]) -> None:
    state = state_of(fitted["gbdt-nas"])
    for bad in ("", 3, state.settings["trees"].replace("left_child=", "left_child=9 ", 1)):
        with pytest.raises(BundleError):
            GBDTNASHead.from_state(replace(state, settings={**state.settings, "trees": bad}))


def test_importing_heads_does_not_import_torch() -> None:
    heads = ", ".join(f"archcast.predictor.heads.{name}" for name in ("gbdt_nas", "graph_statistics", "mlp", "parzc"))
    code = f"import sys, {heads}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
