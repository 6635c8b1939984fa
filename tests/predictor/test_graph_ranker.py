"""Graph encoders that learn to rank pools: they learn, they carry over, they travel in a bundle."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file
from scipy.stats import spearmanr

from archcast.datasets.benchmark import load_benchmark
from archcast.datasets.spaces import SPACES
from archcast.encoders.gcn import GraphEncoderConfig
from archcast.errors import BundleError, ConfigError, DataError
from archcast.predictor.graph_ranker import GraphRanker
from archcast.predictor.graph_training import GraphTraining, RankingPool, train_graph_ranker
from archcast.predictor.predictor import Predictor
from archcast.predictor.pretraining import ranking_pools
from archcast.predictor.ranker import PoolRanker

SMALL = GraphTraining(encoder=GraphEncoderConfig(width=24, layers=2, dim=16), members=2, steps=40, networks=24)


def by_size(space: str, count: int, sign: float = 1.0) -> RankingPool:
    """Random networks whose label is their number of parameters, as a pool of its own family."""
    rng = np.random.default_rng(0)
    graphs = SPACES[space].stamp(sorted({SPACES[space].sample(rng) for _ in range(count)}))
    return RankingPool(space, space, graphs, {"size": sign * np.log(graphs.params)})


@pytest.fixture(scope="module")
def ranker() -> GraphRanker:
    return train_graph_ranker([by_size("nats-sss", 60), by_size("mini-shapes", 60)], SMALL, seed=0)


def test_what_is_learnt_carries_over_to_another_space(ranker: GraphRanker) -> None:
    pool = by_size("mini-cells", 60)
    assert spearmanr(ranker.scores(pool.graphs), pool.labels["size"]).statistic > 0.5


def test_the_seed_decides() -> None:
    pools = [by_size("nats-sss", 60), by_size("mini-shapes", 60)]
    short = GraphTraining(encoder=SMALL.encoder, members=1, steps=3, networks=16)
    first, again, other = (train_graph_ranker(pools, short, seed=seed) for seed in (0, 0, 1))
    for name, value in first.members[0].items():
        np.testing.assert_array_equal(value, again.members[0][name])
    assert not np.array_equal(first.members[0]["head.weight"], other.members[0]["head.weight"])


def test_training_leaves_the_callers_generator_alone() -> None:
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    short = GraphTraining(encoder=SMALL.encoder, members=1, steps=1, networks=8)
    train_graph_ranker([by_size("nats-sss", 20), by_size("mini-shapes", 20)], short)
    torch.testing.assert_close(torch.rand(2), expected)


def test_one_family_is_too_few() -> None:
    with pytest.raises(ConfigError, match="too few to learn from"):
        train_graph_ranker([by_size("nats-sss", 20)], SMALL)


def test_labels_must_fit_the_networks() -> None:
    pool = by_size("nats-sss", 20)
    with pytest.raises(DataError, match="labels of size for"):
        RankingPool("a", "a", pool.graphs, {"size": np.zeros(3)})
    with pytest.raises(DataError, match="fewer than 8"):
        RankingPool("a", "a", pool.graphs, {"size": np.full(len(pool.graphs), np.nan)})


FUZZY = replace(SMALL, members=1, steps=40, clusters=3)


@pytest.fixture(scope="module")
def fuzzy() -> GraphRanker:
    return train_graph_ranker([by_size("nats-sss", 60), by_size("mini-shapes", 60)], FUZZY, seed=0)


def test_heads_of_clusters_are_as_many_and_differ(fuzzy: GraphRanker) -> None:
    weight = fuzzy.members[0]["head.weight"]
    assert weight.shape == fuzzy.members[0]["head.centres"].shape == (3, 16)
    assert np.ptp(weight, axis=0).max() > 1e-3
    # Forty steps and clusters that may fall either way: seeds give .64 to .77 in a known pool, .37 to .69 in another.
    for name, least in (("mini-shapes", 0.5), ("mini-cells", 0.25)):
        pool = by_size(name, 60)
        assert spearmanr(fuzzy.scores(pool.graphs), pool.labels["size"]).statistic > least


def test_clusters_leave_the_first_half_of_the_training_alone() -> None:
    pools = [by_size("nats-sss", 60), by_size("mini-shapes", 60)]
    plain = GraphTraining(encoder=SMALL.encoder, members=1, steps=3, networks=16)
    (one,), (split,) = (
        train_graph_ranker(pools, each, seed=0).members
        for each in (replace(plain, steps=1), replace(plain, steps=2, clusters=2))
    )
    # One step of three is before the split; the step after it starts from equal heads and ends at others.
    assert one["head.weight"].shape == (1, 16)
    assert split["head.weight"].shape == (2, 16)
    assert np.abs(split["head.weight"] - one["head.weight"]).max() < 2 * plain.learning_rate


def test_one_cluster_is_refused() -> None:
    with pytest.raises(ConfigError, match="at least 2"):
        GraphTraining(clusters=1)


def test_clusters_survive_a_bundle(fuzzy: GraphRanker, tmp_path: Path) -> None:
    graphs = by_size("mini-cells", 30).graphs
    folder = predictor_with(fuzzy).save_pretrained(tmp_path / "bundle")
    loaded = Predictor.from_pretrained(folder).graph_ranker
    assert loaded is not None
    np.testing.assert_allclose(loaded.scores(graphs), fuzzy.scores(graphs), atol=1e-6)


HEADS: dict[str, tuple[dict[str, Any], str]] = {
    "no fuzziness": ({"0.head.fuzziness": None}, "clusters are damaged"),
    "fuzziness of 1": ({"0.head.fuzziness": np.ones(1)}, "no clusters"),
    "a head too few": ({"0.head.weight": np.zeros((2, 16))}, "heads of shapes"),
    "shorter centres": ({"0.head.centres": np.eye(3, 15, dtype=np.float32)}, "heads of shapes"),
    "something else": ({"0.head.bias": np.zeros(1)}, "heads of shapes"),
}


@pytest.mark.parametrize("what", HEADS)
def test_heads_that_do_not_fit_their_clusters_are_refused(what: str, fuzzy: GraphRanker, tmp_path: Path) -> None:
    changes, words = HEADS[what]
    folder = predictor_with(fuzzy).save_pretrained(tmp_path / "bundle")
    arrays = {**load_file(folder / "encoders.safetensors"), **changes}
    save_file({name: array for name, array in arrays.items() if array is not None}, folder / "encoders.safetensors")
    with pytest.raises(BundleError, match=words):
        Predictor.from_pretrained(folder)


def test_pools_by_name_join_the_tasks_of_the_same_networks() -> None:
    pools = ranking_pools(["mini-cells", "mini-shapes"], per_pool=30)
    assert [pool.family for pool in pools] == ["mini-cells", "mini-shapes"]
    assert all(len(pool.graphs) == 30 for pool in pools)
    assert list(pools[0].labels) == [load_benchmark("mini-cells").task]


def predictor_with(ranker: GraphRanker) -> Predictor:
    pool = by_size("nats-sss", 40)
    from archcast.encoders.features import encode

    predictor = Predictor()
    predictor.ranker = PoolRanker.fit({"nats-sss": (encode(pool.graphs), pool.labels["size"])})
    predictor.graph_ranker = ranker
    return predictor


def test_it_counts_in_pools_and_only_there(ranker: GraphRanker) -> None:
    graphs = by_size("mini-cells", 30).graphs
    predictor = predictor_with(ranker)
    together, alone = predictor(graphs), predictor(graphs[:1])
    predictor.graph_ranker = None
    assert not np.allclose(together, predictor(graphs))
    np.testing.assert_array_equal(alone, predictor(graphs[:1]))


def test_survives_a_bundle(ranker: GraphRanker, tmp_path: Path) -> None:
    predictor, graphs = predictor_with(ranker), by_size("mini-cells", 30).graphs
    loaded = Predictor.from_pretrained(predictor.save_pretrained(tmp_path / "bundle"))
    assert loaded.graph_ranker is not None
    assert loaded.graph_ranker.pools == ("nats-sss", "mini-shapes")
    np.testing.assert_allclose(loaded(graphs), predictor(graphs), atol=1e-6)
    loaded.save_pretrained(tmp_path / "bundle")  # a bundle with encoders may be replaced


BROKEN: dict[str, tuple[dict[str, Any], str]] = {
    "more members than weights": ({"members": 3}, "does not hold 3 encoders"),
    "no members": ({"members": 0}, "members must be"),
    "pools that are no names": ({"pools": [1]}, "list of names"),
    "an enormous encoder": ({"width": 10**9}, "out of range"),
    "a flag for a size": ({"layers": True}, "out of range"),
    "another encoder": ({"width": 48}, "do not fit"),
    "longer embeddings": ({"dim": 48}, "heads of shapes"),
    "other node features": ({"node_table": 99}, "other node features"),
    "unknown settings": ({"wings": 2}, "other settings"),
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_description_that_lies_is_refused(what: str, ranker: GraphRanker, tmp_path: Path) -> None:
    changes, words = BROKEN[what]
    folder = predictor_with(ranker).save_pretrained(tmp_path / "bundle")
    config = json.loads((folder / "config.json").read_text())
    for name, value in changes.items():
        part = config["graph_ranker"] if name in config["graph_ranker"] else config["graph_ranker"]["encoder"]
        part[name] = value
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(BundleError, match=words):
        Predictor.from_pretrained(folder)(by_size("mini-cells", 30).graphs)


def test_damaged_weights_are_refused(ranker: GraphRanker, tmp_path: Path) -> None:
    folder = predictor_with(ranker).save_pretrained(tmp_path / "bundle")
    arrays = load_file(folder / "encoders.safetensors")
    arrays["0.head.weight"] = np.full_like(arrays["0.head.weight"], np.nan)
    save_file(arrays, folder / "encoders.safetensors")
    with pytest.raises(BundleError, match="finite"):
        Predictor.from_pretrained(folder)
    (folder / "encoders.safetensors").unlink()
    with pytest.raises(BundleError, match=r"encoders\.safetensors"):
        Predictor.from_pretrained(folder)
