"""Training on pools: it carries over to a family never seen, and the seed decides."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.stats import spearmanr

from archcast.encoders.features import FEATURE_NAMES
from archcast.errors import ConfigError, DataError
from archcast.predictor.calibration import rank_gauss
from archcast.predictor.in_context import InContextNetwork
from archcast.predictor.in_context_training import (
    InContextTraining,
    LabelledPool,
    draw_task,
    make_task,
    train_in_context,
    with_experts,
)

FloatArray = NDArray[np.float64]

QUICK = InContextTraining(steps=30, learning_rate=0.1, tasks=3, labels=(8, 20), queries=24, held_out=0, slices=0.0)
SECRETS = [FEATURE_NAMES.index(name) for name in ("total/mean_log_width", "total/max_log_width")]


def toy_pool(name: str, seed: int, measured: int = 0, secrets: list[int] = SECRETS) -> LabelledPool:
    """Rows of noise; the columns `secrets` tell which is better."""
    features = np.random.default_rng(seed).normal(3, 1, (90, len(FEATURE_NAMES)))
    labels = features[:, secrets].sum(axis=1)
    columns = np.random.default_rng(seed + 100).normal(size=(90, measured))
    return LabelledPool(
        name, name, features, {"secret": labels, "partly": np.r_[labels[:60], np.full(30, np.nan)]}, columns
    )


@pytest.fixture(scope="module")
def pools() -> list[LabelledPool]:
    return [toy_pool(name, seed, measured) for seed, (name, measured) in enumerate([("a", 0), ("b", 2), ("c", 3)])]


@pytest.fixture(scope="module")
def trained(pools: list[LabelledPool]) -> InContextNetwork:
    return train_in_context(pools, QUICK)


def test_what_matters_in_other_pools_is_found_sooner(trained: InContextNetwork) -> None:
    other = toy_pool("d", 9)
    labels = other.labels["secret"]
    before, after = (
        spearmanr(
            net.few_shot(other.features[:15], rank_gauss(labels[:15]), other.features[15:]), labels[15:]
        ).statistic
        for net in (InContextNetwork.untrained(), trained)
    )
    assert after > before + 0.2


def test_experts_carry_over_without_labels(trained: InContextNetwork) -> None:
    other = toy_pool("d", 9)
    untrained = spearmanr(InContextNetwork.untrained().zero_shot(other.features), other.labels["secret"]).statistic
    assert spearmanr(trained.zero_shot(other.features), other.labels["secret"]).statistic > untrained + 0.2


def test_the_seed_decides(pools: list[LabelledPool]) -> None:
    short = replace(QUICK, steps=3)
    first, again, other = (train_in_context(pools, short, seed=seed) for seed in (0, 0, 1))
    for name, value in first.weights.items():
        np.testing.assert_array_equal(value, again.weights[name])
    assert not np.array_equal(first.weights["own"], other.weights["own"])


def test_training_leaves_the_callers_generator_alone(pools: list[LabelledPool]) -> None:
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    train_in_context(pools, replace(QUICK, steps=1))
    torch.testing.assert_close(torch.rand(2), expected)


def test_where_training_does_not_help_held_out_families_the_start_is_kept() -> None:
    contradicting = [toy_pool(name, seed, secrets=[60 * seed]) for seed, name in enumerate("abc")]
    texts: list[str] = []
    judged = replace(QUICK, held_out=1, check_every=30)
    network = train_in_context(contradicting, judged, on_step=texts.append)
    assert not np.any(network.weights["own"])
    assert len(texts) == 1
    assert len(network.sources) == 2  # the family that judges is no source
    assert np.any(train_in_context(contradicting, QUICK).weights["own"])


def test_experts_are_the_ridge_solution_of_each_pool(pools: list[LabelledPool]) -> None:
    network = with_experts(pools)
    assert network.sources == network.families == ("a", "b", "c")
    for row in network.weights["experts"]:
        assert set(np.argsort(-np.abs(row))[:2]) == set(SECRETS)


def test_context_and_queries_of_a_task_do_not_meet(pools: list[LabelledPool]) -> None:
    pool, nothing = pools[1], np.zeros(len(FEATURE_NAMES), np.bool_)
    chosen = np.arange(30)
    task = make_task(pool, pool.labels["secret"], chosen, 10, nothing)
    changed = np.r_[pool.labels["secret"][:10], np.random.default_rng(0).normal(size=80)]
    np.testing.assert_array_equal(task.targets, make_task(pool, changed, chosen, 10, nothing).targets)
    assert task.context.rows.shape == (10, len(FEATURE_NAMES))
    assert task.queries.rows.shape == (20, len(FEATURE_NAMES))
    assert task.queries.measured.shape == (20, 2)
    hidden = make_task(pool, pool.labels["secret"], chosen, 10, ~nothing)
    assert not hidden.context.gate.any()


def test_networks_without_a_label_are_never_drawn(pools: list[LabelledPool]) -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        task = draw_task(pools, 12, QUICK, rng)
        assert np.isfinite(task.targets).all()
        assert np.isfinite(task.truth).all()


def test_what_cannot_teach_is_refused(pools: list[LabelledPool]) -> None:
    with pytest.raises(ConfigError, match="too few"):
        train_in_context(pools, replace(QUICK, held_out=2))
    with pytest.raises(DataError, match="larger pools"):
        draw_task(pools, 200, QUICK, np.random.default_rng(0))
    pool = pools[0]
    with pytest.raises(DataError, match="features"):
        replace(pool, features=pool.features[:, 1:])
    with pytest.raises(DataError, match="90 networks"):
        replace(pool, labels={"short": np.zeros(3)})
    with pytest.raises(DataError, match="no labels"):
        replace(pool, labels={})
    with pytest.raises(DataError, match="missing"):
        replace(pool, measured=np.full((90, 1), np.nan))
