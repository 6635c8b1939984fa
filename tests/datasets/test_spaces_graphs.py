"""Stamped graphs are the graphs that capturing the PyTorch network gives."""

from __future__ import annotations

from collections import Counter
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch

from archcast.datasets.nasbench201 import OPERATIONS
from archcast.datasets.space import SearchSpace
from archcast.datasets.spaces import SPACES
from archcast.graphs.capture import capture

GRAMMARS = {name: space for name, space in SPACES.items() if not name.startswith("zoo-")}
"""A zoo is a list of names; see test_zoo_benchmarks.py."""
spaces = pytest.mark.parametrize("space", GRAMMARS.values(), ids=GRAMMARS)

CORNERS = {
    "nasbench201": [f"|{op}~0|+|{op}~0|{op}~1|+|{op}~0|{op}~1|{op}~2|" for op in OPERATIONS],
    "nasbench101": [
        "0100:i-o",
        "011001000:i-mp-o",
        # Three vertices share the output: channels do not divide evenly, so inputs are truncated.
        "010000001110000001000001000001000000:i-c3-c1-mp-c3-o",
        "010001001110000001000001000001000000:i-mp-c1-mp-c3-o",
    ],
    "nas-bench-macro": ["00000000", "11111111", "22222222"],
    "transnas101-micro": [f"64-41414-{op}_{op}{op}_{op}{op}{op}" for op in range(4)],
    "transnas101-macro": ["64-4111-basic", "64-444311-basic"],
    "nats-sss": ["8:8:8:8:8", "64:8:64:8:64"],
}


def check(space: SearchSpace[Any], specs: list[str], num_classes: int = 10) -> None:
    for spec, stamped in zip(specs, space.stamp(specs, num_classes), strict=True):
        captured = capture(partial(space.module, spec, num_classes), space.input_shape_of(spec))
        assert Counter(stamped.nodes) == Counter(captured.nodes), spec
        assert stamped.hash() == captured.hash(), spec
        # Even the order of nodes and edges is that of the run.
        assert stamped.nodes == captured.nodes, spec
        assert np.array_equal(stamped.edge_index, captured.edge_index), spec


@spaces
def test_stamped_equals_captured_on_random_specs(space: SearchSpace[Any]) -> None:
    rng = np.random.default_rng(7)
    check(space, [space.sample(rng) for _ in range(6)])


@pytest.mark.parametrize(("name", "spec"), [(name, spec) for name, specs in CORNERS.items() for spec in specs])
def test_stamped_equals_captured_on_corners(name: str, spec: str) -> None:
    check(SPACES[name], [spec])


@spaces
def test_stamped_equals_captured_with_other_classes_and_images(space: SearchSpace[Any]) -> None:
    size = 2 * space.multiple
    shape = (1, 1, size, size) if len(space.input_shape) == 4 else (1, size)
    check(type(space)(input_shape=shape), [space.example], num_classes=120)


@spaces
def test_modules_run_forward_and_backward(space: SearchSpace[Any]) -> None:
    space = space.small()
    module = space.module(space.example, num_classes=7)
    shape = (2, *space.input_shape[1:])
    logits = module(torch.randn(shape) if len(shape) == 4 else torch.randint(100, shape))
    assert logits.shape == (2, 7)
    logits.sum().backward()
    assert torch.isfinite(logits).all()
    assert module.get_submodule("classifier").get_parameter("weight").grad is not None


@spaces
def test_parameters_of_graph_and_module_agree(space: SearchSpace[Any]) -> None:
    rng = np.random.default_rng(8)
    specs = [space.sample(rng) for _ in range(10)]
    with torch.device("meta"):
        counted = [sum(p.numel() for p in space.module(spec).parameters()) for spec in specs]
    assert space.stamp(specs).params.tolist() == counted
