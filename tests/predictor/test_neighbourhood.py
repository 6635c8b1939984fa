"""Familiarity falls with distance from what was labelled; difficulty follows the errors made nearby."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from torch import nn

from archcast.encoders.features import encode
from archcast.graphs.capture import capture
from archcast.predictor import neighbourhood as module
from archcast.predictor.neighbourhood import Neighbourhood

from .conftest import Sample

FloatArray = NDArray[np.float64]


def cloud(count: int, seed: int = 0) -> FloatArray:
    return np.random.default_rng(seed).normal(size=(count, 6))


def test_what_was_seen_is_familiar(labelled: Sample, unseen: Sample) -> None:
    near, _ = Neighbourhood.fit(labelled.features.astype(np.float64), np.ones(60))
    familiarity = near.familiarity(labelled.features.astype(np.float64))
    assert (familiarity > 0.9).mean() > 0.9
    other_cells = near.familiarity(unseen.features.astype(np.float64))
    assert other_cells.mean() > 0.8
    assert ((other_cells > 0) & (other_cells <= 1)).all()


def test_networks_of_other_kinds_are_unfamiliar(labelled: Sample) -> None:
    near, _ = Neighbourhood.fit(labelled.features.astype(np.float64), np.ones(60))
    transformer = capture(
        nn.TransformerEncoder(nn.TransformerEncoderLayer(64, 4, 128, batch_first=True), 2), (1, 16, 64)
    )
    perceptron = capture(nn.Sequential(nn.Flatten(), nn.Linear(3072, 64), nn.ReLU(), nn.Linear(64, 10)), (1, 3, 32, 32))
    assert near.familiarity(encode([transformer, perceptron]).astype(np.float64)).max() < 0.5


def test_familiarity_falls_with_distance() -> None:
    near, _ = Neighbourhood.fit(cloud(200), np.ones(200))
    away = near.familiarity(np.asarray([[step, 0, 0, 0, 0, 0.0] for step in (0, 5, 10, 100)]))
    assert away[0] == 1
    assert (np.diff(away) < 0).all()
    assert away[-1] < 0.05


def test_a_constant_feature_that_changes_is_unfamiliar() -> None:
    rows = np.column_stack([cloud(100), np.full(100, 3.0)])
    near, _ = Neighbourhood.fit(rows, np.ones(100))
    changed = rows.copy()
    changed[:, -1] = 12
    assert near.familiarity(rows).mean() > 0.9
    assert near.familiarity(changed).max() < 0.5


def test_difficulty_is_larger_where_errors_were_larger() -> None:
    rows = cloud(300)
    errors = np.where(rows[:, 0] > 0, 3.0, 0.5)
    near, own = Neighbourhood.fit(rows, errors)
    hard, easy = near.difficulty(np.asarray([[2.0, 0, 0, 0, 0, 0], [-2.0, 0, 0, 0, 0, 0]]))
    assert hard > 2
    assert easy < 1
    assert own[rows[:, 0] > 1].mean() > 2 > 1 > own[rows[:, 0] < -1].mean()


def test_own_difficulty_leaves_the_own_error_out() -> None:
    rows, errors = cloud(100), np.full(100, 1.0)
    errors[7] = 1000.0
    near, own = Neighbourhood.fit(rows, errors)
    assert own[7] == pytest.approx(max(1.0, module._FLOOR * errors.mean()))  # the error of its neighbours
    assert own[7] < near.difficulty(rows[7:8])[0]


def test_no_difficulty_is_zero() -> None:
    rows = cloud(60)
    errors = np.where(rows[:, 0] > 1.5, 4.0, 0.0)
    near, own = Neighbourhood.fit(rows, errors)
    assert own.min() >= module._FLOOR * errors.mean() - 1e-12
    assert Neighbourhood.fit(rows, np.zeros(60))[1].min() > 0
    assert near.difficulty(rows).min() > 0


def test_many_rows_are_thinned_and_blocks_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_ROWS", 80)
    rows = cloud(200)
    near, own = Neighbourhood.fit(rows, np.abs(rows[:, 0]), seed=1)
    assert len(near.rows) == len(near.errors) == 80
    assert own.shape == (200,)
    whole, positions = module._nearest(rows, rows, 4)
    blocks, block_positions = module._nearest(rows, rows, 4, chunk=7)
    np.testing.assert_allclose(np.sort(whole), np.sort(blocks), atol=1e-6)
    np.testing.assert_array_equal(np.sort(positions), np.sort(block_positions))


def test_fewer_rows_than_neighbours() -> None:
    near, own = Neighbourhood.fit(cloud(4), np.ones(4))
    assert np.isfinite(own).all()
    assert near.familiarity(cloud(3, 1)).shape == (3,)


def test_identical_rows() -> None:
    near, own = Neighbourhood.fit(np.ones((30, 6)), np.ones(30))
    np.testing.assert_allclose(own, 1)
    assert near.familiarity(np.ones((1, 6)))[0] == 1
    assert near.familiarity(np.full((1, 6), 9.0))[0] < 0.01
