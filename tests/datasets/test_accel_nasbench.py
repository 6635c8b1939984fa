"""Accel-NASBench: layers, sizes that the authors published, labels with repeated trainings."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from archcast.datasets.accel_nasbench import WIDTHS, AccelNASBench, Stage
from archcast.datasets.benchmark import Benchmark, load_benchmark
from archcast.datasets.labels_accel import DEVICE_COLUMNS, read_file
from archcast.errors import DataError
from archcast.graphs.capture import capture
from benchmarks.published_sizes import EFFICIENTNET_B0, thop_macs

SPACE = AccelNASBench()
B0 = SPACE.example
SMALLEST = "-".join(["e1k3l1se0"] * 7)
LARGEST = "-".join(["e6k5l3se1"] * 5 + ["e6k5l4se1", "e6k5l3se1"])


@pytest.mark.parametrize("space", [SPACE, SPACE.small()], ids=["full", "small"])
def test_stamped_equals_captured(space: AccelNASBench) -> None:
    rng = np.random.default_rng(5)
    count = 28 if space.input_shape[2] == 64 else 2
    specs = [SMALLEST, LARGEST, *(space.sample(rng) for _ in range(count))]
    for spec, stamped in zip(specs, space.stamp(specs, 1000), strict=True):
        captured = capture(space.module(spec, 1000), space.input_shape)
        assert stamped.hash() == captured.hash(), spec
        assert stamped.nodes == captured.nodes, spec


def test_efficientnet_b0_has_its_layers() -> None:
    graph = SPACE.graph(B0)
    depthwise = [node for node in graph.nodes if node.op == "Conv" and node.get("groups") > 1]
    assert [node.get("kernel")[0] for node in depthwise] == [3, 3, 3, 5, 5, 3, 3, 3, 5, 5, 5, 5, 5, 5, 5, 3]
    assert sum(node.op == "Sigmoid" for node in graph.nodes) == 16
    assert graph.params == EFFICIENTNET_B0
    assert graph.shapes[-1] == (1, 1000)


def test_stages_change_width_and_resolution() -> None:
    graph = SPACE.graph(SMALLEST)
    norms = [node.shape for node in graph.nodes if node.op == "BatchNormalization"]
    projections = norms[2:-1:2]
    assert [shape[1] for shape in projections] == list(WIDTHS)
    assert [shape[2] for shape in projections] == [112, 56, 28, 14, 14, 7, 7]
    assert not any(node.op in ("Add", "Mul") for node in graph.nodes)


def test_neighbours_change_one_setting() -> None:
    stages = SPACE.parse(B0).stages
    for spec in SPACE.neighbours(B0):
        changed = [pair for pair in zip(stages, SPACE.parse(spec).stages, strict=True) if pair[0] != pair[1]]
        assert len(changed) == 1
        before, after = (vars(stage) for stage in changed[0])
        assert sum(before[name] != after[name] for name in before) == 1
    assert len(SPACE.neighbours(B0)) == 7 * (2 + 1 + 2 + 1) + 1
    assert SPACE.parse(B0).stages[0] == Stage(1, 3, 1, True)


def test_size_of_the_space_is_the_published_one() -> None:
    assert SPACE.size == 36**6 * 48  # "about 10^11"


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
def test_small_networks_run(training: bool) -> None:
    space = SPACE.small()
    module = space.module(LARGEST, 10).train(training)
    logits = module(torch.randn(3, *space.input_shape[1:]))
    assert logits.shape == (3, 10)
    logits.sum().backward()
    assert torch.isfinite(logits).all()


def test_small_keeps_parameters_and_saves_macs() -> None:
    full, small = SPACE.graph(B0), SPACE.small().graph(B0)
    assert small.params == full.params
    assert small.macs < full.macs / 10


HEADER = ",".join(
    [
        "id",
        *(f"block{block}_{setting}" for block in range(7) for setting in ("e", "k", "l", "se")),
        *("val_top1", "val_top5", "train_time", "macs", "params"),
        *DEVICE_COLUMNS,
    ]
)
SETTINGS = ",".join(["1,3,1,False"] * 7)
FACTS = "80.0,100.0,80.5,1.5," + ",".join(["2.0"] * 7)


def test_repeated_trainings_become_runs(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    other = SETTINGS.replace("1,3,1,False", "6,5,2,True", 1)
    rows = [f"9,{SETTINGS},61.0,{FACTS},4.0", f"3,{SETTINGS},60.0,{FACTS},", f"5,{other},50.0,{FACTS},"]
    path.write_text("\n".join([HEADER, *rows]))
    table = read_file(path)
    assert table.specs == (SMALLEST, SMALLEST.replace("e1k3l1se0", "e6k5l2se1", 1))
    assert np.array_equal(table.per_seed, [[60.0, 61.0], [50.0, np.nan]], equal_nan=True)
    assert table.columns["params"].tolist() == [1_500_000] * 2
    assert table.columns["macs"].tolist() == [80_500_000] * 2
    assert np.array_equal(table.columns["throughput_vck190"], [4.0, np.nan], equal_nan=True)


@pytest.mark.parametrize(
    "row",
    [f"1,{SETTINGS},high,{FACTS},", f"1,{SETTINGS.replace('False', 'maybe', 1)},60,{FACTS},", f"1,{SETTINGS}"],
    ids=["text score", "text flag", "cut off"],
)
def test_damaged_tables_are_refused(tmp_path: Path, row: str) -> None:
    path = tmp_path / "table.csv"
    path.write_text(f"{HEADER}\n{row}\n")
    with pytest.raises(DataError):
        read_file(path)


def test_tables_of_other_networks_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text(f"{HEADER}\n1,{SETTINGS.replace('1,3,1', '1,7,1', 1)},60,{FACTS},\n")
    with pytest.raises(DataError, match="e1k7l1se0"):
        read_file(path)
    path.write_text("arch,score\n1,2\n")
    with pytest.raises(DataError, match="not the table of Accel-NASBench"):
        read_file(path)


@pytest.fixture(scope="module")
def bench() -> Benchmark:
    return load_benchmark("accel-nasbench")


@pytest.mark.shared
def test_published_sizes_are_those_of_the_graphs(bench: Benchmark) -> None:
    assert len(bench) == 5_125
    batch = bench.graphs(cache=False)
    assert batch.params.tolist() == bench.columns["params"].tolist()
    rows = range(0, len(bench), 25)
    assert [thop_macs(batch[row]) for row in rows] == bench.columns["macs"][rows].tolist()


@pytest.mark.shared
def test_thirteen_networks_were_trained_twice(bench: Benchmark) -> None:
    assert bench.seeds is not None
    assert bench.seeds.shape == (5_125, 2)
    assert np.isfinite(bench.seeds).all(axis=1).sum() == 13
    assert bench.metric == "validation accuracy after 16 epochs"
    assert len(set(bench.groups.tolist())) == len(bench)
    assert bench.num_classes == 1000
    assert all(np.isfinite(bench.columns[name]).mean() > 0.99 for name in DEVICE_COLUMNS)
