"""Text encoders that learn to rank pools: they learn, with one head or one for each cluster."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import spearmanr

from archcast.datasets.spaces import SPACES
from archcast.encoders.text import TextEncoderConfig
from archcast.errors import BundleError, ConfigError
from archcast.predictor.graph_training import RankingPool
from archcast.predictor.text_ranker import TextRanker, TextTraining, train_text_ranker

TINY = TextEncoderConfig(width=24, layers=1, heads=2, inner_width=32)


def by_size(space: str, count: int, seed: int = 0) -> RankingPool:
    """Random networks whose label is their number of parameters, as a pool of its own family."""
    rng = np.random.default_rng(seed)
    graphs = SPACES[space].stamp(sorted({SPACES[space].sample(rng) for _ in range(count)}))
    return RankingPool(space, space, graphs, {"size": np.log(graphs.params)})


@pytest.mark.parametrize("clusters", [0, 2])
def test_what_is_learnt_holds_for_other_networks(clusters: int) -> None:
    config = TextTraining(encoder=TINY, members=1, steps=40, networks=16, clusters=clusters, max_length=160)
    ranker = train_text_ranker([by_size("nats-sss", 40), by_size("mini-shapes", 40)], config)
    pool = by_size("mini-shapes", 40, seed=1)
    scores = ranker.scores(pool.graphs)
    assert spearmanr(scores, pool.labels["size"]).statistic > 0.6
    assert abs(scores.mean()) < 1e-9
    assert scores.std() == pytest.approx(1)
    assert ranker.pools == ("nats-sss", "mini-shapes")
    assert ranker.max_length == 160
    assert ranker.members[0]["head.weight"].shape == (max(clusters, 1), 24)


def test_one_family_is_too_few() -> None:
    with pytest.raises(ConfigError, match="too few to learn from"):
        train_text_ranker([by_size("nats-sss", 20)], TextTraining(encoder=TINY))


def test_weights_of_another_encoder_are_refused() -> None:
    ranker = TextRanker({"width": 24, "heads": 2}, ("a",), ({"head.weight": np.zeros((1, 24))},))
    with pytest.raises(BundleError, match="do not fit"):
        ranker.scores(by_size("mini-cells", 10).graphs)
