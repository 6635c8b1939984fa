"""The kernel prior: it finds the columns that count, without the space it is used on."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import kendalltau

from archcast.encoders.features import FEATURE_NAMES
from archcast.errors import ConfigError
from archcast.predictor.heads.gaussian_process import AutomaticProcessHead, GaussianProcessHead
from archcast.predictor.heads.networks import Networks
from archcast.predictor.heads.relevance import feature_groups, learn_relevance
from archcast.predictor.kernel_prior import KernelPrior, KernelPriorConfig

FloatArray = NDArray[np.float64]
WIDTH = len(FEATURE_NAMES)
TELLING = np.asarray([3, 200])


def space(count: int, seed: int) -> tuple[NDArray[np.float32], FloatArray]:
    """Random features of which two count, their weights those of the space."""
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(count, WIDTH)).astype(np.float32)
    return features, features[:, TELLING].astype(np.float64) @ rng.uniform(0.5, 2, 2) + rng.normal(0, 0.1, count)


@pytest.fixture(scope="module")
def prior() -> KernelPrior:
    pools = {f"family {seed}": [space(200, seed)] for seed in range(4)}
    return KernelPrior.learn(pools, config=KernelPriorConfig(steps=60, rate=0.1))


def test_columns_that_count_elsewhere_weigh_more(prior: KernelPrior) -> None:
    others = np.delete(prior.weights, TELLING)
    assert prior.weights[TELLING].min() > 1.3 * np.quantile(others, 0.9)
    assert prior.families == tuple(f"family {seed}" for seed in range(4))
    np.testing.assert_allclose(prior.relevance[0] ** 2, prior.relevance[1])


def test_a_new_space_needs_fewer_labels(prior: KernelPrior) -> None:
    known, labels = space(40, 100)
    asked, truth = space(300, 100)
    taus = {}
    for name, relevance in (("without", None), ("with", prior.relevance)):
        head = GaussianProcessHead.fit(Networks(known.astype(np.float64)), labels, relevance=relevance)
        taus[name] = kendalltau(head.predict(Networks(asked.astype(np.float64))), truth).statistic
    assert taus["with"] > taus["without"] + 0.1


def test_the_same_seed_gives_the_same_prior() -> None:
    pools = {"one": [space(60, 0)]}
    config = KernelPriorConfig(steps=2)
    first, again, other = (KernelPrior.learn(pools, config=config, seed=seed).weights for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_steps_are_reported_and_senseless_settings_refused() -> None:
    steps: list[str] = []
    KernelPrior.learn({"one": [space(60, 0)]}, config=KernelPriorConfig(steps=50), on_step=steps.append)
    assert len(steps) == 1
    assert steps[0].startswith("kernel step 50 of 50")
    with pytest.raises(ConfigError, match="at least 40 labelled"):
        KernelPrior.learn({"one": [space(39, 0)]})
    with pytest.raises(ConfigError, match="at least 40 labelled"):
        KernelPrior.learn({})
    with pytest.raises(ConfigError, match="steps must be at least 1"):
        KernelPriorConfig(steps=0)


def test_automatic_relevance_finds_the_columns_that_count() -> None:
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(120, 12))
    targets = np.sin(2 * rows[:, 4]) + 0.1 * rng.normal(size=120)
    weights = learn_relevance(rows, targets - targets.mean(), np.zeros(12, dtype=np.int64), np.ones(12))
    assert (weights**2).mean() == pytest.approx(1)
    assert weights[4] > 3 * np.delete(weights, 4).max()
    asked = rng.normal(size=(200, 12))
    taus = [
        kendalltau(head.fit(Networks(rows), targets).predict(Networks(asked)), np.sin(2 * asked[:, 4])).statistic
        for head in (GaussianProcessHead, AutomaticProcessHead)
    ]
    assert taus[1] > taus[0] + 0.1


def test_the_gradient_of_automatic_relevance_is_that_of_the_loss() -> None:
    from scipy.optimize import check_grad

    from archcast.predictor.heads.relevance import _Problem

    rng = np.random.default_rng(0)
    rows, targets = rng.normal(size=(30, 5)), rng.normal(size=30)
    problem = _Problem(rows, targets - targets.mean(), np.asarray([0, 0, 1, 1, 2]), np.asarray([1.0, 2, 1, 0.5, 1]))
    point = problem.centre + 0.3 * rng.normal(size=len(problem.centre))
    assert check_grad(lambda x: problem(x)[0], lambda x: problem(x)[1], point) < 1e-4


def test_groups_of_features() -> None:
    groups = feature_groups(WIDTH + 3)
    assert len(groups) == WIDTH + 3
    assert len(set(groups[-3:].tolist())) == 3
    assert not set(groups[-3:].tolist()) & set(groups[:-3].tolist())
    by_name = dict(zip(FEATURE_NAMES, groups.tolist(), strict=False))
    assert by_name["motif/pool>neck"] != by_name["motif/neck>point>pool"]
    assert feature_groups(7).tolist() == [0] * 7
