"""The network that reads a pool: what it is before training, and what it never looks at."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.stats import kendalltau, spearmanr

from archcast.datasets.spaces import SPACES
from archcast.encoders.features import FEATURE_NAMES, encode, feature_column
from archcast.encoders.pool import Pool
from archcast.errors import DataError
from archcast.predictor.calibration import rank_gauss, standardised
from archcast.predictor.in_context import GROUP_OF, GROUPS, InContextNetwork, Scale, describe_pool
from archcast.predictor.in_context_process import Members, zero_shot
from archcast.predictor.prior import prior

FloatArray = NDArray[np.float64]
COUNT = len(FEATURE_NAMES)


def features_of(space: str, count: int, seed: int = 0) -> FloatArray:
    rng = np.random.default_rng(seed)
    return encode(SPACES[space].stamp([SPACES[space].sample(rng) for _ in range(count)])).astype(np.float64)


def shaken(seed: int = 0) -> InContextNetwork:
    """A network with two experts and weights that are nowhere zero, so that every part is heard."""
    rng = np.random.default_rng(seed)
    experts, gates = rng.normal(0, 0.05, (2, COUNT)), rng.uniform(0, 1, (2, COUNT))
    network = InContextNetwork.untrained(("one", "two"), ("a", "b"), experts, gates)
    learnt = {
        name: value if name in ("experts", "gates") else value + rng.normal(0, 0.1, value.shape)
        for name, value in network.weights.items()
    }
    return InContextNetwork(network.sources, network.families, learnt)


@pytest.fixture(scope="module")
def cells() -> FloatArray:
    return features_of("nasbench201", 90)


@pytest.fixture(scope="module")
def depth(cells: FloatArray) -> FloatArray:
    return feature_column(cells.astype(np.float32), "path/mean convk").astype(np.float64)


def test_every_column_has_a_group() -> None:
    assert len(GROUP_OF) == COUNT
    assert set(GROUP_OF) == set(range(len(GROUPS)))
    assert GROUPS[GROUP_OF[FEATURE_NAMES.index("stage3/weighted")]] == "stage/weighted"


@pytest.mark.parametrize("space", ["nasbench201", "nats-sss", "mini-transformers"])
def test_untrained_and_without_labels_it_is_the_prior(space: str) -> None:
    features = features_of(space, 40)
    pool = Pool.of(features.astype(np.float32))
    described = Scale.of(features).describe(features)
    expected = prior(described.rows * described.gate, pool, True)
    found = InContextNetwork.untrained().zero_shot(features)
    np.testing.assert_allclose(found, standardised(expected), atol=1e-9)


def test_untrained_experts_are_not_heard(cells: FloatArray) -> None:
    rng = np.random.default_rng(0)
    experts = rng.normal(size=(1, COUNT)), rng.uniform(0, 1, (1, COUNT))
    with_one = InContextNetwork.untrained(["one"], ["a"], *experts)
    np.testing.assert_allclose(with_one.zero_shot(cells), InContextNetwork.untrained().zero_shot(cells))


def test_untrained_it_learns_from_labels(cells: FloatArray, depth: FloatArray) -> None:
    targets = rank_gauss(depth[:40])
    for network in (InContextNetwork.untrained(), shaken()):
        scores = network.few_shot(cells[:40], targets, cells[40:])
        assert kendalltau(scores, depth[40:]).statistic > 0.6
        down = network.few_shot(cells[:40], -targets, cells[40:])
        assert kendalltau(down, depth[40:]).statistic < -0.4


def test_members_have_no_order(cells: FloatArray, depth: FloatArray) -> None:
    network, order = shaken(), np.random.default_rng(1).permutation(len(cells))
    np.testing.assert_allclose(network.zero_shot(cells[order]), network.zero_shot(cells)[order], atol=1e-7)
    targets, few = rank_gauss(depth[:40]), np.random.default_rng(2).permutation(40)
    scores = network.few_shot(cells[:40], targets, cells[40:])
    same = network.few_shot(cells[few], targets[few], cells[40:])
    np.testing.assert_allclose(same, scores, atol=1e-6)
    others = np.random.default_rng(3).permutation(50)
    turned = network.few_shot(cells[:40], targets, cells[40:][others])
    np.testing.assert_allclose(turned, scores[others], atol=1e-7)


def test_with_labels_a_score_does_not_depend_on_what_else_is_asked(cells: FloatArray, depth: FloatArray) -> None:
    network, targets = shaken(), rank_gauss(depth[:40])
    every = network.few_shot(cells[:40], targets, cells[40:])
    np.testing.assert_allclose(network.few_shot(cells[:40], targets, cells[40:41]), every[:1], atol=1e-9)


def test_measured_statistics_help_where_features_are_blind(cells: FloatArray) -> None:
    rng = np.random.default_rng(0)
    secret = rng.normal(size=len(cells))
    columns = secret[:, None] + 0.1 * rng.normal(size=(len(cells), 2))
    targets, network = rank_gauss(secret[:50]), InContextNetwork.untrained()
    blind = network.few_shot(cells[:50], targets, cells[50:])
    seeing = network.few_shot(cells[:50], targets, cells[50:], columns[:50], columns[50:])
    assert abs(spearmanr(blind, secret[50:]).statistic) < 0.5
    assert spearmanr(seeing, secret[50:]).statistic > 0.85


def test_a_hidden_source_is_not_heard(cells: FloatArray) -> None:
    described = describe_pool(cells)
    network = shaken()
    alike = {**network.weights, "gates": np.stack([described.gate, described.gate]), "experts share": np.ones(1)}
    network = replace(network, weights=alike)
    louder = {**network.weights, "experts": network.weights["experts"] * [[1.0], [50.0]]}
    changed = replace(network, weights=louder)
    hidden = torch.tensor([[False, True]])
    kept, same = (zero_shot(net.tensors, Members.of([described], hidden)) for net in (network, changed))
    torch.testing.assert_close(kept, same)
    quiet, loud = (zero_shot(net.tensors, Members.of([described])) for net in (network, changed))
    assert not torch.allclose(quiet, loud)


def test_constant_columns_and_far_away_networks_are_harmless(cells: FloatArray, depth: FloatArray) -> None:
    targets, network = rank_gauss(depth[:30]), shaken()
    assert np.isfinite(network.few_shot(cells[:30], targets, np.full((2, COUNT), 1e9))).all()
    assert np.isfinite(network.zero_shot(np.ones((5, COUNT)))).all()
    np.testing.assert_allclose(network.few_shot(np.ones((30, COUNT)), targets, np.ones((2, COUNT))), 0, atol=0.2)


def test_other_columns_are_refused(cells: FloatArray) -> None:
    for wrong in (cells[:, 1:], cells[:0]):
        with pytest.raises(DataError, match="encode"):
            InContextNetwork.untrained().zero_shot(wrong)


def test_importing_it_does_not_import_torch() -> None:
    code = "import sys, archcast.predictor.heads.in_context; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
