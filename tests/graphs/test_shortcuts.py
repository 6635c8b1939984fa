"""Shortcuts on meta give the shapes, types and identities that torch gives, or stand aside."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from archcast.graphs.shortcuts import SHORTCUTS, shortcut


def meta(*shape: int) -> torch.Tensor:
    return torch.empty(shape, device="meta")


X, W = meta(2, 6, 8, 8), meta(6)
CASES: list[tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]] = [
    (F.relu, (X,), {}),
    (F.relu, (X,), {"inplace": True}),
    (F.gelu, (X,), {"approximate": "tanh"}),
    (F.softmax, (X, -1), {}),
    (torch.Tensor.add, (X, meta(6, 1, 1)), {}),
    (torch.Tensor.add_, (X, meta(8)), {}),
    (torch.Tensor.mul, (X, 2.0), {}),
    (torch.Tensor.mul, (X, 2), {}),
    (torch.Tensor.add, (X, X), {"alpha": 2}),
    (F.batch_norm, (X, W, W, W, W, False), {}),
    (F.group_norm, (X, 3, W, W), {}),
    (F.layer_norm, (X, (8, 8), None, None), {}),
    (F.linear, (X, meta(5, 8), meta(5)), {}),
    (torch.matmul, (X, meta(2, 6, 8, 3)), {}),
    (F.scaled_dot_product_attention, (X, meta(2, 6, 5, 8), meta(2, 6, 5, 4)), {}),
    (torch.Tensor.mean, (X, (2, -1)), {"keepdim": True}),
    (torch.Tensor.mean, (X, 1), {}),
    (torch.Tensor.norm, (X, 2.0, -1, True), {}),
    (torch.Tensor.norm, (X,), {"dim": (1, 2)}),
    (torch.Tensor.clamp_min, (X, 1e-12), {}),
    (torch.cat, ([X, meta(2, 3, 8, 8)], 1), {}),
    (torch.cat, ([X, X],), {"dim": -1}),
    (F.interpolate, (X,), {"scale_factor": 2.5, "mode": "bilinear"}),
    (F.interpolate, (X, 5), {}),
    (F.interpolate, (X, (5, 7)), {"mode": "bicubic"}),
]


@pytest.mark.parametrize(("function", "args", "kwargs"), CASES)
def test_as_torch(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    expected = function(*args, **kwargs)
    result = shortcut(function.__name__, args, kwargs)
    assert result is not None
    assert (result.shape, result.dtype, result.device) == (expected.shape, expected.dtype, expected.device)
    assert (result is args[0]) == (expected is args[0])


@pytest.mark.parametrize(
    ("name", "args"),
    [
        ("linear", (X, meta(5, 7), None)),
        ("matmul", (X, meta(2, 6, 7, 3))),
        ("matmul", (X, meta(8, 3))),
        ("add", (meta(8), X)),
        ("add", (X, meta(7))),
        ("mean", (X,)),
        ("mean", (X, (1, 1))),
        ("mean", (X, 4)),
        ("norm", (X, 2.0)),
        ("add", (X, X.half())),
        ("batch_norm", (X, meta(5), meta(5), None, None)),
        ("layer_norm", (X, (7,))),
        ("cat", ([X, meta(2, 6, 8, 7)], 1)),
        ("relu", (X.long(),)),
        ("relu", (torch.zeros(3),)),
        ("interpolate", (X,)),
        ("no such function", (X,)),
    ],
)
def test_stands_aside_where_the_rule_may_not_hold(name: str, args: tuple[Any, ...]) -> None:
    assert shortcut(name, args, {}) is None


def test_an_explicit_result_type_is_left_to_torch() -> None:
    assert shortcut("softmax", (X, -1), {"dtype": torch.float64}) is None


def test_every_shortcut_has_a_handler() -> None:
    from archcast.graphs.torch_ops import HANDLERS

    assert SHORTCUTS.keys() <= HANDLERS.keys()
