"""A predictor that knows other spaces and learnt from a few labels: both have a say in the order of a pool."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from archcast.encoders.pool import Pool
from archcast.errors import BundleError
from archcast.predictor.bundle_upgrades import upgrade
from archcast.predictor.calibration import standardised
from archcast.predictor.consensus import consensus
from archcast.predictor.fitted import Fitted, with_proxies, zero_shot_weight
from archcast.predictor.predictor import Predictor
from archcast.predictor.ranker import PoolRanker

from .conftest import Sample, draw_sample, few_trees

FloatArray = NDArray[np.float64]


class Knowing(PoolRanker):
    """A ranker whose zero-shot order is the number of parameters, up or down."""

    sign = 1.0

    def scores(
        self, features: NDArray[np.float32], pool: Pool | None = None, graphs: FloatArray | None = None, **_: object
    ) -> FloatArray:
        del pool, graphs
        return self.sign * features[:, 0].astype(np.float64)


def knowing(labelled: Sample, sign: float = 1.0) -> Knowing:
    ranker = PoolRanker.fit({"cells": (labelled.features, labelled.scores)})
    made = Knowing(ranker.names, ranker.weights, ranker.amplitudes, ranker.reference)
    object.__setattr__(made, "sign", sign)
    return made


def few(labelled: Sample, ranker: PoolRanker, measured: dict[str, FloatArray] | None = None) -> Predictor:
    predictor = Predictor()
    predictor.ranker = ranker
    with few_trees():
        return predictor.fit(labelled.graphs[:16], labelled.scores[:16], measured=measured)


@pytest.fixture(scope="module")
def adapted_to_few(labelled: Sample) -> Predictor:
    return few(labelled, knowing(labelled))


def fitted_of(predictor: Predictor) -> Fitted:
    assert predictor.fitted is not None
    return predictor.fitted


@pytest.mark.parametrize(("labels", "expected"), [(10, 1.0), (20, 0.5), (100, 0.1), (190, 1 / 19), (210, 0.0)])
def test_an_order_that_agrees_counts_as_ten_labels(labels: int, expected: float) -> None:
    values = np.random.default_rng(0).normal(size=labels)
    assert zero_shot_weight(np.exp(values), values) == pytest.approx(expected)


@pytest.mark.parametrize("order", [-np.arange(20.0), np.ones(20)])
def test_an_order_that_misleads_or_tells_nothing_does_not_count(order: FloatArray) -> None:
    assert zero_shot_weight(order, np.arange(20.0)) == 0


def test_half_an_agreement_counts_half() -> None:
    rng = np.random.default_rng(0)
    labels = rng.normal(size=2000)
    order = 0.5 * labels + 0.75**0.5 * rng.normal(size=2000)
    assert zero_shot_weight(order[:50], labels[:50]) * 50 == pytest.approx(5, abs=1.5)


def test_a_pool_is_ordered_by_both(adapted_to_few: Predictor, unseen: Sample) -> None:
    fitted = fitted_of(adapted_to_few)
    assert 0 < fitted.zero_shot < 0.7
    own = adapted_to_few.predict(unseen.graphs, pool="reference").scores
    order = unseen.features[:, 0].astype(np.float64)
    expected = own + fitted.zero_shot * own.std() * standardised(order)
    forecast = adapted_to_few.predict(unseen.graphs)
    np.testing.assert_allclose(forecast.scores, expected, atol=1e-9)
    # The order is that of the scores, the values are those the heads gave.
    assert (np.diff(forecast.value[np.argsort(forecast.scores)]) >= -1e-9).all()
    alone = adapted_to_few.predict(unseen.graphs, pool="reference")
    assert np.isclose(np.sort(forecast.value), np.sort(alone.value), rtol=1e-3).mean() > 0.9  # but for shared ranks


def test_networks_that_come_alone_are_left_to_the_heads(adapted_to_few: Predictor, unseen: Sample) -> None:
    fitted = fitted_of(adapted_to_few)
    inputs = fitted.inputs(unseen.features[:5], adapted_to_few.ranker, {}, unseen.graphs[:5])
    np.testing.assert_allclose(adapted_to_few(unseen.graphs[:5]), fitted.blend.predict(inputs), atol=1e-9)


def test_an_order_against_the_labels_is_not_heard(labelled: Sample, unseen: Sample) -> None:
    predictor = few(labelled, knowing(labelled, -1.0))
    assert fitted_of(predictor).zero_shot == 0
    np.testing.assert_array_equal(predictor(unseen.graphs), predictor(unseen.graphs, pool="reference"))


def test_without_a_ranker_there_is_none(fitted: Predictor) -> None:
    assert fitted_of(fitted).zero_shot == 0


def test_proxies_sharpen_it_where_they_can() -> None:
    sample = draw_sample(30, seed=5)
    pool, scores = Pool.of(sample.features), sample.features[:, 0].astype(np.float64)
    known = {"naswot": sample.scores, "grad_norm": sample.scores[::-1].copy()}
    np.testing.assert_array_equal(
        with_proxies(scores, known, pool), consensus(scores, {"naswot": sample.scores}, pool.variation)
    )
    np.testing.assert_array_equal(with_proxies(scores, {"grad_norm": sample.scores}, pool), scores)
    np.testing.assert_array_equal(with_proxies(scores, {}, pool), scores)


@pytest.mark.parametrize("name", ["naswot", "grad_norm"])
def test_measured_networks_are_ordered_by_all_three(labelled: Sample, unseen: Sample, name: str) -> None:
    predictor = few(labelled, knowing(labelled), measured={name: labelled.scores[:16]})
    fitted = fitted_of(predictor)
    assert fitted.zero_shot > 0
    columns = {name: unseen.scores}
    own = predictor.predict(unseen.graphs, pool="reference", measured=columns).scores
    order = with_proxies(unseen.features[:, 0].astype(np.float64), columns, Pool.of(unseen.features))
    expected = own + fitted.zero_shot * own.std() * standardised(order)
    np.testing.assert_allclose(predictor(unseen.graphs, measured=columns), expected, atol=1e-9)


def test_survives_a_bundle(labelled: Sample, unseen: Sample, tmp_path: Path) -> None:
    predictor = few(labelled, PoolRanker.fit({"cells": (labelled.features, labelled.scores)}))
    assert fitted_of(predictor).zero_shot > 0
    loaded = Predictor.from_pretrained(predictor.save_pretrained(tmp_path / "bundle"))
    assert fitted_of(loaded).zero_shot == fitted_of(predictor).zero_shot
    np.testing.assert_allclose(loaded(unseen.graphs), predictor(unseen.graphs), atol=1e-6)


@pytest.mark.parametrize("value", [-0.1, 1.5, np.nan])
def test_a_senseless_weight_is_refused(fitted: Predictor, tmp_path: Path, value: float) -> None:
    folder = fitted.save_pretrained(tmp_path / "bundle")
    arrays = load_file(folder / "model.safetensors")
    save_file(arrays | {"zero_shot": np.asarray(value)}, folder / "model.safetensors")
    with pytest.raises(BundleError, match="zero_shot"):
        Predictor.from_pretrained(folder)


def test_before_schema_6_the_heads_ranked_alone() -> None:
    for held, expected in (({"factor": np.asarray(1.0)}, {"factor", "zero_shot"}), ({}, set())):
        config, arrays = upgrade({"schema_version": 5}, dict(held))
        assert config["schema_version"] == 6
        assert set(arrays) == expected
