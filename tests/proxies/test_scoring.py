"""`score`: many networks, processes, the store of measurements."""

# mypy: disable-error-code="arg-type"
# Layers of a Sequential are typed "Tensor | Module"; casts would hide the formulas.

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from archcast.errors import ConfigError, StorageError, UnknownNameError
from archcast.proxies import measure, score
from archcast.proxies import scoring as scoring_module
from archcast.proxies.store import MeasurementStore, measurement_key

CELLS = [
    "nasbench201:|nor_conv_1x1~0|+|none~0|none~1|+|skip_connect~0|none~1|none~2|",
    "nasbench201:|skip_connect~0|+|none~0|none~1|+|nor_conv_1x1~0|none~1|none~2|",
]
NAMES = ["params", "snip", "naswot"]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ARCHCAST_HOME", str(tmp_path))
    return tmp_path


def test_rows_are_networks_and_columns_proxies() -> None:
    scores = score(CELLS, NAMES, batch=2, progress=False)
    assert scores.networks == tuple(CELLS)
    assert scores.values.shape == (2, 3)
    assert scores.names == tuple(NAMES)
    assert np.array_equal(scores.column("snip"), scores.values[:, 1])
    assert scores.values[0, 1] == measure(CELLS[0], NAMES, batch=2).scores["snip"]
    frame = scores.to_frame()
    assert list(frame.columns) == NAMES
    assert list(frame.index) == CELLS


def test_nothing_is_measured_twice(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    first = score(CELLS, NAMES, batch=2, progress=False)
    assert (home / "measurements.sqlite").is_file()

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("measured again")

    monkeypatch.setattr(scoring_module, "measure", refuse)
    again = score(CELLS, NAMES, batch=2, progress=False)
    assert np.array_equal(first.values, again.values)
    stored = again.measurements[0]
    assert stored is not None
    assert first.measurements[0] is not None
    assert np.allclose(stored.nodes["snip"], first.measurements[0].nodes["snip"], equal_nan=True)
    for changed in ({"seed": 1}, {"batch": 3}, {"cache": False}):
        with pytest.raises(AssertionError, match="measured again"):
            score(CELLS, NAMES, **{"batch": 2, "progress": False, **changed})


def test_proxies_without_nodes_are_kept_too() -> None:
    first = score(CELLS[:1], ["jacob_cov"], batch=4, progress=False)
    again = score(CELLS[:1], ["jacob_cov"], batch=4, progress=False)
    assert first.values[0, 0] == again.values[0, 0]


def test_given_modules_are_never_cached(home: Path) -> None:
    net = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2))
    before = score([net], ["l2_norm"], batch=2, progress=False).values[0, 0]
    nn.init.zeros_(net[0].weight)
    assert score([net], ["l2_norm"], batch=2, progress=False).values[0, 0] < before
    assert not (home / "measurements.sqlite").is_file()


def test_onnx_files_are_never_cached(tmp_path: Path, home: Path) -> None:
    pytest.importorskip("onnx2torch")
    path = tmp_path / "net.onnx"
    norms = []
    for scale in (1.0, 2.0):
        net = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2)).eval()
        for layer in (net[0], net[2]):
            nn.init.constant_(layer.weight, scale)
        torch.onnx.export(net, (torch.zeros(1, 4),), str(path), dynamo=False)
        norms.append(float(score([str(path)], ["l2_norm"], batch=2, progress=False).values[0, 0]))
    assert norms[1] == pytest.approx(2 * norms[0])
    assert not (home / "measurements.sqlite").is_file()


def test_a_network_that_fails_leaves_the_others() -> None:
    scores = score(
        [CELLS[0], "timm:no_such_model", nn.ReLU()], NAMES, batch=2, input_shape=(1, 3, 8, 8), progress=False
    )
    assert math.isfinite(scores.values[0, 1])
    assert np.isnan(scores.values[1:]).all()
    assert "no_such_model" in scores.missing["timm:no_such_model", "snip"]
    assert scores.measurements[1] is None


def test_reasons_are_named_by_network_and_proxy() -> None:
    scores = score(CELLS[:1], ["attention_confidence"], batch=2, progress=False)
    assert "attention" in scores.missing[CELLS[0], "attention_confidence"]


@pytest.mark.slow
def test_processes_agree() -> None:
    alone = score(CELLS, NAMES, batch=2, cache=False, progress=False)
    together = score(CELLS, NAMES, batch=2, cache=False, progress=False, jobs=2)
    assert np.allclose(alone.values, together.values, rtol=1e-4)


def test_bad_arguments() -> None:
    wrong: list[Any] = [[], CELLS[0], nn.ReLU()]
    for networks in wrong:
        with pytest.raises(ConfigError, match="list of networks"):
            score(networks)
    with pytest.raises(ConfigError, match="at least 1"):
        score(CELLS, jobs=0)
    with pytest.raises(UnknownNameError, match="snap"):
        score(CELLS, "snap")


def test_a_store_that_is_no_database_says_so(home: Path) -> None:
    (home / "measurements.sqlite").write_text("not a database, but long enough to be taken for one" * 100)
    with pytest.raises(StorageError, match="remove the file"):
        MeasurementStore().read(["key"])


def test_keys_tell_settings_apart() -> None:
    keys = {measurement_key("g", ["Conv"], 0), measurement_key("g", ["Conv"], 1), measurement_key("h", ["Conv"], 0)}
    assert len(keys) == 3


def test_small_measures_the_stand_in_of_a_spec() -> None:
    spec = "nats-sss:16:24:32:40:64"
    full, small = (score([spec], ["macs", "naswot"], small=small, batch=4, progress=False) for small in (False, True))
    assert small.column("macs")[0] < full.column("macs")[0] / 3
    assert small.column("naswot")[0] != full.column("naswot")[0]
