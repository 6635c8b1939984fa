"""TransNAS-Bench-101: published sizes and sets, decoders of the tasks, isomorphs, small stand-ins, labels."""

from __future__ import annotations

import logging
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from archcast.datasets.benchmark import Benchmark, load_benchmark
from archcast.datasets.labels import NUM_CLASSES, label_source
from archcast.datasets.labels_transnas101 import COLUMNS, read_file
from archcast.datasets.space import SearchSpace
from archcast.datasets.transnas101 import TransNasSpace
from archcast.datasets.transnas101_decoders import DECODERS
from archcast.datasets.transnas101_macro import TransNas101Macro
from archcast.datasets.transnas101_micro import TransNas101Micro, function_of
from archcast.datasets.transnas101_module import TransNasNetwork
from archcast.errors import ConfigError, DataError, MissingDataError, UnknownNameError
from archcast.graphs.capture import capture
from benchmarks.published_sizes import TRANSNAS_LARGEST, TRANSNAS_SIZES

MICRO, MACRO = TransNas101Micro(), TransNas101Macro()
both = pytest.mark.parametrize("space", [MICRO, MACRO], ids=["micro", "macro"])


def check_stamped(space: TransNasSpace[object], specs: list[str], num_classes: int) -> None:
    for spec, stamped in zip(specs, space.stamp(specs, num_classes), strict=True):
        with torch.device("meta"):
            captured = capture(space.module(spec, num_classes), space.input_shape)
        assert stamped.nodes == captured.nodes, spec
        assert np.array_equal(stamped.edge_index, captured.edge_index), spec
        assert stamped.hash() == captured.hash(), spec


def samples(space: SearchSpace[object], count: int, seed: int = 5) -> list[str]:
    rng = np.random.default_rng(seed)
    return [space.sample(rng) for _ in range(count)]


@pytest.mark.parametrize(("task", "outputs", "params"), TRANSNAS_SIZES)
def test_largest_cell_has_the_size_of_the_official_code(task: str, outputs: int, params: int) -> None:
    space = MICRO.for_task(task)
    spec = TRANSNAS_LARGEST
    assert space.graph(spec, outputs).params == params
    with torch.device("meta"):
        assert sum(p.numel() for p in space.module(spec, outputs).parameters()) == params


@both
def test_stamped_equals_captured_on_thirty_specs(space: TransNasSpace[object]) -> None:
    check_stamped(space, samples(space, 30), 63)


@pytest.mark.parametrize(
    ("space", "task"), [*((space, task) for space in (MICRO, MACRO) for task in COLUMNS), (MICRO, "svhn")]
)
def test_decoders_and_small_stand_ins_are_stamped_as_captured(space: TransNasSpace[object], task: str) -> None:
    at_task = space.for_task(task)
    check_stamped(at_task, samples(space, 2), NUM_CLASSES[task])
    check_stamped(at_task.small(), samples(space, 2), NUM_CLASSES[task])


@both
@pytest.mark.parametrize("task", ["taskonomy-scene", "taskonomy-jigsaw", "taskonomy-segmentation", "taskonomy-normal"])
def test_small_modules_run_in_both_modes(space: TransNasSpace[object], task: str) -> None:
    small = space.for_task(task).small()
    _, channels, height, width = small.input_shape
    expected = (
        (2, NUM_CLASSES[task]) if DECODERS[task] in ("pooled", "tiles") else (2, NUM_CLASSES[task], height, width)
    )
    module = small.module(space.example, NUM_CLASSES[task])
    for mode in (True, False):
        module.train(mode)
        out = module(torch.randn(2, channels, height, width))
        assert out.shape == expected
        assert torch.isfinite(out).all()


@both
def test_small_keeps_the_specs_and_costs_far_less(space: TransNasSpace[object]) -> None:
    small = space.small()
    assert list(small.all_specs()) == list(space.all_specs())
    specs = samples(space, 30)
    assert (small.stamp(specs).macs * 100 < space.stamp(specs).macs).all()


def test_jigsaw_runs_the_encoder_on_nine_tiles_of_one_image() -> None:
    space = TransNas101Macro((1, 27, 64, 64), decoder="tiles", base_channels=4, blocks_per_module=1)
    module = space.module(space.example, 5).eval()
    assert isinstance(module, TransNasNetwork)
    x = torch.randn(2, 27, 64, 64)
    tiles = [x[:, first : first + 3] for first in range(0, 27, 3)]
    features = [module.pool(module.layers(module.stem(tile))).flatten(1) for tile in tiles]
    assert torch.allclose(module(x), module.classifier(torch.cat(features, dim=1)), atol=1e-5)


def test_a_module_doubles_channels_and_halves_resolution_as_its_code_says() -> None:
    shapes = MACRO.graph("64-1234-basic").shapes
    stages = list(dict.fromkeys(shape[1:] for shape in shapes if len(shape) == 4 and shape[2] > 1))
    assert stages == [(3, 256, 256), (32, 128, 128), (64, 64, 64), (128, 64, 64), (128, 32, 32), (256, 16, 16)]


