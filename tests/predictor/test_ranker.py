"""Ranking a pool nobody has labelled: by experts of pools that vary alike, else by the prior."""

from __future__ import annotations

import inspect
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import kendalltau

from archcast.encoders.features import FEATURE_NAMES
from archcast.encoders.pool import Pool
from archcast.predictor.prior import LAWS
from archcast.predictor.ranker import PoolRanker

from .conftest import Sample

Features = NDArray[np.float32]
FloatArray = NDArray[np.float64]

DEEP = [FEATURE_NAMES.index(name) for name in FEATURE_NAMES if name.startswith("path/")][:12]
WIDE = [FEATURE_NAMES.index(name) for name in FEATURE_NAMES if name.startswith("edge/")][:12]
PRIOR_COLUMNS = [FEATURE_NAMES.index(name) for name in LAWS["size"]]


def toy_pool(count: int, seed: int, varying: list[int], shift: float = 5.0) -> tuple[Features, FloatArray]:
    """Networks that differ in the `varying` features; the first of them makes them good, the second bad."""
    rng = np.random.default_rng(seed)
    features = np.ones((count, len(FEATURE_NAMES)), np.float32)
    features[:, varying] = rng.uniform(0, 2, (count, len(varying))) * shift
    quality = features[:, varying[0]] - features[:, varying[1]]
    return features, (quality + rng.normal(0, 0.1, count)).astype(np.float64)


@pytest.fixture(scope="module")
def ranker() -> PoolRanker:
    return PoolRanker.fit({"deep": toy_pool(80, 0, DEEP), "wide": toy_pool(80, 1, WIDE)})


@pytest.mark.parametrize("varying", [DEEP, WIDE])
def test_relations_carry_over_to_a_pool_of_another_size(ranker: PoolRanker, varying: list[int]) -> None:
    features, labels = toy_pool(60, 7, varying, shift=50.0)
    assert kendalltau(ranker.scores(features, Pool.of(features)), labels).statistic > 0.6


def test_the_source_that_varies_alike_counts(ranker: PoolRanker) -> None:
    deep, wide = ranker.similarities(Pool.of(toy_pool(60, 7, DEEP)[0]))
    assert deep > 0.9
    assert wide < 0.1


def test_where_nothing_is_alike_the_prior_ranks(ranker: PoolRanker) -> None:
    features = np.ones((40, len(FEATURE_NAMES)), np.float32)
    features[:, PRIOR_COLUMNS] = np.random.default_rng(0).permutation(40)[:, None] * 0.5
    pool = Pool.of(features)
    assert ranker.similarities(pool).max() < 0.1
    assert kendalltau(ranker.scores(features, pool), features[:, PRIOR_COLUMNS[0]]).statistic == pytest.approx(1)


def test_graph_encoders_join_the_prior_where_wiring_varies_and_they_agree_with_it(ranker: PoolRanker) -> None:
    features = np.ones((60, len(FEATURE_NAMES)), np.float32)
    every = [FEATURE_NAMES.index(name) for laws in LAWS.values() for name in laws]
    features[:, every] = np.random.default_rng(0).permutation(60)[:, None] * 0.5
    cells, chains = (replace(Pool.of(features), variation=np.asarray(what)) for what in ([1.0, 0, 0], [0.0, 0, 1]))
    alone = ranker.scores(features, cells)
    other = np.random.default_rng(1).normal(size=60)
    agreeing = alone + 0.5 * other
    agreeing = (agreeing - agreeing.mean()) / agreeing.std()
    together = ranker.scores(features, cells, agreeing)
    assert kendalltau(together, other).statistic > kendalltau(alone, other).statistic + 0.02
    np.testing.assert_allclose(ranker.scores(features, cells, -agreeing), alone, atol=1e-9)
    np.testing.assert_allclose(ranker.scores(features, chains, agreeing), ranker.scores(features, chains), atol=1e-9)


def test_a_pool_without_variation_is_all_equal(ranker: PoolRanker) -> None:
    features = np.ones((5, len(FEATURE_NAMES)), np.float32)
    np.testing.assert_array_equal(ranker.scores(features, Pool.of(features)), 0)


def test_the_order_of_networks_does_not_matter(ranker: PoolRanker) -> None:
    features, _ = toy_pool(50, 3, DEEP)
    order = np.random.default_rng(0).permutation(50)
    straight = ranker.scores(features, Pool.of(features))
    shuffled = ranker.scores(features[order], Pool.of(features[order]))
    np.testing.assert_allclose(shuffled, straight[order], atol=1e-6)


def test_among_members_no_score_depends_on_what_else_is_asked(ranker: PoolRanker, unseen: Sample) -> None:
    pool = Pool.of(unseen.features)
    together = ranker.scores(unseen.features, pool)
    alone = [ranker.scores(row[None], pool, members=unseen.features)[0] for row in unseen.features]
    np.testing.assert_allclose(alone, together, atol=1e-9)
    assert together.std() > 0.1


def test_one_network_stands_in_the_reference_pool(ranker: PoolRanker) -> None:
    features, labels = toy_pool(30, 5, DEEP)
    alone = np.concatenate([ranker.scores(features[i : i + 1]) for i in range(30)])
    assert np.isfinite(alone).all()
    assert kendalltau(alone, labels).statistic > 0.3


def test_scoring_never_sees_labels_of_the_target(ranker: PoolRanker) -> None:
    """Not by an argument, and not by memory: a ranker made without the pool is not changed by fitting another."""
    assert list(inspect.signature(ranker.scores).parameters) == ["features", "pool", "graphs", "members"]
    features, labels = toy_pool(40, 9, DEEP)
    before = ranker.scores(features, Pool.of(features))
    PoolRanker.fit({"target": (features, -labels)})
    np.testing.assert_array_equal(ranker.scores(features, Pool.of(features)), before)


def test_labels_count_by_rank_only() -> None:
    features, labels = toy_pool(60, 0, DEEP)
    first = PoolRanker.fit({"deep": (features, labels)})
    second = PoolRanker.fit({"deep": (features, np.exp(labels / 3))})
    np.testing.assert_allclose(first.weights, second.weights)


def test_same_seed_same_ranker() -> None:
    source = {"deep": toy_pool(60, 0, DEEP)}
    np.testing.assert_array_equal(PoolRanker.fit(source, seed=4).weights, PoolRanker.fit(source, seed=4).weights)


def test_ranks_cells_it_has_not_seen(labelled: Sample, unseen: Sample) -> None:
    ranker = PoolRanker.fit({"cells": (labelled.features, labelled.scores)})
    scores = ranker.scores(unseen.features, Pool.of(unseen.features))
    assert kendalltau(scores, unseen.scores).statistic > 0.5
