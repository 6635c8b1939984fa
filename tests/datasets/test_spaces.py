"""The contract of `SearchSpace`, checked on every space."""

from __future__ import annotations

from itertools import islice
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archcast.datasets.space import SearchSpace
from archcast.datasets.spaces import SPACES, capture_spec, get_space
from archcast.errors import ConfigError, SpecError, UnknownNameError

GRAMMARS = {name: space for name, space in SPACES.items() if not name.startswith("zoo-")}
"""A zoo is a list of names; see test_zoo_benchmarks.py."""
spaces = pytest.mark.parametrize("space", GRAMMARS.values(), ids=GRAMMARS)

BAD = {
    "nasbench201": [
        "|nor_conv_3x3~0|",
        "|nor_conv_3x3~0|+|none~0|none~1|+|none~0|none~1|",
        "|nor_conv_5x5~0|+|none~0|none~1|+|none~0|none~1|none~2|",
        "|none~0|+|none~1|none~0|+|none~0|none~1|none~2|",
        "|none|+|none~0|none~1|+|none~0|none~1|none~2|",
    ],
    "nasbench101": [
        "011001000",
        "011001000:i-c1",
        "01100100:i-c1-o",
        "011001002:i-c1-o",
        "011001100:i-c1-o",
        "000001000:i-c1-o",
        "011001000:i-c5-o",
        "011001000:c1-c1-o",
        "0" * 64 + ":i-c1-c1-c1-c1-c1-c1-o",
        "0111111001111100011110000111000001100000010000000:i-c1-c1-c1-c1-c1-o",
    ],
    "nas-bench-macro": ["0201210", "020121000", "02012103", "0201210a", "٠٢٠١٢١٠٠"],
    "transnas101-micro": [
        "64-41414-basic",
        "64-41414-1_02_33",
        "64-41414-1_02_334",
        "64-41414-1-02-333",
        "32-41414-1_02_333",
        "64-41414-١_02_333",  # noqa: RUF001
    ],
    "transnas101-macro": [
        "64-1234-1_02_333",
        "64-123-basic",
        "64-1231231-basic",
        "64-1111-basic",
        "64-2222-basic",
        "64-333332-basic",
        "64-1235-basic",
        "64-basic",
    ],
    "accel-nasbench": [
        "e1k3l1se1-e6k3l2se1-e6k5l2se1-e6k3l3se1-e6k5l3se1-e6k5l4se1",
        "e1k3l1se1-e6k3l2se1-e6k5l2se1-e6k3l3se1-e6k5l3se1-e6k5l4se1-e6k3l4se1",
        "e1k3l1se1-e6k3l2se1-e6k5l2se1-e6k3l3se1-e6k5l3se1-e6k5l4se1-e3k3l1se1",
        "e1k3l1se1-e6k3l2se1-e6k5l2se1-e6k3l3se1-e6k5l3se1-e6k5l4se1-e6k7l1se1",
        "e1k3l0se1-e6k3l2se1-e6k5l2se1-e6k3l3se1-e6k5l3se1-e6k5l4se1-e6k3l1se1",
        "e1k3l1se2-e6k3l2se1-e6k5l2se1-e6k3l3se1-e6k5l3se1-e6k5l4se1-e6k3l1se1",
    ],
    "ofa-mobilenetv3": [
        "d22222-k3333333333-e3333333333",
        "r226-d22222-k3333333333-e3333333333",
        "r96-d22222-k3333333333-e3333333333",
        "r224-d2222-k33333333-e33333333",
        "r224-d12222-k333333333-e333333333",
        "r224-d22222-k33333333333-e3333333333",
        "r224-d22222-k3333333333-e2222222222",
        "r224-d22222-e3333333333-k3333333333",
        "r٢٢٤-d22222-k3333333333-e3333333333",
    ],
    "ofa-mobilenetv3-mcofa": ["r224-d22222-k3333333333-e6666666666"],
    "nats-sss": [
        "16:24:32:40",
        "16:24:32:40:64:64",
        "16:24:32:40:65",
        "16:24:32:40:072",
        "16,24,32,40,64",
        "8:8:8:8:-8",
    ],
    "darts": [
        "normal:skip_connect~0+skip_connect~1",
        "normal:skip_connect~0+skip_connect~1;reduce:skip_connect~0",
        "normal:skip_connect~0+skip_connect~2;reduce:skip_connect~0+skip_connect~1",
        "normal:none~0+skip_connect~1;reduce:skip_connect~0+skip_connect~1",
        "normal:skip_connect~0+skip_connect~1|concat~3;reduce:skip_connect~0+skip_connect~1",
        "normal:skip_connect~0+skip_connect~1|concat~2+2;reduce:skip_connect~0+skip_connect~1",
        "Genotype(normal=[('skip_connect', 0)], normal_concat=[2], reduce=[], reduce_concat=[])",
        "Genotype(normal=__import__('os'), normal_concat=[2], reduce=[], reduce_concat=[])",
        "Genotype(" + "(" * 3_000,
    ],
    "autoformer": ["192", "200:3x3.5", "192:3x3.5", "192:" + ",".join(["5x4"] * 12), "192:" + ",".join(["3x2"] * 12)],
    "vit-bench-autoformer": ["384:" + ",".join(["6x4"] * 12)],
    "nas-bench-bert": [
        "256:sdp.4.1024x3",
        "256:sdp.4.1024x3,sdp.4.1024x3,sdp.4.1024x3",
        "512:sdp.4.1024x3,sdp.4.1024x3",
        "256:sdp.3.1024x3,sdp.4.1024x3",
        "256:dsc7.4.1024x3,sdp.4.1024x3",
        "256:sdp.4.1024x2,sdp.4.1024x1",
    ],
    "nas-bench-bert-trained": ["256:sdp.4.1024,sdp.4.1024x1"],
    "pit": [
        "32:4:2-6-4",
        "30:4:2-6-4:2-4-8",
        "32:3:2-6-4:2-4-8",
        "32:4:2-5-4:2-4-8",
        "32:4:2-6-4:8-4-2",
        "32:4:2-6:2-4",
    ],
}


