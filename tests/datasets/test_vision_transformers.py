"""AutoFormer and PiT: published parameter counts, relative positions, graphs, and the files of ViT-Bench-101."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from archcast.datasets.autoformer import SUPERNETS, AutoFormer, ViTBenchAutoFormer
from archcast.datasets.autoformer_module import Attention, token_distances
from archcast.datasets.benchmark import load_benchmark
from archcast.datasets.labels_vit import autoformer_spec, pit_spec, read_file
from archcast.datasets.pit import PiT
from archcast.datasets.pit_module import Network as PiTNetwork
from archcast.datasets.space import SearchSpace
from archcast.errors import ConfigError, DataError, MissingDataError
from archcast.graphs.capture import capture
from benchmarks.published_sizes import AUTOFORMER_MILLIONS, PIT_SIZES

SPACES = [AutoFormer(), ViTBenchAutoFormer(), PiT()]
spaces = pytest.mark.parametrize("space", SPACES, ids=lambda space: space.name)


def count(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize(
    ("spec", "millions"),
    [(AutoFormer.example, 5.87), *AUTOFORMER_MILLIONS.items()],
    ids=["T", "S", "B"],
)
def test_searched_autoformers_have_their_published_size(spec: str, millions: float) -> None:
    """The paper says 22.9 and 54 million for S and B; for T it says 5.7, its own configuration gives 5.87."""
    with torch.device("meta"):
        params = count(AutoFormer().module(spec, 1000))
    assert params / 1e6 == pytest.approx(millions, abs=0.05)
    graph = AutoFormer().graph(spec)
    assert graph.params == params
    assert not graph.unknown_ops


@pytest.mark.parametrize(("base_dim", "heads", "params"), PIT_SIZES.values(), ids=PIT_SIZES)
def test_published_pits_have_their_published_size(base_dim: int, heads: tuple[int, ...], params: int) -> None:
    with torch.device("meta"):
        module = PiTNetwork(base_dim, 4, (2, 6, 4), heads, 1000, (3, 224, 224))
    assert count(module) == params
    graph = capture(module, (1, 3, 224, 224))
    assert graph.params == params
    assert not graph.unknown_ops
    assert graph.ops.count("Attention") == 12


def test_relative_positions_follow_their_formula() -> None:
    torch.manual_seed(0)
    attention = Attention(12, 2, 6, relative=True).double()
    assert attention.relative_keys is not None
    assert attention.relative_values is not None
    x, grid = torch.randn(3, 7, 12, dtype=torch.float64), token_distances(2, 3)
    with torch.no_grad():
        out = attention(x, grid)
        query, key, value = attention.qkv(x).reshape(3, 7, 3, 2, 6).permute(2, 0, 3, 1, 4)
        keys, values = attention.relative_keys(grid), attention.relative_values(grid)
        scores = torch.einsum("bhid,bhjd->bhij", query, key) + torch.einsum("bhid,ijd->bhij", query, keys)
        weights = (scores / 6**0.5).softmax(-1)
        mixed = torch.einsum("bhij,bhjd->bihd", weights, value) + torch.einsum("bhij,ijd->bihd", weights, values)
        expected = attention.projection(mixed.reshape(3, 7, 12))
    assert torch.allclose(out, expected)


def test_distances_are_clipped_and_the_class_token_has_its_own() -> None:
    distances = token_distances(1, 20)
    assert set(distances.horizontal[0].flatten().tolist()) == {0}
    assert set(distances.horizontal[:, 0].flatten().tolist()) == {0}
    assert distances.horizontal[1, 1:].tolist() == [*range(15, 30), *[29] * 5]
    assert set(distances.vertical[1:, 1:].flatten().tolist()) == {15}


@spaces
def test_stand_ins_run_in_training_and_evaluation(space: SearchSpace[Any]) -> None:
    small = space.small()
    module = small.module(space.example, 5)
    images = torch.randn(3, *small.input_shape[1:])
    assert module(images).shape == (3, 5)
    assert torch.allclose(module.eval()(images)[:1], module(images[:1]), atol=1e-5)
    assert small.graph(space.example).macs < space.graph(space.example).macs / 8


@pytest.mark.parametrize("shape", [(1, 3, 96, 64), (1, 1, 64, 32)])
@spaces
def test_images_need_not_be_square(space: SearchSpace[Any], shape: tuple[int, ...]) -> None:
    other = type(space)(input_shape=shape)
    assert other.module(space.example, 4)(torch.randn(2, *shape[1:])).shape == (2, 4)


def test_sizes_of_the_spaces() -> None:
    assert PiT().size == 4 * 4 * 27 * 10
    assert SUPERNETS["tiny"].size == ViTBenchAutoFormer().size == 3 * (6**12 + 6**13 + 6**14)
    assert AutoFormer().size == sum(supernet.size for supernet in SUPERNETS.values())


def test_samples_keep_to_what_the_papers_list() -> None:
    rng = np.random.default_rng(0)
    networks = [AutoFormer().parse(AutoFormer().sample(rng)) for _ in range(200)]
    assert {network.embedding for network in networks} == {192, 216, 240, 320, 384, 448, 528, 576, 624}
    tiny = [layer for network in networks if network.embedding < 300 for layer in network.layers]
    assert set(tiny) == {(heads, ratio) for heads in (3, 4) for ratio in (3.5, 4.0)}
    assert not any(heads == 8 for network in networks for heads, _ in network.layers)


def test_images_smaller_than_a_patch_are_refused() -> None:
    with pytest.raises(ConfigError, match="16 x 16"):
        PiT((1, 3, 8, 8))


AF_ENTRY: dict[str, Any] = {
    "arch": {"hidden_dim": 216, "depth": 12, "num_heads": [3, 4] * 6, "mlp_ratio": [3.5] * 11 + [4.0]},
    "c100_base_acc": 70.5,
    "c100_kd_acc": 75.5,
    "flower_base_acc": 60.0,
}
PIT_ENTRY: dict[str, Any] = {
    "arch": {"base_dim": 24, "mlp_ratio": 6, "depth": [1, 8, 4], "num_heads": [2, 2, 4]},
    "c100_base_acc": 71.5,
    "c100_kd_acc": 77.5,
}
"""Made-up accuracies in the format of the authors' files."""


