"""The front door: `archcast.predict` and the names beside it."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from torch import nn

import archcast
from archcast.errors import ArchcastError
from archcast.predictor import api
from archcast.predictor.predictor import Predictor

from .conftest import Sample


def test_predict_with_a_saved_predictor(bundle: Path, fitted: Predictor, unseen: Sample) -> None:
    forecast = archcast.predict(unseen.specs, predictor=str(bundle))
    assert isinstance(forecast, archcast.Predictions)
    np.testing.assert_allclose(forecast.values, fitted.predict(unseen.graphs).values, atol=1e-9)
    np.testing.assert_array_equal(archcast.predict(unseen.specs, predictor=bundle).scores, forecast.scores)


def test_one_network_and_the_shape_of_its_input(bundle: Path) -> None:
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 10)
    )
    small = archcast.predict(net, predictor=str(bundle), input_shape=(1, 3, 32, 32))
    large = archcast.predict(net, predictor=str(bundle), input_shape=(1, 3, 64, 64))
    assert len(small) == 1
    assert small[0].params == large[0].params
    assert large[0].macs > 3 * small[0].macs


def test_predictors_are_read_once_and_again_when_written_anew(
    bundle: Path, adapted: Predictor, unseen: Sample, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: list[str] = []
    load = Predictor.from_pretrained

    def count(name: str) -> Predictor:
        reads.append(name)
        return load(name)

    monkeypatch.setattr(Predictor, "from_pretrained", count)
    for _ in range(3):
        before = archcast.predict(unseen.specs, predictor=str(bundle))
    assert len(reads) == 1
    adapted.save_pretrained(bundle)
    os.utime(bundle / "config.json", ns=(1, 1))
    after = archcast.predict(unseen.specs, predictor=str(bundle))
    assert len(reads) == 2
    assert (after.scores != before.scores).any()


def test_another_task_is_refused(bundle: Path, unseen: Sample) -> None:
    with pytest.raises(ArchcastError, match="trained for 'cifar10', not 'imagenet1k'"):
        archcast.predict(unseen.specs, task="imagenet1k", predictor=str(bundle))


def test_unknown_predictors_are_refused(unseen: Sample) -> None:
    for name in ("no-such-predictor", "no\0name"):
        with pytest.raises(archcast.ArchcastError, match="no predictor"):
            archcast.predict(unseen.specs, predictor=name)


def test_public_names_exist() -> None:
    for name in archcast.__all__:
        assert getattr(archcast, name) is not None
    assert set(archcast.__all__) <= set(dir(archcast))
    assert archcast.predict is api.predict
    with pytest.raises(AttributeError, match="has no attribute 'forecast'"):
        archcast.forecast  # noqa: B018


@pytest.mark.usefixtures("quick_trees")
def test_from_table_to_forecast_through_the_front_door(tmp_path: Path, labelled: Sample) -> None:
    """Nine lines a user would write."""
    lines = [f'"{spec}",{score}' for spec, score in zip(labelled.specs, labelled.scores, strict=True)]
    (tmp_path / "labels.csv").write_text("\n".join(["arch,score", *lines]))
    table = archcast.read_table(tmp_path / "labels.csv")
    predictor = archcast.Predictor().fit(table.archs[:20], table.scores[:20], task="mine")
    predictor.save_pretrained(tmp_path / "mine")
    forecast = archcast.predict(table.archs[20:], task="mine", predictor=str(tmp_path / "mine"))
    assert np.corrcoef(forecast.values, table.scores[20:])[0, 1] > 0.3


@pytest.mark.parametrize("name", ["base"])
def test_the_built_in_predictor(name: str, unseen: Sample) -> None:
    if not (Path(archcast.__file__).parents[1] / "pretrained" / name).is_dir():
        pytest.skip(f"pretrained/{name} is not in this checkout")
    forecast = archcast.predict(unseen.specs, predictor=name)
    assert np.corrcoef(np.argsort(np.argsort(forecast.scores)), np.argsort(np.argsort(unseen.scores)))[0, 1] > 0.7
    assert (forecast.familiarity > 0.5).all()


def test_proxies_sharpen_a_pool_of_a_strange_space() -> None:
    space = archcast.get_space("mini-cells")
    rng = np.random.default_rng(0)
    specs = [f"mini-cells:{space.sample(rng)}" for _ in range(16)]
    plain, measured = (archcast.predict(specs, proxies=proxies) for proxies in ("none", "fast"))
    assert measured.names == plain.names
    assert not np.array_equal(measured.scores, plain.scores)
    np.testing.assert_array_equal(measured.familiarity, plain.familiarity)


def test_proxies_for_too_few_networks_are_refused_before_measuring(unseen: Sample) -> None:
    with pytest.raises(ArchcastError, match="15 networks are too few for proxies"):
        archcast.predict(unseen.specs[:15], proxies="full")
    with pytest.raises(ArchcastError, match="choose none, fast or full"):
        archcast.predict(unseen.specs, proxies="many")
