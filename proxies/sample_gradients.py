"""The share of each sample in the gradient of a layer's weight, from its input and the gradient of its output."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from archcast.graphs.calls import Call


def sample_gradient(call: Call, gradient: Tensor, weights: list[Tensor]) -> Tensor | None:
    """`[B, P]` shares that add up to the gradient of the weight of `call`; None if this kind of call is not covered.

    Args:
        call: a recorded convolution or matrix product.
        gradient: gradient of some scalar for the result of `call`.
        weights: the weights that `call` is the first to use; its own must be the only one.
    """
    if len(weights) != 1:
        return None
    weight = weights[0]
    if call.name in ("conv1d", "conv2d") and call.arg(1, "weight") is weight:
        return _convolution(call, gradient.detach(), weight)
    if call.name == "linear" and call.arg(1, "weight") is weight:
        x = call.arg(0, "input").detach()
        x, g = x.reshape(x.shape[0], -1, x.shape[-1]), gradient.reshape(x.shape[0], -1, gradient.shape[-1])
        return torch.bmm(g.transpose(1, 2), x).flatten(1)
    return None


def _convolution(call: Call, gradient: Tensor, weight: Tensor) -> Tensor | None:
    """Per sample: gradient `[O, L]` times unfolded input `[C k k, L]`, in each group."""
    x = call.arg(0, "input").detach()
    stride, padding, dilation = (call.arg(i, n, d) for i, n, d in ((3, "stride", 1), (4, "padding", 0), (5, "dilation", 1)))
    groups = int(call.arg(6, "groups", 1))
    if isinstance(padding, str):
        return None
    kernel = weight.shape[2:]
    if call.name == "conv1d":
        x, kernel = x.unsqueeze(2), (1, *kernel)
        stride, padding, dilation = (1, _first(stride)), (0, _first(padding)), (1, _first(dilation))
    batch = x.shape[0]
    if tuple(kernel) == (1, 1) and _is(padding, 0):
        step = (stride, stride) if isinstance(stride, int) else tuple(stride)
        columns = x[:, :, :: step[0], :: step[-1]].flatten(2)
    else:
        columns = F.unfold(x, tuple(kernel), dilation, padding, stride)
    size = weight[0].numel()
    columns = columns.reshape(batch * groups, size, -1)
    g = gradient.reshape(batch * groups, weight.shape[0] // groups, -1)
    return torch.bmm(g, columns.transpose(1, 2)).reshape(batch, -1)


def _first(item: Any) -> int:
    return int(item[0]) if isinstance(item, (tuple, list)) else int(item)


def _is(item: Any, number: int) -> bool:
    return all(part == number for part in item) if isinstance(item, (tuple, list)) else item == number
