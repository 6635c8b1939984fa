"""The share of each sample in the gradient of a layer's weight, from its input and the gradient of its output."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from archcast.graphs.calls import Call


def sample_gradient(call: Call, gradient: Tensor, weights: list[Tensor]) -> Tensor | None:
    """`[B, P]` shares that add up to the gradient of the weight of `call`; None if this kind of call is not covered.

    The P entries come in the order (group, output, kernel, input channel).

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
    """Per sample and group: output gradient `[O, L]` times the patches of the input `[L, k k C]`."""
    x = call.arg(0, "input").detach()
    padding = call.arg(4, "padding", 0)
    if isinstance(padding, str):
        return None
    groups = int(call.arg(6, "groups", 1))
    if call.name == "conv1d":
        x, gradient = x.unsqueeze(2), gradient.unsqueeze(2)
    axes = weight.dim() - 2
    stride, dilation = _pair(call.arg(3, "stride", 1), 1, axes), _pair(call.arg(5, "dilation", 1), 1, axes)
    kernel = (1, *weight.shape[2:])[-2:]
    patches = _patches(x, kernel, stride, _pair(padding, 0, axes), dilation, gradient.shape[2:])
    if groups == x.shape[1] == weight.shape[0]:
        return _depthwise(x, gradient, patches)
    batch, positions = x.shape[0], gradient.shape[2] * gradient.shape[3]
    g = gradient.permute(0, 2, 3, 1).reshape(batch, positions, groups, -1)
    if groups == 1:
        return torch.bmm(g[:, :, 0].transpose(1, 2), patches.reshape(batch, positions, -1)).flatten(1)
    patches = patches.reshape(batch, positions, -1, groups, x.shape[1] // groups)
    return torch.einsum("bpgo,bpkgc->bgokc", g, patches).flatten(1)


def first_patch_entries(call: Call, size: tuple[int, ...]) -> Tensor:
    """`[B, H', W']` what the first weight of a convolution is multiplied with at each output position."""
    x, weight = call.arg(0, "input").detach()[:, :1], call.arg(1, "weight")
    axes = weight.dim() - 2
    if axes == 1:
        x, size = x.unsqueeze(2), (1, *size)
    stride = _pair(call.arg(3, "stride", 1), 1, axes)
    dilation = _pair(call.arg(5, "dilation", 1), 1, axes)
    kernel = (1, *weight.shape[2:])[-2:]
    return _patches(x, kernel, stride, _pair(call.arg(4, "padding", 0), 0, axes), dilation, size)[:, :, :, 0, 0, 0]


def _depthwise(x: Tensor, gradient: Tensor, patches: Tensor) -> Tensor:
    """`[B, C k k]`: tap by tap, because all patches at once would be k k times the input."""
    g = gradient.permute(0, 2, 3, 1)
    taps = [
        torch.einsum("bhwc,bhwc->bc", g, patches[:, :, :, row, column])
        for row in range(patches.shape[3])
        for column in range(patches.shape[4])
    ]
    return torch.stack(taps, dim=2).reshape(len(x), -1)


def _patches(
    x: Tensor,
    kernel: tuple[int, ...],
    stride: tuple[int, int],
    padding: tuple[int, int],
    dilation: tuple[int, int],
    size: tuple[int, ...],
) -> Tensor:
    """`[B, H', W', kh, kw, C]` a view of the padded input with channels last; `size` is (H', W')."""
    x = x.permute(0, 2, 3, 1)
    if any(padding):
        x = F.pad(x, (0, 0, padding[1], padding[1], padding[0], padding[0]))
    x = x.contiguous()
    b, h, w, c = x.stride()
    shape = (x.shape[0], *size, *kernel, x.shape[3])
    return x.as_strided(shape, (b, h * stride[0], w * stride[1], h * dilation[0], w * dilation[1], c))


def _pair(item: Any, first: int, axes: int) -> tuple[int, int]:
    """Sizes of two axes; a convolution with one axis gets `first` in front."""
    sizes = tuple(item) if isinstance(item, (tuple, list)) else (item,) * axes
    return (first, int(sizes[0])) if axes == 1 else (int(sizes[0]), int(sizes[-1]))
