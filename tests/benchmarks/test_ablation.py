"""The ablation takes away what it says, and nothing else; its table adds up."""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import load_file
from scipy.stats import spearmanr

from archcast.datasets.spaces import SPACES
from archcast.encoders.features import encode, feature_column
from archcast.encoders.gcn import GraphEncoderConfig
from archcast.encoders.pool import Pool
from archcast.encoders.text import TextEncoderConfig
from archcast.predictor.calibration import standardised
from archcast.predictor.consensus import COMMITTEES
from archcast.predictor.graph_training import GraphTraining, RankingPool, train_graph_ranker
from archcast.predictor.pretraining import Sources
from archcast.predictor.ranker import PoolRanker
from archcast.predictor.text_ranker import train_text_ranker
from benchmarks import ablation, transfer

SPACES_USED = ("nats-sss", "mini-shapes", "mini-cells")


@pytest.fixture(scope="module")
def known() -> Sources:
    rng = np.random.default_rng(0)
    features = {name: encode(SPACES[name].stamp([SPACES[name].sample(rng) for _ in range(40)])) for name in SPACES_USED}
    return {name: (rows, feature_column(rows, "total/log_macs").astype(float)) for name, rows in features.items()}


@pytest.fixture(scope="module")
def unseen() -> ablation.Features:
    rng = np.random.default_rng(1)
    return encode(SPACES["mini-mixers"].stamp([SPACES["mini-mixers"].sample(rng) for _ in range(50)]))


def test_full_is_the_ranker(known: Sources, unseen: ablation.Features) -> None:
    expected = PoolRanker.fit(known).scores(unseen, Pool.of(unseen))
    np.testing.assert_array_equal(ablation.rankings(known)["full"](unseen), expected)


def test_score_is_the_sum_of_experts_and_prior(known: Sources, unseen: ablation.Features) -> None:
    found = {name: way(unseen) for name, way in ablation.rankings(known).items()}
    parts = np.stack([found["without experts"], found["without the prior"]], axis=1)
    weights, residual, _, _ = np.linalg.lstsq(parts, found["full"], rcond=None)
    assert residual[0] < 1e-9
    assert weights[1] == pytest.approx(1)
    assert 0 < weights[0] < 1


def test_every_source_is_taken_away_once(known: Sources, unseen: ablation.Features) -> None:
    found = ablation.rankings(known)
    for name in known:
        others = {other: pair for other, pair in known.items() if other != name}
        expected = PoolRanker.fit(others).scores(unseen, Pool.of(unseen))
        np.testing.assert_allclose(found[f"without the expert of {name}"](unseen), expected, atol=1e-9)


def test_conditioning_is_changed_and_put_back(known: Sources, unseen: ablation.Features) -> None:
    pool, before = Pool.of(unseen), Pool.relative
    ways = ablation.rankings(known)
    assert Pool.relative is before
    full = ways["full"](unseen)
    for name in ablation.conditionings(known):
        assert 0.3 < spearmanr(ways[name](unseen), full).statistic < 1
    assert Pool.relative is before
    others = ablation.conditionings(known)
    unscaled, scores = others["deviations unscaled"](pool, unseen), others["ranks unscaled"](pool, unseen)
    np.testing.assert_allclose(unscaled * pool.gate, pool.relative(unseen), atol=1e-9)
    np.testing.assert_allclose(scores * pool.gate, others["ranks"](pool, unseen), atol=1e-9)
    for column in np.flatnonzero(pool.gate)[:20]:
        assert spearmanr(scores[:, column], unseen[:, column].round(4)).statistic == pytest.approx(1)


def test_committees_hear_whom_they_say() -> None:
    rng = np.random.default_rng(0)
    own, shape = rng.normal(size=100), np.asarray([0.0, 0.0, 1.0])
    given = {name: rng.normal(size=100) for name in {*COMMITTEES["size"], *COMMITTEES["wiring"]}}
    found = ablation.committees(own, given, shape)
    np.testing.assert_array_equal(found["not measured"], own)
    rest = found["equal votes"] - standardised(own)
    np.testing.assert_allclose(rest, ablation.EQUAL_VOTES * found["equal votes, proxies alone"], atol=1e-12)
    only_wiring = {name: column for name, column in given.items() if name not in COMMITTEES["size"]}
    changed = ablation.committees(own, {**given, **{name: -column for name, column in only_wiring.items()}}, shape)
    np.testing.assert_array_equal(changed["full"], found["full"])
    assert not np.allclose(changed["one committee for all pools"], found["one committee for all pools"])


