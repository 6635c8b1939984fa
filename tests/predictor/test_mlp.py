"""Perceptrons on rows: odd columns do no harm, members disagree far away, any loss trains them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import kendalltau

from archcast.errors import ConfigError
from archcast.predictor.heads.mlp import MLPConfig, MLPHead
from archcast.predictor.heads.networks import Networks
from archcast.predictor.heads.training import HeadTraining
from archcast.predictor.losses import LOSSES

FloatArray = NDArray[np.float64]
SMALL = MLPConfig(
    hidden=(32,), members=2, training=HeadTraining(steps=80, batch_size=60, learning_rate=0.01, cpu=True)
)  # fmt: skip


def embeddings(count: int, seed: int) -> tuple[Networks, FloatArray]:
    """Rows of which two columns count, one of them twice over, in very different units."""
    rows = np.random.default_rng(seed).normal(size=(count, 8)) * np.geomspace(1e-3, 1e5, 8)
    return Networks(rows), rows[:, 0] / 1e-3 + np.abs(rows[:, 7] / 1e5)


@pytest.mark.parametrize("loss", LOSSES)
def test_any_loss_trains(loss: str) -> None:
    head = MLPHead.fit(*embeddings(120, 0), config=replace(SMALL, loss=loss))
    others, truth = embeddings(100, 1)
    assert kendalltau(head.predict(others), truth).statistic > 0.5


def test_scores_are_on_the_scale_of_the_targets() -> None:
    networks, targets = embeddings(120, 0)
    scores = MLPHead.fit(networks, 5 * targets + 70, config=SMALL).predict(networks)
    assert np.abs(scores - 5 * targets - 70).mean() < 3


def test_a_constant_column_never_counts_and_far_away_is_finite() -> None:
    networks, targets = embeddings(60, 0)
    head = MLPHead.fit(Networks(np.column_stack([networks.features, np.full(60, 7.0)])), targets, config=SMALL)
    rows = np.column_stack([networks.features, np.full(60, 7.0)])
    later = rows.copy()
    later[:, 8] = -1e6
    np.testing.assert_array_equal(head.predict(Networks(rows)), head.predict(Networks(later)))
    assert np.isfinite(head.predict(Networks(np.full((2, 9), 1e300)))).all()


def test_members_agree_more_where_there_are_labels() -> None:
    networks, targets = embeddings(200, 0)
    head = MLPHead.fit(networks, targets, config=replace(SMALL, members=4))
    far = Networks(networks.features * 4)
    assert head.spread(far).mean() > 1.5 * head.spread(networks).mean()


def test_odd_configs_are_refused() -> None:
    for changes in ({"hidden": (0,)}, {"members": 0}, {"dropout": 1.0}):
        with pytest.raises(ConfigError, match=next(iter(changes))):
            replace(SMALL, **changes)
