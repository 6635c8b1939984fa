"""Once-for-all sub-networks: layers of the supernets, image sizes, labels of three supernets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from archcast.datasets.benchmark import load_benchmark
from archcast.datasets.labels_ofa import read_file
from archcast.datasets.ofa_mobilenetv3 import IMAGE_SIZES, MemoryOptimizedOFA, OFAMobileNetV3, divisible
from archcast.errors import DataError
from archcast.graphs.capture import capture
from benchmarks.published_sizes import MCOFA_PEAK, OFA_SIZES, mcofa_peak
from benchmarks.published_sizes import ofa_extreme as extreme

OFA, MEMORY = OFAMobileNetV3(), MemoryOptimizedOFA()
both = pytest.mark.parametrize("space", [OFA, MEMORY], ids=lambda space: space.name)


@both
@pytest.mark.parametrize("small", [False, True], ids=["full", "small"])
def test_stamped_equals_captured(space: OFAMobileNetV3, small: bool) -> None:
    rng = np.random.default_rng(6)
    low, *_, high = space.supernet.expansions
    specs = [extreme(128, 2, 3, low), extreme(224, 4, 7, high), *(space.sample(rng) for _ in range(28 if small else 3))]
    space = space.small() if small else space
    for spec, stamped in zip(specs, space.stamp(specs, 1000), strict=True):
        captured = capture(space.module(spec, 1000), space.input_shape_of(spec))
        assert stamped.hash() == captured.hash(), spec
        assert stamped.nodes == captured.nodes, spec


def test_largest_and_smallest_networks_of_the_official_supernet() -> None:
    """Counted by hand from the official definition: first conv, blocks, final expand, feature mix, classifier."""
    (largest, most), (smallest, least) = OFA_SIZES
    assert OFA.graph(largest).params == by_hand(depth=4, kernel=7, expansion=6) == most
    assert OFA.graph(smallest).params == by_hand(depth=2, kernel=3, expansion=3) == least


def by_hand(depth: int, kernel: int, expansion: int) -> int:
    total = (3 * 16 * 9 + 32) + (16 * 9 + 32 + 16 * 16 + 32)
    channels = 16
    for width, excite in ((24, 0), (40, 1), (80, 0), (112, 1), (160, 1)):
        for _ in range(depth):
            wide = channels * expansion
            squeezed = 24 if wide == 72 else (wide // 4 + 4) // 8 * 8  # 18 -> 24: 16 would lose more than a tenth
            total += channels * wide + 2 * wide + wide * kernel**2 + 2 * wide + wide * width + 2 * width
            total += excite * (2 * wide * squeezed + wide + squeezed)
            channels = width
    return total + (160 * 960 + 1920) + 960 * 1280 + 1281 * 1000


def test_layers_are_those_of_mobilenetv3() -> None:
    graph = OFA.graph(extreme(224, 2, 5, 4))
    ops = graph.ops
    assert [ops.count(op) for op in ("HardSigmoid", "Sigmoid", "Mul")] == [6, 0, 6]
    # Stem, three stages of two blocks with two activations each, final expand and feature mix layers.
    assert ops.count("HardSwish") == 1 + 3 * 2 * 2 + 2
    assert ops.count("Add") == 1 + 5
    depthwise = [node.shape for node in graph.nodes if node.op == "Conv" and node.get("groups") > 1]
    assert [shape[2] for shape in depthwise] == [112, 56, 56, 28, 28, 14, 14, 14, 14, 7, 7]
    mix = next(node for node in graph.nodes if node.op == "Conv" and node.get("in_channels") == 960)
    assert (mix.shape, mix.get("bias")) == ((1, 1280, 1, 1), False)


def test_memory_optimized_supernet_fits_its_published_peak() -> None:
    graph = MEMORY.graph(extreme(192, 4, 7, 4))
    assert mcofa_peak(graph) == MCOFA_PEAK
    depthwise = [node.shape for node in MEMORY.graph(extreme(224, 2, 3, 2)).nodes if node.get("groups", 1) > 1]
    assert [shape[2] for shape in depthwise] == [112, 56, 56, 28, 28, 14, 14, 7, 7, 4, 4]


def test_image_size_belongs_to_the_network() -> None:
    small = OFA.example.replace("r224", "r160")
    assert OFA.input_shape_of(small) == OFA.graph(small).shapes[0] == (1, 3, 160, 160)
    assert OFA.graph(small).params == OFA.graph(OFA.example).params
    assert OFA.graph(small).macs < OFA.graph(OFA.example).macs
    assert OFA.isomorphism_hash(small) != OFA.isomorphism_hash(OFA.example)
    sizes = [OFA.small().input_shape_of(OFA.example.replace("r224", f"r{size}"))[2] for size in IMAGE_SIZES]
    assert (sizes[0], sizes[-1]) == (37, 64)
    assert sizes == sorted(set(sizes))
    assert OFAMobileNetV3((1, 1, 448, 224)).input_shape_of(small) == (1, 1, 320, 160)


def test_neighbours_add_and_drop_the_last_block_of_a_stage() -> None:
    arch = OFA.parse(OFA.example)
    depths = [len(stage) for stage in arch.stages]
    changes = []
    for spec in OFA.neighbours(OFA.example):
        other = OFA.parse(spec)
        for before, after in zip(arch.stages, other.stages, strict=True):
            shared = min(len(before), len(after))
            if len(before) != len(after):
                assert before[:shared] == after[:shared]
                changes.append(len(after) - len(before))
    assert changes.count(-1) == sum(depth > 2 for depth in depths)
    assert changes.count(1) == 9 * sum(depth < 4 for depth in depths)
    assert len(OFA.neighbours(OFA.example)) == len(changes) + 4 * sum(depths) + len(IMAGE_SIZES) - 1


def test_size_counts_depths_kernels_and_expansions() -> None:
    assert OFA.size == 25 * (9**2 + 9**3 + 9**4) ** 5


@pytest.mark.parametrize(("channels", "expected"), [(4, 8), (16, 16), (18, 24), (20, 24), (60, 64), (168, 168)])
def test_divisible(channels: int, expected: int) -> None:
    assert divisible(channels) == expected


@both
@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
def test_small_networks_run(space: OFAMobileNetV3, training: bool) -> None:
    space = space.small()
    module = space.module(space.example, 10).train(training)
    logits = module(torch.randn(3, *space.input_shape_of(space.example)[1:]))
    assert logits.shape == (3, 10)
    logits.sum().backward()
    assert torch.isfinite(logits).all()


def row(**changes: Any) -> dict[str, Any]:
    values = {"supernet": "MIT_OFA", "ks": [3, 5, 7, 7] * 5, "e": [3, 4, 6, 6] * 5, "d": [2, 3, 4, 2, 2]}
    return {**values, "image_size": 160, "accuracy": 0.7, **changes}


def write(tmp_path: Path, *rows: dict[str, Any]) -> Path:
    path = tmp_path / "subnets.parquet"
    pd.DataFrame(rows).to_parquet(path)
    return path


def test_blocks_beyond_the_depth_are_dropped(tmp_path: Path) -> None:
    path = write(tmp_path, row(), row(supernet="CompOFA", accuracy=0.6), row(image_size=128, accuracy=0.65))
    table = read_file(path, "MIT_OFA", OFA)
    blocks = "d23422-k3535735773535-e3434634663434"
    assert table.specs == (f"r128-{blocks}", f"r160-{blocks}")
    assert table.per_seed[:, 0] == pytest.approx([65.0, 70.0])
    assert table.columns["image_size"].tolist() == [128, 160]
    assert read_file(path, "CompOFA", OFA).per_seed[:, 0] == pytest.approx([60.0])


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([row(supernet="CompOFA")], "no row of the supernet 'MIT_OFA'"),
        ([row(e=[2, 4, 6, 6] * 5)], "not in ofa-mobilenetv3"),
        ([row(ks=[3, 5, 7])], "3 kernels, 20 expansions and 5 depths"),
        ([row(image_size=100)], "not in ofa-mobilenetv3"),
        # Only a block that is no part of the network differs.
        ([row(), row(ks=[3, 5, 3, 7] + [3, 5, 7, 7] * 4)], "occurs 2 times"),
    ],
    ids=["other supernet", "expansion", "short", "size", "twice"],
)
def test_damaged_tables_are_refused(tmp_path: Path, rows: list[dict[str, Any]], message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_file(write(tmp_path, *rows), "MIT_OFA", OFA)


@pytest.mark.shared
@pytest.mark.parametrize(
    ("name", "count", "low", "high"),
    [
        ("ofa-mobilenetv3", 2_610, 64.808, 76.072),
        ("ofa-mobilenetv3-compofa", 2_080, 63.728, 77.2),
        ("ofa-mobilenetv3-mcofa", 2_600, 55.152, 76.656),
    ],
)
def test_three_supernets(name: str, count: int, low: float, high: float) -> None:
    bench = load_benchmark(name)
    assert len(bench) == count
    assert (bench.scores.min(), bench.scores.max()) == pytest.approx((low, high))
    assert bench.metric == "validation accuracy with inherited weights"
    assert bench.num_classes == 1000
    assert bench.graph(0).shapes[0][2] == bench.columns["image_size"][0]


@pytest.mark.shared
def test_compound_networks_tie_width_to_depth() -> None:
    """CompOFA's rule: stages of 2, 3 and 4 blocks have expansion 3, 4 and 6."""
    bench = load_benchmark("ofa-mobilenetv3-compofa")
    stages = [stage for spec in bench.specs for stage in bench.space.parse(spec).stages]
    assert {(len(stage), expansion) for stage in stages for _, expansion in stage} == {(2, 3), (3, 4), (4, 6)}
