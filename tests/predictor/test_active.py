"""Choosing what to label: spread out, away from what is known, useful for the rest."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from archcast.errors import ConfigError
from archcast.predictor.active import _greedy, choose
from archcast.predictor.heads.gaussian_process import matern
from archcast.predictor.predictor import Predictor

from .conftest import Sample


def clusters(seed: int = 0) -> NDArray[np.float32]:
    """Four well separated groups of 30 networks."""
    rng = np.random.default_rng(seed)
    centres = np.repeat(np.asarray([[0, 0], [8, 0], [0, 8], [8, 8]]), 30, axis=0)
    return (centres + rng.normal(0, 0.3, size=(120, 2))).astype(np.float32)


def test_one_of_every_group_first() -> None:
    picks = choose(clusters(), 4)
    assert sorted((picks // 30).tolist()) == [0, 1, 2, 3]
    assert len(set(choose(clusters(), 50).tolist())) == 50


def test_what_is_known_is_not_asked_again() -> None:
    rows = clusters()
    picks = choose(rows, 2, labelled=rows[:60])
    assert sorted((picks // 30).tolist()) == [2, 3]


def test_updates_of_rank_one_are_those_of_the_whole_matrix() -> None:
    """After the picks, the next is the one that takes most of the variance computed from scratch."""
    rows = np.random.default_rng(0).normal(size=(25, 3))
    kernel = matern(np.linalg.norm(rows[:, None] - rows[None], axis=-1))
    picks = _greedy(kernel, 6, 0)
    known, left = picks[:5], [row for row in range(25) if row not in picks[:5]]

    def variance(labels: list[int]) -> float:
        inside = kernel[np.ix_(labels, labels)] + 0.05 * np.eye(len(labels))
        across = kernel[np.ix_(labels, range(25))]
        return float(np.trace(kernel) - np.trace(across.T @ np.linalg.solve(inside, across)))

    assert min(left, key=lambda row: variance([*known, row])) == picks[5]


def test_a_metric_says_which_way_to_spread() -> None:
    rows = clusters()
    picks = choose(rows, 2, metric=np.asarray([1.0, 1e-6]))
    assert len({row // 30 % 2 for row in picks.tolist()}) == 2


def test_equal_networks_and_senseless_counts() -> None:
    assert len(set(choose(np.ones((5, 3), np.float32), 5).tolist())) == 5
    for count in (0, 6):
        with pytest.raises(ConfigError, match="choose at least 1 and at most the 5"):
            choose(np.ones((5, 3), np.float32), count)


def test_a_predictor_suggests_before_and_after_labels(fitted: Predictor, labelled: Sample, unseen: Sample) -> None:
    fresh = Predictor().suggest(unseen.graphs, 5)
    assert len(set(fresh.tolist())) == 5
    np.testing.assert_array_equal(fresh, Predictor().suggest(unseen.specs, 5))
    informed = fitted.suggest(unseen.graphs, 5, labelled=labelled.graphs)
    assert len(set(informed.tolist())) == 5
    assert informed.tolist() != fresh.tolist()


def test_a_predictor_with_a_ranker_suggests_too(adapted: Predictor, labelled: Sample, unseen: Sample) -> None:
    """Its heads have one more column than a network has features."""
    assert len(adapted.suggest(unseen.graphs, 3, labelled=labelled.graphs[:30])) == 3
