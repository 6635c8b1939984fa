"""Blocks of random convolutional networks: plain, residual, mobile and multi-branch ones.

Every block is a function of a canvas, the decisions of the network, the value it reads, the channels it puts out, its
stride, and its place (stage, or stage and block): blocks with the same place are alike. Channels are multiples of 8.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from archcast.datasets.random_cells import edge_cell, node_cell
from archcast.datasets.random_draws import Draws, Place
from archcast.datasets.random_layers import Canvas

Block = Callable[[Canvas, Draws, int, int, int, tuple[Place, ...]], int]

KERNELS: Final = (3, 3, 3, 5, 7)


def rounded(channels: float) -> int:
    """The nearest multiple of 8, at least 8."""
    return max(8, int(channels / 8 + 0.5) * 8)


def shortcut(canvas: Canvas, value: int, like: int, draws: Draws, place: tuple[Place, ...]) -> int:
    """What a residual block adds: its input, or a projection of it where the shape changes."""
    if canvas.as_map(value) == canvas.as_map(like):
        return value
    stride = canvas.side(value) // canvas.side(like)
    if stride == 2 and draws.chance("topology", 0.3, *place, "pooled shortcut"):
        value = canvas.pool(value, "AveragePool", 3, stride)
        stride = 1
    return canvas.conv_norm(value, canvas.channels(like), 1, stride=stride, activate=False)


def close(canvas: Canvas, inner: int, skip: int) -> int:
    """The sum that ends a residual block, activated unless activations stand in front."""
    total = canvas.add(inner, skip)
    return total if canvas.style.first else canvas.activate(total)


def plain_block(c: Canvas, d: Draws, x: int, channels: int, stride: int, place: tuple[Place, ...]) -> int:
    """One to three convolutions (Simonyan and Zisserman, ICLR 2015), some of them depthwise separable."""
    for layer in range(d.between("depth", 1, 3, *place, "layers")):
        kernel = d.pick("kernel", (1, *KERNELS), *place, layer)
        step = stride if layer == 0 else 1
        if d.chance("operations", 0.2, *place, "separable"):
            x = c.conv_norm(x, c.channels(x), max(kernel, 3), stride=step, groups=c.channels(x))
            x = c.conv_norm(x, channels)
        else:
            x = c.conv_norm(x, channels, max(kernel, 3) if step > 1 else kernel, stride=step)
    return x


def basic_block(c: Canvas, d: Draws, x: int, channels: int, stride: int, place: tuple[Place, ...]) -> int:
    """Two convolutions and a shortcut (He et al., CVPR 2016; with activations first, ECCV 2016)."""
    kernel = d.pick("kernel", KERNELS, *place)
    inner = c.conv_norm(x, channels, kernel, stride=stride)
    inner = c.conv_norm(inner, channels, kernel, activate=c.style.first)
    inner = gate(c, d, inner, place)
    return close(c, inner, shortcut(c, x, inner, d, place))


def bottleneck_block(c: Canvas, d: Draws, x: int, channels: int, stride: int, place: tuple[Place, ...]) -> int:
    """1x1, (grouped) k x k, 1x1 and a shortcut (ResNet, ResNeXt: Xie et al., CVPR 2017)."""
    inner = rounded(channels / d.pick("expansion", (1, 2, 4), *place, "ratio"))
    width = d.pick("expansion", (inner, inner, 8, 16), *place, "group width")
    groups = inner // width if inner % width == 0 else 1
    y = c.conv_norm(x, inner)
    y = c.conv_norm(y, inner, d.pick("kernel", KERNELS, *place), stride=stride, groups=groups)
    y = gate(c, d, y, place)
    y = c.conv_norm(y, channels, activate=c.style.first)
    return close(c, y, shortcut(c, x, y, d, place))


def gate(c: Canvas, d: Draws, x: int, place: tuple[Place, ...]) -> int:
    """Squeeze-excite, in a third of all networks."""
    if not d.chance("expansion", 0.33, *place, "squeeze-excite"):
        return x
    ratio = d.pick("expansion", (4, 8, 16), *place, "squeeze")
    return c.excite(x, ratio, d.pick("style", ("Sigmoid", "HardSigmoid"), "gate"))


def mobile_block(c: Canvas, d: Draws, x: int, channels: int, stride: int, place: tuple[Place, ...]) -> int:
    """Inverted residual (Sandler et al., CVPR 2018), or fused: one full convolution widens and filters."""
    wide = rounded(c.channels(x) * d.pick("expansion", (1, 2, 3, 4, 6), *place, "ratio"))
    kernel = d.pick("kernel", KERNELS, *place)
    if d.chance("operations", 0.2, *place, "fused"):
        y = c.conv_norm(x, wide, kernel, stride=stride)
    else:
        y = c.conv_norm(x, wide) if wide != c.channels(x) else x
        y = c.conv_norm(y, wide, kernel, stride=stride, groups=wide)
    y = c.conv_norm(gate(c, d, y, place), channels, activate=False)
    return c.add(y, x) if c.as_map(x) == c.as_map(y) else y


def convnext_block(c: Canvas, d: Draws, x: int, channels: int, stride: int, place: tuple[Place, ...]) -> int:
    """Wide depthwise convolution, normalisation and an MLP of 1x1 convolutions (Liu et al., CVPR 2022)."""
    if stride > 1 or c.channels(x) != channels:
        x = c.conv(c.norm(x), channels, stride, stride=stride, bias=True, patch=True)
    y = c.conv(x, channels, d.pick("kernel", (3, 5, 7, 9), *place), groups=channels, bias=True)
    wide = channels * d.pick("expansion", (2, 3, 4), *place, "ratio")
    y = c.activate(c.conv(c.norm(y), wide, bias=True), "Gelu")
    y = c.conv(y, channels, bias=True)
    return c.add(x, c.scale(y) if d.chance("style", 0.5, "layer scale") else y)


def dense_block(c: Canvas, d: Draws, x: int, channels: int, stride: int, place: tuple[Place, ...]) -> int:
    """Layers that read everything before them (Huang et al., CVPR 2017), projected to `channels`."""
    if stride > 1:
        x = c.pool(x, d.pick("operations", ("AveragePool", "MaxPool"), *place, "pool"), 3, stride)
    growth = rounded(channels / d.pick("expansion", (2, 4, 8), *place, "growth"))
    for layer in range(d.between("depth", 2, 5, *place, "layers")):
        y = c.conv_norm(x, 2 * growth) if d.chance("topology", 0.5, *place, "bottleneck") else x
        y = c.conv_norm(y, growth, d.pick("kernel", (3, 3, 5), *place, layer))
        x = c.concat(x, y)
    return c.conv_norm(x, channels)


def inception_block(c: Canvas, d: Draws, x: int, channels: int, stride: int, place: tuple[Place, ...]) -> int:
    """Two to five branches, concatenated (Szegedy et al., CVPR 2015 and 2016); projected and added to a shortcut."""
    count = d.between("topology", 2, 5, *place, "branches")
    widths = [rounded(channels / count * d.pick("expansion", (0.5, 1, 1.5), *place, b)) for b in range(count)]
    outs = [_branch(c, d, x, width, stride, (*place, branch)) for branch, width in enumerate(widths)]
    y = c.concat(*outs)
    if d.chance("topology", 0.4, *place, "residual"):
        y = c.conv_norm(y, channels, activate=c.style.first)
        return close(c, y, shortcut(c, x, y, d, place))
    return y


def _branch(c: Canvas, d: Draws, x: int, width: int, stride: int, place: tuple[Place, ...]) -> int:
    kind = d.pick("operations", ("1x1", "conv", "two", "asymmetric", "pool", "dilated", "depthwise"), *place)
    kernel = d.pick("kernel", KERNELS, *place)
    if kind == "1x1":
        return c.conv_norm(x, width, stride=stride)
    if kind == "pool":
        op = d.pick("operations", ("AveragePool", "MaxPool"), *place, "pool")
        return c.conv_norm(c.pool(x, op, 3, stride), width)
    y = c.conv_norm(x, rounded(width * 0.75)) if d.chance("topology", 0.7, *place, "reduced") else x
    if kind == "asymmetric":
        y = c.conv_norm(c.conv_norm(y, width, (1, kernel)), width, (kernel, 1))
        return c.pool(y, "MaxPool", 3, stride) if stride > 1 else y
    if kind == "two":
        y = c.conv_norm(y, width, 3)
        return c.conv_norm(y, width, 3, stride=stride)
    if kind == "depthwise":
        y = c.conv_norm(y, c.channels(y), kernel, stride=stride, groups=c.channels(y))
        return c.conv_norm(y, width)
    dilation = 2 if kind == "dilated" else 1
    return c.conv_norm(y, width, 3 if dilation > 1 else kernel, stride=stride, dilation=dilation)


def fire_block(c: Canvas, d: Draws, x: int, channels: int, stride: int, place: tuple[Place, ...]) -> int:
    """1x1 squeeze, then 1x1 and k x k side by side (Iandola et al., 2016)."""
    if stride > 1:
        x = c.pool(x, "MaxPool", 3, stride)
    squeezed = c.conv_norm(x, rounded(channels / d.pick("expansion", (2, 4, 8), *place, "ratio")))
    half = rounded(channels / 2)
    kernel = d.pick("kernel", (3, 3, 5), *place)
    y = c.concat(c.conv_norm(squeezed, half), c.conv_norm(squeezed, half, kernel))
    residual = d.chance("topology", 0.4, *place, "residual") and c.as_map(x) == c.as_map(y)
    return c.add(x, y) if residual else y


def split_block(c: Canvas, d: Draws, x: int, channels: int, stride: int, place: tuple[Place, ...]) -> int:
    """Half of the channels passes by, the other half is filtered (Ma et al., ECCV 2018)."""
    if stride > 1 or c.channels(x) != channels or channels % 16:
        x = c.conv_norm(x, rounded(channels / 2) * 2, 3, stride=stride)
    kept, moved = c.halves(x)
    width = c.channels(moved)
    y = c.conv_norm(moved, width)
    y = c.conv_norm(y, width, d.pick("kernel", KERNELS, *place), groups=width, activate=False)
    return c.concat(kept, gate(c, d, c.conv_norm(y, width), place))


BLOCKS: Final[dict[str, Block]] = {
    "plain": plain_block,
    "basic": basic_block,
    "bottleneck": bottleneck_block,
    "mobile": mobile_block,
    "convnext": convnext_block,
    "dense": dense_block,
    "inception": inception_block,
    "fire": fire_block,
    "split": split_block,
    "edge-cell": edge_cell,
    "node-cell": node_cell,
}
"""Name -> block."""
