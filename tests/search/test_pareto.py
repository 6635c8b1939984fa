"""Fronts, hypervolumes, and what a candidate would add."""

from __future__ import annotations

import numpy as np
import pytest

from archcast.errors import DataError
from archcast.search.batches import by_bound, by_hypervolume, spread_out
from archcast.search.pareto import fronts, gains, hypervolume, is_efficient
from archcast.search.strategies.nsga2 import best_first, crowding_distance

POINTS = np.asarray([[1.0, 4.0], [2.0, 2.0], [2.0, 3.0], [4.0, 1.0], [0.0, 0.0]])


def test_the_front_is_what_nobody_beats() -> None:
    assert is_efficient(POINTS).tolist() == [True, False, True, True, False]
    assert is_efficient([[1.0], [3.0], [3.0]]).tolist() == [False, True, True]
    assert is_efficient([[1.0, 1.0], [1.0, 1.0]]).tolist() == [True, True]
    assert fronts(POINTS).tolist() == [0, 1, 0, 0, 2]


def test_hypervolume_by_hand() -> None:
    assert hypervolume(POINTS, [0.0, 0.0]) == pytest.approx(1 * 4 + 1 * 3 + 2 * 1)
    assert hypervolume([[-1.0, 5.0]], [0.0, 0.0]) == 0.0


@pytest.mark.parametrize("objectives", [2, 3])
def test_gains_are_differences_of_hypervolumes(objectives: int) -> None:
    rng = np.random.default_rng(0)
    values, offered = rng.random((12, objectives)), rng.random((30, objectives)) * 1.3 - 0.1
    before = hypervolume(values, np.zeros(objectives))
    expected = [hypervolume(np.vstack([values, row]), np.zeros(objectives)) - before for row in offered]
    assert gains(offered, values, np.zeros(objectives)) == pytest.approx(expected, abs=1e-12)
    assert (gains(offered, np.zeros((0, objectives)), np.zeros(objectives)) >= 0).all()


def test_a_table_is_wanted() -> None:
    with pytest.raises(DataError, match="one row per architecture"):
        is_efficient([1.0, 2.0])


def test_crowding_keeps_the_ends_and_the_lonely() -> None:
    line = np.asarray([[0.0, 4.0], [1.0, 3.0], [1.2, 2.8], [4.0, 0.0]])
    assert np.isinf(crowding_distance(line)[[0, 3]]).all()
    assert best_first(line)[2] == 2
    assert best_first(np.asarray([[1.0], [3.0], [2.0]])).tolist() == [1, 2, 0]


def test_a_batch_spreads_out() -> None:
    features = np.asarray([[0.0, 0.0], [0.01, 0.0], [3.0, 3.0], [-3.0, 1.0]], dtype=np.float32)
    score = np.asarray([1.0, 0.99, 0.5, 0.4])
    assert list(spread_out(score, features, features[:0], 3, 1.0)) == [0, 2, 3]
    assert list(spread_out(score, features, features[:0], 2, 0.0)) == [0, 1]
    assert next(spread_out(score, features, features[:1], 1, 1.0)) == 2  # what is taken already counts
    mean, spread = np.asarray([1.0, 0.99, 0.9, 0.0]), np.full(4, 0.5)
    assert list(by_bound(mean, spread, features, 2)) == [0, 2]
    assert next(by_bound(mean, spread, features, 1, features[:1])) == 2  # or is under way


@pytest.mark.parametrize("objectives", [2, 3])
def test_a_batch_fills_the_gaps_of_a_front(objectives: int) -> None:
    ends, reference = np.eye(objectives), np.full(objectives, -0.1)
    offered = np.vstack([np.full(objectives, 0.7), 0.69 * np.ones(objectives), 0.1 * np.ones(objectives)])
    assert next(by_hypervolume(offered, offered + 0.01, ends, reference, 3)) == 0
    assert sorted(by_hypervolume(offered, offered, ends, reference, 5)) == [0, 1, 2]
    many = np.random.default_rng(1).random((300, objectives))
    assert len(set(by_hypervolume(many, many, ends, reference, 4))) == 4