def test_encoders_learn_without_the_family(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    graphs = {name: SPACES[name].stamp([SPACES[name].sample(rng) for _ in range(20)]) for name in SPACES_USED}
    pools = [RankingPool(name, name, batch, {"size": np.log(batch.params)}) for name, batch in graphs.items()]
    small = GraphEncoderConfig(width=8, layers=1, dim=8)
    for module in (ablation, transfer):
        monkeypatch.setattr(module, "all_pools", lambda _: pools)
    monkeypatch.setattr(
        transfer,
        "train_graph_ranker",
        lambda given, config, seed: train_graph_ranker(
            given, replace(config or GraphTraining(), encoder=small, steps=4, networks=8), seed=seed
        ),
    )
    monkeypatch.setattr(
        ablation,
        "train_text_ranker",
        lambda given, config, seed: train_text_ranker(
            given, replace(config, encoder=TextEncoderConfig(16, 1, 2, 16), steps=2, networks=8), seed=seed
        ),
    )
    given = pools[2].graphs
    found = {
        name: way(given)
        for part in ("encoders", "text")
        for name, way in ablation.encoder_scores(part, "mini-cells", 0, 1, tmp_path).items()
    }
    assert set(found) == {"graph, all 3", "graph", "graph, fuzzy heads", "text", "both"}
    both = standardised(standardised(found["graph"]) + found["text"])
    np.testing.assert_allclose(found["both"], both, atol=1e-9)
    for folder, members in ((tmp_path, 3), (tmp_path / "fuzzy", 1)):
        kept = json.loads((folder / "without-mini-cells-0" / "config.json").read_text())
        assert (kept["pools"], kept["members"]) == (["nats-sss", "mini-shapes"], members)
    weights = load_file(tmp_path / "fuzzy" / "without-mini-cells-0" / "encoders.safetensors")
    assert weights["0.head.weight"].shape == (ablation.CLUSTERS, 8)


def test_the_table_compares_with_the_whole() -> None:
    values = {
        ("full", "a"): (0.8, 0.9),
        ("full", "b"): (0.5, 0.5),
        ("less", "a"): (0.7, 0.7),
        ("less", "b"): (0.6, 0.6),
    }
    lines = pd.DataFrame([
        {"kind": "features", "part": part, "space": space, "task": "t", "seed": seed, "spearman": value,
         "varies": {"a": "wiring", "b": "size"}[space]}
        for (part, space), both in values.items() for seed, value in enumerate(both)
    ])  # fmt: skip
    _, row = ablation.table(lines).to_dict("records")
    assert [row[name] for name in ("mean", "change", "wiring", "size")] == pytest.approx([0.65, -0.025, -0.15, 0.1])
    assert [row[name] for name in ("worst", "best", "seeds")] == pytest.approx([-0.15, 0.1, 0])


@pytest.mark.shared
def test_a_run_goes_on_where_it_stopped(tmp_path: Path) -> None:
    done = [{"kind": "features", "space": "nats-sss", "task": "cifar10", "seed": 0, "part": "full", "spearman": 0.5}]
    options = argparse.Namespace(
        parts=["features"], seeds=[0], spaces=["nats-sss"], networks=50, members=1, jobs=1, encoders=tmp_path,
        again=False, output=tmp_path / "ablation.csv",
    )  # fmt: skip
    assert ablation.run(options, done) == done
    lines = ablation.one_family("measured", ["nats-sss"], 0, 50, 1, tmp_path)
    assert {line["part"] for line in lines} == {
        *ablation.committees(np.arange(9.0), {"naswot": np.arange(9.0)}, np.ones(3))
    }
    assert all(line["space"] == "nats-sss" and 0 < line["spearman"] < 1 for line in lines)
