"""The harness of heads: splits are disjoint, specs become one-hot rows, a run goes on where it stopped."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from archcast.encoders.features import encode
from archcast.predictor.heads.networks import Networks
from benchmarks import heads, losses
from benchmarks.heads_tables import by_loss, by_method, coverage
from benchmarks.measured_pools import MeasuredPool, one_hot
from tests.predictor.measured_toy import toy_space, toy_specs

CHEAP = ["#params", "best proxy", "GBDT-NAS", "LightGBM, motifs + proxies", "GP"]


@pytest.fixture
def pool(monkeypatch: pytest.MonkeyPatch) -> MeasuredPool:
    networks, labels = toy_space(70, 0)
    assert networks.graphs is not None
    features = encode(networks.graphs).astype(np.float64)
    codes = one_hot(toy_specs(70, 0))
    assert codes is not None
    measured = Networks(features, 0, networks.graphs, networks.nodes)
    noise = np.random.default_rng(0).normal(size=70)
    made = MeasuredPool(
        "zoo-torchvision", "imagenet1k", measured, networks.graphs, codes, {"noise": noise, "bad": -labels}, labels
    )
    monkeypatch.setattr(heads, "load_pool", lambda _: made)
    return made


def test_a_split_is_random_disjoint_and_repeats(pool: MeasuredPool) -> None:
    split, again, other = (heads.Split.draw(pool, 20, seed) for seed in (1, 1, 2))
    assert sorted([*split.train, *split.test]) == list(range(70))
    assert len(split.train) == 20
    np.testing.assert_array_equal(split.train, again.train)
    assert set(split.train) != set(other.train)


@pytest.mark.usefixtures("pool")
def test_a_run_fills_the_table_and_goes_on(tmp_path: Path) -> None:
    output = tmp_path / "heads.csv"
    first = heads.run(["zoo-torchvision"], [0], CHEAP[:2], output)
    assert first.method.tolist() == CHEAP[:2]
    changed = first.assign(kendall=0.123)
    changed.to_csv(output, index=False)
    table = heads.run(["zoo-torchvision"], [0], CHEAP, output)
    assert table.kendall[:2].tolist() == [0.123, 0.123]
    assert table.method.tolist() == CHEAP
    assert pd.read_csv(output).method.tolist() == CHEAP
    assert table.set_index("method").kendall["LightGBM, motifs + proxies"] > 0.4
    assert table.networks.unique().tolist() == [50]


def test_the_best_proxy_may_be_turned_round(pool: MeasuredPool) -> None:
    assert heads.record("best proxy", heads.Split.draw(pool, 20, 0))["kendall"] == pytest.approx(1)


def test_scores_that_order_nothing_count_as_zero(pool: MeasuredPool) -> None:
    line = heads.record("GBDT-NAS", heads.Split.draw(pool, 15, 0))
    assert (line["kendall"], line["spearman"]) == (0, 0)  # no leaf may hold fewer than twenty networks


@pytest.mark.parametrize(
    ("specs", "columns"),
    [
        (["01", "21", "20"], 4),
        (["|nor_conv_3x3~0|+|none~0|none~1|", "|none~0|+|none~0|skip_connect~1|"], 8),
        (["p6-w48x2-lin", "p6-w32x2-conv"], 5),
        (["e4k5l2se0-e1k3l1se0", "e4k5l2se1-e6k3l1se0"], 10),
    ],
)
def test_specs_become_one_hot_rows(specs: list[str], columns: int) -> None:
    rows = one_hot(specs)
    assert rows is not None
    assert rows.shape == (len(specs), columns)
    assert len(np.unique(rows.sum(axis=1))) == 1
    assert len(np.unique(rows, axis=0)) == len(specs)


def test_cells_of_different_sizes_have_one_form() -> None:
    rows = one_hot(["011001000:i-c1-o", "0100001000010000:i-c3-p-o"])
    assert rows is not None
    assert (rows.sum(axis=1) == 21 + 7).all()
    assert one_hot(["resnet18", "vgg11_bn"]) is None


def test_every_loss_is_tried(pool: MeasuredPool) -> None:
    split = heads.Split.draw(pool, 20, 0)
    assert losses.scores("MLP", "hinge", split).shape == (50,)


def test_tables_of_the_documentation() -> None:
    rows = [
        {"pool": "nasbench201", "labels": 78, "seed": seed, "method": method, "kendall": tau + seed / 100,
         "coverage": 0.9, "error_rank": 0.2, "loss": method, "head": "MLP"}
        for seed in (0, 1) for method, tau in (("GP", 0.8), ("MLP", 0.7))
    ]  # fmt: skip
    table = pd.DataFrame(rows)
    assert "| GP | **.805** [.800, .810] |" in by_method(table)
    assert "| MLP | .705 [.700, .710] |" in by_method(table)
    assert "| nasbench201 | 78 | 90.0 % | .20 |" in coverage(table)
    assert "| GP | **.805** |" in by_loss(table)