def test_encoder_starts_as_published() -> None:
    """Kaiming-normal by fan-out: the standard deviation of a k x k convolution is sqrt(2 / (out k k))."""
    weight = MICRO.module("64-41414-3_33_333").get_submodule("layers.9.edges.5.1").get_parameter("weight")
    assert weight.std().item() == pytest.approx((2 / (512 * 9)) ** 0.5, rel=0.01)


def test_macro_neighbours_change_one_module() -> None:
    codes = [spec.split("-")[1] for spec in MACRO.neighbours("64-1234-basic")]
    assert {len(text) for text in codes} == {4, 5}
    assert {"1134", "12342", "21234"} <= set(codes)
    assert "1111" not in codes


@pytest.mark.parametrize(
    ("left", "right", "same"),
    [
        ("0_00_000", "3_00_000", True),  # a layer that reaches nothing
        ("0_00_003", "0_00_000", True),  # a layer on nothing
        ("0_30_001", "3_00_010", True),  # one 3x3 convolution, by either point
        ("1_01_001", "0_00_100", True),  # skips in a row, one of them with weights where a module reduces
        ("1_03_001", "0_30_001", False),  # the same but where a module reduces: there the skip has weights
        ("3_01_011", "3_00_310", False),  # a layer used twice is not two layers
        ("2_00_020", "2_00_030", False),
    ],
)
def test_isomorphic_cells(left: str, right: str, same: bool) -> None:
    left, right = f"64-41414-{left}", f"64-41414-{right}"
    assert (MICRO.canonical(left) == MICRO.canonical(right)) is same
    assert (MICRO.isomorphism_hash(left) == MICRO.isomorphism_hash(right)) is same


def test_number_of_different_networks() -> None:
    functions = {function_of(MICRO.parse(spec).operations) for spec in MICRO.all_specs()}
    assert len(functions) == len(set(map(MICRO.canonical, MICRO.all_specs()))) == 1_376


@both
def test_the_whole_space_is_stamped_in_seconds(space: TransNasSpace[object]) -> None:
    specs = list(space.all_specs())
    start = time.perf_counter()
    batch = space.stamp(specs, 63)
    assert len(specs) / (time.perf_counter() - start) > 500
    assert len(batch) == len(specs)


def test_unknown_tasks_and_wrong_tiles_are_refused() -> None:
    with pytest.raises(UnknownNameError, match="taskonomy-scene"):
        MICRO.for_task("cifar10")
    with pytest.raises(ConfigError, match="not 9 tiles"):
        TransNas101Micro((1, 3, 64, 64), decoder="tiles")


def test_networks_without_a_score_are_left_out_and_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "table.parquet"
    specs = ["64-41414-1_02_333", "64-41414-0_00_000", "64-41414-3_33_333"]
    pd.DataFrame({"arch": specs, "svhn|val": [95.0, np.nan, 96.0], "class_scene|val": [1.0, 2.0, 3.0]}).to_parquet(path)
    with caplog.at_level(logging.INFO):
        table = read_file(path, "svhn")
    assert table.specs == ("64-41414-1_02_333", "64-41414-3_33_333")
    assert table.per_seed.tolist() == [[95.0], [96.0]]
    assert "1 of 3 networks have no score on svhn" in caplog.text
    assert read_file(path, "taskonomy-scene").specs == tuple(sorted(specs))
    with pytest.raises(DataError, match="no column"):
        read_file(path, "taskonomy-jigsaw")


@pytest.mark.parametrize("name", ["transnas101-micro", "transnas101-macro"])
def test_absent_tables_tell_what_to_do(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARCHCAST_DATA", str(tmp_path))
    with pytest.raises(MissingDataError, match=name):
        load_benchmark(name)


@pytest.mark.shared
@pytest.mark.parametrize("space", [MICRO, MACRO], ids=["micro", "macro"])
def test_tables_and_spaces_hold_the_same_specs(space: TransNasSpace[object], data_folder: Path) -> None:
    table = pd.read_parquet(data_folder / f"{space.name.replace('-', '_')}.parquet", columns=["arch"])
    assert len(table) == space.size
    assert set(table["arch"]) == set(space.all_specs())


@pytest.mark.shared
@pytest.mark.parametrize("name", ["transnas101-micro", "transnas101-macro"])
def test_every_task_has_its_unit_images_and_decoder(name: str) -> None:
    for task in label_source(name).tasks:
        bench: Benchmark = load_benchmark(name, task)
        assert len(bench) == (192 if task == "svhn" else bench.space.size)
        assert bench.graph(0).shapes[-1][1] == bench.num_classes
    assert load_benchmark(name).task == "taskonomy-scene"
    layout, normal = load_benchmark(name, "taskonomy-room-layout"), load_benchmark(name, "taskonomy-normal")
    assert (layout.unit, normal.unit) == ("negative loss", "SSIM")
    assert layout.scores.max() < 0 < normal.scores.min() < normal.scores.max() < 1


@pytest.mark.shared
def test_isomorphic_cells_score_alike() -> None:
    """Twins differ by the noise of training: a fiftieth of the spread of the space."""
    bench = load_benchmark("transnas101-micro")
    frame = pd.DataFrame({"group": bench.groups, "score": bench.scores})
    twins = frame.groupby("group").filter(lambda rows: len(rows) > 1)
    within = (twins["score"] - twins.groupby("group")["score"].transform("mean")).std()
    assert within < bench.scores.std() / 20
