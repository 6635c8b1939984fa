"""Spaces by name and spaces of one's own."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from archcast.datasets.benchmark import load_benchmark
from archcast.datasets.spaces import SPACES, get_space
from archcast.errors import ConfigError, SpecError, UnknownNameError
from archcast.search.spaces import BenchmarkSpace, ChoiceSpace, open_space

CHOICES: dict[str, list[Any]] = {"width": [4, 8], "kernel": [1, 3, 5], "norm": [True, False]}


def build(config: dict[str, Any]) -> Any:
    from torch import nn

    layers = [nn.Conv2d(1, config["width"], config["kernel"], padding=config["kernel"] // 2)]
    norm = [nn.BatchNorm2d(config["width"])] if config["norm"] else []
    return nn.Sequential(*layers, *norm, nn.Flatten(), nn.Linear(64 * config["width"], 10))


def chain(choose: Callable[..., Any]) -> list[int]:
    """Choices that depend on a choice."""
    return [choose(f"kernel{place}", [1, 3, 5]) for place in range(choose("depth", [1, 2]))]


def plain(kernels: list[int]) -> Any:
    from torch import nn

    return nn.Sequential(*[nn.Conv2d(1, 1, kernel, padding=kernel // 2) for kernel in kernels])


def own() -> ChoiceSpace:
    return ChoiceSpace(CHOICES, build, (1, 1, 8, 8))


@pytest.mark.parametrize("space", [own(), ChoiceSpace(chain, plain, (1, 1, 8, 8))])
class TestOwnSpace:
    def test_all_specs_are_found_and_read_back(self, space: ChoiceSpace) -> None:
        specs = space.specs()
        assert specs is not None
        assert len(set(specs)) == space.size == 12  # 2 * 3 * 2, and 3 + 3 * 3
        assert all(space.contains(spec) for spec in specs)
        rng = np.random.default_rng(0)
        assert {space.sample(rng) for _ in range(300)} == set(specs)

    def test_neighbours_differ_in_one_choice(self, space: ChoiceSpace) -> None:
        rng = np.random.default_rng(1)
        for spec in space.specs() or ():
            near = space.neighbours(spec)
            assert near == space.neighbours(spec)
            assert spec not in near
            assert len(set(near)) == len(near) > 0
            for other in (*near, space.mutate(spec, rng)):
                assert space.contains(other)
                made, changed = json.loads(spec), json.loads(other)
                assert sum(made[name] != changed[name] for name in made.keys() & changed.keys()) == 1

    def test_children_take_from_both(self, space: ChoiceSpace) -> None:
        specs, rng = space.specs() or (), np.random.default_rng(2)
        children = {space.crossover(specs[0], specs[-1], rng) for _ in range(60)}
        assert len(children) > 3
        assert all(space.contains(child) for child in children)

    def test_graphs_are_those_of_the_networks(self, space: ChoiceSpace) -> None:
        specs = (space.specs() or ())[::4]
        counted = [sum(p.numel() for p in space.network(spec).parameters()) for spec in specs]
        assert space.graphs(specs).params.tolist() == counted


def test_choices_of_other_programs_make_a_spec() -> None:
    space = ChoiceSpace(chain, plain)
    spec = space.spec_of({"kernel1": 5, "rate": 0.1, "kernel0": 3, "depth": 2})
    assert spec == '{"depth":2,"kernel0":3,"kernel1":5}'
    assert space.chosen(spec) == {"depth": 2, "kernel0": 3, "kernel1": 5}
    assert space.options_of(spec) == {"depth": [1, 2], "kernel0": [1, 3, 5], "kernel1": [1, 3, 5]}
    assert space.chosen_by(lambda _, options: options[-1]) == [5, 5]
    assert own().chosen_by(lambda _, options: options[0]) == {"width": 4, "kernel": 1, "norm": True}
    for wrong in ({"depth": 2, "kernel0": 3}, {"depth": 3}, {}):
        with pytest.raises(SpecError, match="is no architecture of own"):
            space.spec_of(wrong)


def test_specs_that_do_not_belong_are_refused() -> None:
    for spec in ("nonsense", "[]", '{"width":4}', '{"width":5,"kernel":1,"norm":true}', json.dumps({"more": 1})):
        assert not own().contains(spec)
        with pytest.raises(SpecError, match="JSON"):
            own().network(spec)


def test_choices_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ConfigError, match="options"):
        ChoiceSpace({"width": []}, build)
    twice = ChoiceSpace(lambda choose: [choose("a", [1, 2]), choose("a", [1, 2])], plain)
    with pytest.raises(ConfigError, match="twice"):
        twice.sample(np.random.default_rng(0))


def test_a_large_space_is_not_listed() -> None:
    large = ChoiceSpace({f"c{i}": range(10) for i in range(9)}, build)
    assert large.size == 1e9
    assert large.specs() is None


@pytest.mark.parametrize("name", [name for name in SPACES if not name.startswith("zoo")])
def test_every_benchmark_is_a_space(name: str) -> None:
    space, rng = open_space(name, table=False), np.random.default_rng(0)
    one, other = space.sample(rng), space.sample(rng)
    for spec in (space.mutate(one, rng), space.crossover(one, other, rng), space.neighbours(one)[0]):
        assert space.contains(spec)
    assert len(space.graphs([one, other])) == 2
    assert space.identity(one) == space.identity(one)


def test_a_benchmark_is_searched_where_it_was_measured() -> None:
    bench = load_benchmark("nasbench201", "cifar100")
    space = open_space("nasbench201", "cifar100", table=True)
    assert isinstance(space, BenchmarkSpace)
    assert space.name == "nasbench201/cifar100"
    assert space.lookup(bench.specs[7]) == bench.scores[7]
    assert space.specs() == bench.specs
    assert space.graphs(bench.specs[:2]).macs.tolist() == bench.graphs([0, 1]).macs.tolist()
    with pytest.raises(SpecError):
        space.lookup("nonsense")


@pytest.mark.shared
def test_a_part_of_a_space_has_the_neighbours_that_were_measured() -> None:
    space = open_space("nasbench101", table=True)
    specs = space.specs()
    assert specs is not None
    for spec in specs[::4000]:
        near = space.neighbours(spec)
        assert set(near) <= set(specs) - {spec}
        assert space.contains(space.mutate(spec, np.random.default_rng(0)))


def test_what_is_no_space_is_refused() -> None:
    with pytest.raises(UnknownNameError):
        open_space("imaginary", table=False)
    with pytest.raises(UnknownNameError):
        open_space("nasbench201", "imaginary", table=False)
    with pytest.raises(ConfigError, match="evaluate"):
        open_space(own(), table=True)
    with pytest.raises(ConfigError, match="no search space"):
        open_space(3, table=False)  # type: ignore[arg-type]
    assert open_space(get_space("darts"), table=False).specs() is None