def has_positions(space: SearchSpace[Any]) -> bool:
    """Whether the networks learn a table of positions, which grows with the image."""
    return any(name.endswith("positions") for name, _ in space.module(space.example).named_parameters())


def samples(space: SearchSpace[Any], count: int, seed: int = 0) -> list[str]:
    rng = np.random.default_rng(seed)
    return [space.sample(rng) for _ in range(count)]


@spaces
def test_samples_belong_to_the_space_and_survive_parsing(space: SearchSpace[Any]) -> None:
    for spec in [space.example, *samples(space, 50)]:
        assert space.contains(spec)
        assert space.format(space.parse(spec)) == spec


@spaces
def test_samples_are_reproducible_and_differ(space: SearchSpace[Any]) -> None:
    assert samples(space, 20, seed=3) == samples(space, 20, seed=3)
    assert len(set(samples(space, 20, seed=3))) > 5


@spaces
def test_neighbours_are_distinct_members(space: SearchSpace[Any]) -> None:
    for spec in samples(space, 3):
        neighbours = space.neighbours(spec)
        assert len(neighbours) == len(set(neighbours)) > 0
        assert spec not in neighbours
        assert all(map(space.contains, neighbours))


@pytest.mark.parametrize("name", [name for name in GRAMMARS if name != "nasbench101"])
def test_neighbours_come_back(name: str) -> None:
    """Not on NAS-Bench-101, where taking an edge away can prune several vertices."""
    space = SPACES[name]
    for spec in samples(space, 3):
        assert all(spec in space.neighbours(other) for other in space.neighbours(spec))


@spaces
def test_mutation_gives_a_neighbour(space: SearchSpace[Any]) -> None:
    rng = np.random.default_rng(1)
    for spec in samples(space, 5):
        assert space.mutate(spec, rng) in space.neighbours(spec)


@spaces
def test_canonical_form_is_idempotent_and_decides_the_hash(space: SearchSpace[Any]) -> None:
    specs = samples(space, 100)
    canonical = [space.canonical(spec) for spec in specs]
    hashes = [space.isomorphism_hash(spec) for spec in specs]
    assert [space.canonical(spec) for spec in canonical] == canonical
    assert [space.isomorphism_hash(spec) for spec in canonical] == hashes
    assert len(set(canonical)) == len(set(hashes)) == len(set(zip(canonical, hashes, strict=True)))


@spaces
def test_all_specs_are_distinct_members(space: SearchSpace[Any]) -> None:
    first = list(islice(space.all_specs(), 2_000))
    assert len(first) == len(set(first)) == 2_000
    assert all(map(space.contains, first))


@pytest.mark.parametrize(
    "name", [name for name, space in GRAMMARS.items() if name != "nasbench101" and space.size < 1e5]
)
def test_size_counts_all_specs(name: str) -> None:
    specs = list(SPACES[name].all_specs())
    assert len(specs) == len(set(specs)) == SPACES[name].size


@spaces
def test_a_batch_holds_the_graphs_of_its_specs(space: SearchSpace[Any]) -> None:
    specs = samples(space, 8)
    batch = space.stamp([*specs, specs[0]])
    assert batch.names == tuple(f"{space.name}:{spec}" for spec in [*specs, specs[0]])
    for graph, spec in zip(batch, [*specs, specs[0]], strict=True):
        alone = space.graph(spec, 10)
        assert graph.nodes == alone.nodes
        assert np.array_equal(graph.edge_index, alone.edge_index)