@pytest.mark.parametrize("ending", ["json", "pth"])
def test_vit_bench_files_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str) -> None:
    other = {**PIT_ENTRY, "arch": {**PIT_ENTRY["arch"], "base_dim": 16}, "c100_kd_acc": 70.0}
    for name, entries in (("gt_autoformer", [AF_ENTRY]), ("gt_pit", [PIT_ENTRY, other])):
        path = tmp_path / f"{name}.{ending}"
        if ending == "json":
            path.write_text(json.dumps(entries))
        else:
            torch.save(entries, path)
    monkeypatch.setenv("ARCHCAST_DATA", str(tmp_path))
    bench = load_benchmark("pit", task="cifar100-distilled")
    assert bench.specs == ("16:6:1-8-4:2-2-4", "24:6:1-8-4:2-2-4")
    assert bench.scores.tolist() == [70.0, 77.5]
    assert bench.graph(0).shapes[-1] == (1, 100)
    bench = load_benchmark("vit-bench-autoformer", task="flowers102")
    assert bench.specs[0].startswith("216:3x3.5,4x3.5,")
    assert bench.graph(0).shapes[-1] == (1, 102)
    with pytest.raises(DataError, match="it holds: c100_base_acc, c100_kd_acc"):
        load_benchmark("pit", task="chaoyang")
    with pytest.raises(MissingDataError, match=r"gt_autoformer_2\.pth"):
        load_benchmark("vit-bench-autoformer-2")


class Payload:
    """What a hostile archive would run."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (print, ("this must never run",))


def test_hostile_archives_are_refused_and_not_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save([Payload()], tmp_path / "gt_pit.pth")
    with pytest.raises(DataError, match="without running code"):
        read_file(tmp_path / "gt_pit.pth", pit_spec, "cifar100")
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    "text",
    ["[", "{}", "[1]", '[{"arch": 1}]', json.dumps([{"arch": {**AF_ENTRY["arch"], "depth": 13}}])],
)
def test_damaged_files_are_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "gt_autoformer.json"
    path.write_text(text)
    with pytest.raises(DataError, match=r"gt_autoformer\.json"):
        read_file(path, autoformer_spec, "cifar100")
