"""Random cells: directed acyclic graphs with an operation on every edge or on every node.

Where nothing is drawn for an edge it is left out, or (as in NAS-Bench-201: Dong and Yang, ICLR 2020) a zero operation
stands on it. Nodes that nothing reads are the output of the cell, so that no operation is dead.
"""

from __future__ import annotations

from typing import Final

from archcast.datasets.random_draws import Draws, Place
from archcast.datasets.random_layers import Canvas
from archcast.graphs.nodes import plain

OPERATIONS: Final = (
    "conv1", "conv3", "conv5", "dw3", "dw5", "dw7", "dilated3", "dilated5", "grouped3", "asymmetric5", "bottleneck3",
    "mobile3", "excite", "avg3", "max3", "avg5", "max5", "skip", "zero",
)  # fmt: skip
"""Operations between values of the same shape; the number is the side of the window."""


def operation(canvas: Canvas, name: str, value: int) -> int:
    """One operation that keeps the shape of `value`."""
    kind, kernel = name.rstrip("0123456789"), int(name[-1]) if name[-1].isdigit() else 1
    channels = canvas.channels(value)
    if kind == "skip":
        return value
    if kind == "zero":
        return canvas.put(plain("Zero", canvas.shape(value)), value)
    if kind in ("avg", "max"):
        return canvas.pool(value, "AveragePool" if kind == "avg" else "MaxPool", kernel)
    if kind == "dw":
        filtered = canvas.conv_norm(value, channels, kernel, groups=channels)
        return canvas.conv_norm(filtered, channels)
    if kind == "dilated":
        return canvas.conv_norm(value, channels, kernel, dilation=2)
    if kind == "grouped":
        return canvas.conv_norm(value, channels, kernel, groups=channels // 8)
    if kind == "asymmetric":
        return canvas.conv_norm(canvas.conv_norm(value, channels, (1, kernel)), channels, (kernel, 1))
    if kind == "bottleneck":
        inner = max(8, channels // 16 * 8)
        return canvas.conv_norm(canvas.conv_norm(canvas.conv_norm(value, inner), inner, kernel), channels)
    if kind == "mobile":
        wide = canvas.conv_norm(value, 2 * channels)
        wide = canvas.conv_norm(wide, 2 * channels, kernel, groups=2 * channels)
        return canvas.conv_norm(wide, channels, activate=False)
    if kind == "excite":
        return canvas.excite(value, 4, "Sigmoid")
    return canvas.conv_norm(value, channels, kernel)


def allowed_operations(draws: Draws) -> tuple[str, ...]:
    """The operations that all cells of a pool choose from."""
    return draws.subset("operation set", OPERATIONS, 3, "cell")


def edge_cell(c: Canvas, d: Draws, x: int, channels: int, stride: int, place: tuple[Place, ...]) -> int:
    """Nodes are sums of operations on all nodes before them."""
    x = _enter(c, d, x, channels, stride)
    names = allowed_operations(d)
    nodes, explicit = d.between("cell", 2, 5, "nodes"), d.chance("cell", 0.4, "explicit zeros")
    density = d.pick("cell", (0.4, 0.6, 0.8), "density")
    values: list[int] = [x]
    read: set[int] = set()
    for node in range(1, nodes + 1):
        terms: list[int] = []
        for source, value in enumerate(values):
            name = d.pick("operations", names, *_shared(d, place), node, source)
            present = d.chance("topology", density, *_shared(d, place), node, source)
            if explicit:
                name = name if present else "zero"
            elif not present or name == "zero":
                continue
            terms.append(operation(c, name, value))
            read.add(value)
        if terms:
            values.append(c.add(*terms))
    return _leave(c, d, x, values, read, channels)


def node_cell(c: Canvas, d: Draws, x: int, channels: int, stride: int, place: tuple[Place, ...]) -> int:
    """Operations stand on nodes, which read the sum of some nodes before them (Ying et al., ICML 2019)."""
    x = _enter(c, d, x, channels, stride)
    names = [name for name in allowed_operations(d) if name not in ("skip", "zero")] or ["conv3"]
    nodes = d.between("cell", 2, 7, "nodes")
    density = d.pick("cell", (0.3, 0.5, 0.7), "density")
    values: list[int] = [x]
    read: set[int] = set()
    for node in range(1, nodes + 1):
        sources = [
            value
            for source, value in enumerate(values)
            if d.chance("topology", density, *_shared(d, place), node, source)
        ]
        if sources:
            read.update(sources)
            name = d.pick("operations", names, *_shared(d, place), node)
            values.append(operation(c, name, c.add(*sources)))
    return _leave(c, d, x, values, read, channels)


def _shared(draws: Draws, place: tuple[Place, ...]) -> tuple[Place, ...]:
    """In most pools all cells of a network are the same."""
    return () if draws.chance("cell", 0.7, "one for all") else place


def _enter(c: Canvas, d: Draws, x: int, channels: int, stride: int) -> int:
    """To the channels and resolution of the cell."""
    if stride > 1 and d.chance("cell", 0.3, "pooled reduction"):
        x = c.pool(x, "MaxPool", 3, stride)
        stride = 1
    if stride > 1 or c.channels(x) != channels or d.chance("cell", 0.3, "preprocess"):
        return c.conv_norm(x, channels, 3 if stride > 1 else 1, stride=stride)
    return x


def _leave(c: Canvas, d: Draws, x: int, values: list[int], read: set[int], channels: int) -> int:
    """The values that nothing reads, concatenated and projected, or added; with a shortcut in some pools."""
    loose = [value for value in dict.fromkeys(values) if value not in read]
    if not loose:  # every node repeats one before it
        loose = [values[-1]]
    if len(loose) > 1 and d.chance("cell", 0.5, "concatenate"):
        out = c.conv_norm(c.concat(*loose), channels)
    else:
        out = c.add(*loose)
    if d.chance("cell", 0.3, "residual") and out != x:
        out = c.add(out, x)
    return out