@spaces
def test_edges_point_forward_and_every_node_but_the_input_is_fed(space: SearchSpace[Any]) -> None:
    batch = space.stamp(samples(space, 20))
    assert (batch.edge_index[0] < batch.edge_index[1]).all()
    assert (np.diff(batch.edge_index[1]) >= 0).all()
    for graph in batch:
        assert graph.ops[0] == "Input"
        assert graph.ops[-1] == "Output"
        assert sorted(set(graph.edge_index[1].tolist())) == list(range(1, len(graph)))
        fan_in = np.bincount(graph.edge_index[1], minlength=len(graph))
        adds = [i for i, op in enumerate(graph.ops) if op == "Add" and not graph.nodes[i].params]
        # Fixed positions are a constant, which is neither a value of the graph nor a parameter.
        assert all(fan_in[i] == 2 for i in (adds[1:] if "-sine-" in graph.name else adds))


@spaces
def test_no_specs_give_an_empty_batch(space: SearchSpace[Any]) -> None:
    batch = space.stamp([])
    assert len(batch) == 0
    assert batch.edge_index.shape == (2, 0)


TOKENS_ONLY = ("mini-transformers", "mini-mixers", "nas-bench-bert", "nas-bench-bert-trained")


@pytest.mark.parametrize("name", [name for name in GRAMMARS if name not in TOKENS_ONLY])
def test_classes_and_images_change_the_graph(name: str) -> None:
    """Those that are left out mix over all tokens of their smallest image, or take no images; see their own tests."""
    space = SPACES[name]
    spec = space.example
    assert space.graph(spec, 100).shapes[-1] == (1, 100)
    shape = (1, 3, 2 * space.multiple, 2 * space.multiple)
    small = type(space)(input_shape=shape).graph(spec)
    assert small.shapes[0] == shape
    if not has_positions(space):
        assert small.params == space.graph(spec).params
    assert small.macs < space.graph(spec).macs


@spaces
@pytest.mark.parametrize("shape", [(1, 3, 30, 32), (2, 3, 32, 32), (3, 32, 32), (1, 0, 32, 32), (1, 3, 0, 0)])
def test_image_shapes_that_do_not_fit_are_refused(space: SearchSpace[Any], shape: tuple[int, ...]) -> None:
    with pytest.raises(ConfigError, match=f"multiples of {space.multiple}"):
        type(space)(input_shape=shape)


@pytest.mark.parametrize(("name", "spec"), [(name, spec) for name, specs in BAD.items() for spec in specs])
def test_bad_specs_are_refused_with_an_example(name: str, spec: str) -> None:
    space = SPACES[name]
    with pytest.raises(SpecError, match="Example: ") as caught:
        space.parse(spec)
    assert space.example in str(caught.value)
    assert not space.contains(spec)
    for ask in (space.canonical, space.neighbours, space.module, lambda bad: space.stamp([bad])):
        with pytest.raises(SpecError):
            ask(spec)


@spaces
@pytest.mark.parametrize("spec", [None, 2012100, ["0"], b"02012100", "", " ", "x" * 10_000])
def test_things_that_are_no_specs_are_refused(space: SearchSpace[Any], spec: Any) -> None:
    with pytest.raises(SpecError) as caught:
        space.parse(spec)
    assert len(str(caught.value)) < 600


@spaces
@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_mangled_specs_never_raise_anything_else(space: SearchSpace[Any], data: st.DataObject) -> None:
    position = data.draw(st.integers(0, len(space.example)))
    inserted = data.draw(st.text(max_size=4))
    cut = data.draw(st.integers(0, 4))
    spec = space.example[:position] + inserted + space.example[position + cut :]
    if space.contains(spec):
        assert space.contains(space.canonical(spec))


def test_names_are_those_of_the_classes() -> None:
    assert all(name == space.name for name, space in SPACES.items())
    assert get_space("nasbench201") is SPACES["nasbench201"]


def test_unknown_names_list_the_known_ones() -> None:
    with pytest.raises(UnknownNameError, match="nasbench101, nasbench201, nas-bench-macro, nats-sss"):
        get_space("nasbench301")
    with pytest.raises(UnknownNameError):
        capture_spec("no-such-space", "x")


def test_prefixed_specs_give_graphs() -> None:
    graph = capture_spec("nas-bench-macro", "02012100")
    assert graph.params == 890_666
    assert graph.name == "nas-bench-macro:02012100"
