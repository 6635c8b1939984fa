"""Random networks from a wide grammar, made directly as graphs, for pretraining without labels.

    families   cells, residual, mobile, plain, branches, mixed, hybrid, transformer, mixer, text

A network follows from (seed, index) alone. A *pool* resembles a search space: one family and one set of fixed choices,
and a few dimensions (`archcast.datasets.random_draws.DIMENSIONS`) in which its networks differ.

Examples:
    >>> random_network(seed=0, index=7)
    >>> pool = random_pool(seed=3, size=64)
    >>> pool.name, pool.varied, len(pool.graphs)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Final

from archcast.datasets.random_blocks import BLOCKS, rounded
from archcast.datasets.random_draws import DIMENSIONS, Draws
from archcast.datasets.random_layers import ACTIVATIONS, NORMS, SMALLEST_MAP, Canvas, Style
from archcast.datasets.random_tokens import MAPS, MIXERS, token_stage
from archcast.errors import ConfigError
from archcast.graphs.graph import ComputationGraph, GraphBatch

IMAGE_SIDES: Final = (16, 32, 32, 48, 64, 64, 80, 96, 112, 128, 160, 176, 192, 224, 224, 256)
CLASSES: Final = (2, 10, 10, 37, 100, 200, 1000, 1000)
TEXT_LENGTHS: Final = (32, 48, 80, 96, 128, 200, 288, 384, 512)  # no squares: those would be taken for maps
WIDEST: Final = 1024

_TRIED: Final = 5
"""Networks among which a dimension must make a difference to be varied in a pool."""

_KINDS: Final[dict[str, tuple[str, ...]]] = {
    "cells": ("edge-cell", "node-cell"),
    "residual": ("basic", "bottleneck", "convnext"),
    "mobile": ("mobile",),
    "plain": ("plain", "fire"),
    "branches": ("inception", "dense", "split", "fire"),
    "mixed": tuple(BLOCKS),
    "hybrid": ("basic", "bottleneck", "mobile", "convnext", "inception"),
}
"""Convolutional family -> the blocks it is made of."""


@dataclass(frozen=True, eq=False)
class RandomPool:
    """Networks that differ in a few dimensions.

    Attributes:
        name: `random-<seed>:<family>:<varied dimensions>`.
        family: one of `FAMILIES`.
        varied: the dimensions in which the networks differ.
        graphs: the networks, no two alike, named `<name>#<member>`.
    """

    name: str
    family: str
    varied: tuple[str, ...]
    graphs: GraphBatch


def random_network(seed: int, index: int) -> ComputationGraph:
    """The network `index` of the sequence `seed`; every dimension is free."""
    key = f"{_checked('seed', seed)}/network/{_checked('index', index)}"
    return _build(Draws(key, key), f"random-{seed}#{index}")


def random_pool(seed: int, size: int = 64, varied: Sequence[str] | None = None) -> RandomPool:
    """Up to `size` different networks of one pool.

    Args:
        seed: decides everything about the pool.
        size: how many networks; a pool whose dimensions have few choices gives fewer.
        varied: the dimensions that vary. When left out they are drawn: one (half of the pools), two or three, or most
            of them, and another one where that makes too few different networks (there are few resolutions).

    Raises:
        ConfigError: `seed` is negative or `size` is less than 1.
        UnknownNameError: `varied` names a dimension that does not exist.
    """
    shared = f"{_checked('seed', seed)}/pool"
    if size < 1:
        raise ConfigError(f"size {size} of a pool is less than 1; give how many networks it should have")
    fixed = Draws(shared, shared, ())
    family = family_of(fixed)
    order = _what_matters(seed, shared, fixed) if varied is None else list(varied)
    vary = fixed.pick("how many vary", (1, 1, 1, 2, 3, 6)) if varied is None else len(order)
    while True:
        chosen = tuple(sorted(order[:vary]))
        name = f"random-{seed}:{family}:{'+'.join(chosen)}"
        graphs = _members(seed, size, shared, chosen, name)
        if len(graphs) >= min(size, 16) or vary >= len(order):
            return RandomPool(name, family, chosen, GraphBatch.from_graphs(graphs))
        vary += 1


def family_of(draws: Draws) -> str:
    return draws.pick("family", _WEIGHTED)


def _checked(name: str, value: int) -> int:
    if value < 0:
        raise ConfigError(f"{name} {value} is negative; give 0 or more")
    return int(value)


def _what_matters(seed: int, shared: str, fixed: Draws) -> list[str]:
    """The dimensions in which the first members of the pool would differ, in random order."""

    def matters(dimension: str) -> bool:
        first, *others = (
            _content(_build(Draws(shared, f"{seed}/member/{member}", (dimension,)), "")) for member in range(_TRIED)
        )
        return any(other != first for other in others)

    return [name for name in sorted(DIMENSIONS, key=lambda name: fixed.number("order", name)) if matters(name)]


def _members(seed: int, size: int, shared: str, varied: tuple[str, ...], name: str) -> list[ComputationGraph]:
    """The first `size` different members; fewer where new ones have become rare."""
    found: dict[tuple[object, ...], ComputationGraph] = {}
    for member in count():
        graph = _build(Draws(shared, f"{seed}/member/{member}", varied), f"{name}#{member}")
        found.setdefault(_content(graph), graph)
        if len(found) == size or member >= 32 + 8 * len(found):
            break
    return list(found.values())


def _content(graph: ComputationGraph) -> tuple[object, ...]:
    return graph.nodes, graph.edge_index.tobytes()


def _build(draws: Draws, name: str) -> ComputationGraph:
    family = family_of(draws)
    style = Style(
        draws.pick("style", NORMS, "norm"),
        draws.pick("style", ACTIVATIONS, "activation"),
        draws.chance("style", 0.25, "first") and family != "plain",
        "RMSNormalization" if draws.chance("style", 0.25, "token norm") else "LayerNormalization",
    )
    canvas = Canvas(style)
    value = FAMILIES[family](canvas, draws)
    return canvas.build(value, name)


def _convolutional(c: Canvas, d: Draws) -> int:
    x = _image_stem(c, d)
    x = _conv_stages(c, d, x, _KINDS[family_of(d)], d.between("depth", 2, 4, "stages"))
    return _map_head(c, d, x)


def _image_stem(c: Canvas, d: Draws) -> int:
    """Convolution, normalisation, activation; large images are halved once or twice."""
    x = c.image(d.pick("resolution", IMAGE_SIDES, "image"))
    strided = c.side(x) >= 96 or (c.side(x) >= 48 and d.chance("resolution", 0.5, "stem"))
    width = rounded(_base_width(d) * d.pick("width", (0.5, 1, 1), "stem"))
    x = c.conv(x, width, d.pick("kernel", (3, 3, 5, 7), "stem"), stride=2 if strided else 1)
    x = c.activate(c.norm(x))
    if c.side(x) >= 64 and d.chance("resolution", 0.6, "stem pool"):
        x = c.pool(x, "MaxPool", 3, 2)
    return x


def _base_width(d: Draws) -> int:
    return d.pick("width", (8, 16, 16, 24, 32, 32, 48, 64), "base")


def _conv_stages(c: Canvas, d: Draws, x: int, kinds: tuple[str, ...], stages: int) -> int:
    kinds = d.subset("kinds", kinds, 1, "blocks")
    one_kind = d.chance("one kind", 0.7)
    alike = d.chance("alike", 0.6)
    deepest = d.pick("deepest", (2, 3, 4, 6))
    growth = d.pick("growth", (1.0, 1.5, 2.0))
    for stage in range(stages):
        kind = d.pick("operations", kinds, "all" if one_kind else stage, "block")
        depth = d.between(
            "depth", 1, min(deepest, 3) if kind in ("edge-cell", "node-cell", "dense") else deepest, stage
        )
        factor = d.pick("width", (0.75, 1.0, 1.0, 1.25, 1.5), stage)
        width = min(WIDEST, rounded(_base_width(d) * growth**stage * factor))
        halve = _halves(c, x) and (c.side(x) >= 96 or d.chance("resolution", 0.75 if stage else 0.25, stage))
        for block in range(depth):
            place = (stage,) if alike else (stage, block)
            x = BLOCKS[kind](c, d, x, width, 2 if halve and block == 0 else 1, place)
    return x


def _halves(c: Canvas, x: int) -> bool:
    """Whether a map may be halved: its side is even, and the result is no less than `SMALLEST_MAP`."""
    return c.side(x) % 2 == 0 and c.side(x) >= 2 * SMALLEST_MAP


def _map_head(c: Canvas, d: Draws, x: int) -> int:
    """(1x1 convolution,) pool (or flattened map, or hidden layer), classifier."""
    classes = d.pick("task", CLASSES)
    if c.style.first:
        x = c.activate(c.norm(x))
    kind = d.pick("style", ("pool", "pool", "wide", "hidden", "flat"), "head")
    if kind == "wide":
        x = c.conv(x, min(2 * WIDEST, rounded(c.channels(x) * d.pick("expansion", (2, 4), "head"))))
        return c.classify(c.activate(c.norm(x)), classes)
    if kind == "flat" and family_of(d) == "plain" and c.side(x) <= 16:
        hidden = c.linear(c.flatten(x), d.pick("width", (64, 128, 256, 512), "head"))
        return c.linear(c.activate(hidden), classes)
    if kind == "hidden":
        return c.linear(c.activate(c.classify(x, d.pick("width", (64, 128, 256, 512), "head"))), classes)
    return c.classify(x, classes)


def _hybrid(c: Canvas, d: Draws) -> int:
    """Convolutional stages, then stages of tokens (Dai et al., NeurIPS 2021)."""
    x = _conv_stages(c, d, _image_stem(c, d), _KINDS["hybrid"], d.between("depth", 1, 3, "stages"))
    if c.style.first:
        x = c.activate(c.norm(x))
    mixers = d.subset("kinds", MIXERS, 1, "mixers")
    x = _token_stages(c, d, x, mixers, d.between("depth", 1, 2, "token stages"))
    return c.classify(c.token_norm(x), d.pick("task", CLASSES))


def _transformer(c: Canvas, d: Draws) -> int:
    return _patches(c, d, d.subset("kinds", ("attention", "windows", "reduced"), 1, "mixers"))


def _mixer(c: Canvas, d: Draws) -> int:
    return _patches(c, d, d.subset("kinds", ("tokens", "depthwise", "pool", "gate", "attention"), 1, "mixers"))


def _patches(c: Canvas, d: Draws, mixers: tuple[str, ...]) -> int:
    """Patches of an image as tokens (Dosovitskiy et al., ICLR 2021), one stage of them or several."""
    stages = d.pick("stages", (1, 1, 1, 2, 3, 4))
    classes = d.pick("task", CLASSES)
    side = d.pick("resolution", IMAGE_SIDES, "image")
    x = c.image(side)
    sizes = [size for size in (2, 4, 8, 16) if side // size >= 4 and side // size <= 64]
    sizes = sizes[:2] if stages > 1 else sizes
    patch = d.pick("resolution", sizes, "patch")
    if patch > 2 and d.chance("stem", 0.3):
        x = c.activate(c.norm(c.conv(x, rounded(_token_width(d, 0) / 2), 3, stride=2)))
        patch //= 2
    x = c.tokens(c.conv(x, _token_width(d, 0), patch, stride=patch, bias=True, patch=True))
    class_token = stages == 1 and not MAPS & set(mixers) and d.chance("style", 0.4, "class token")
    if class_token:
        x = c.with_class_token(x)
    if d.chance("style", 0.7, "positions"):
        x = c.with_positions(x)
    x = _token_stages(c, d, x, mixers, stages, start=True)
    x = c.token_norm(x)
    return c.linear(c.first_token(x), classes) if class_token else c.classify(x, classes)


def _token_width(d: Draws, stage: int) -> int:
    base = d.pick("width", (16, 32, 48, 64, 96, 128, 192, 256, 384), "tokens")
    return int(min(WIDEST, base * d.pick("growth", (1, 2)) ** stage))


def _token_stages(c: Canvas, d: Draws, x: int, mixers: tuple[str, ...], stages: int, *, start: bool = False) -> int:
    """Stages of token blocks; each but a first one at the `start` begins with a convolution that merges tokens."""
    deepest = d.pick("deepest", (3, 6, 12)) if stages == 1 else d.pick("deepest", (2, 3, 4))
    for stage in range(stages):
        if stage or not start:
            step = 2 if _halves(c, x) and d.chance("resolution", 0.8, "tokens", stage) else 1
            x = c.tokens(c.conv(x, _token_width(d, stage), step, stride=step, bias=True, patch=True))
        x = token_stage(c, d, x, d.between("depth", 1, deepest, "tokens", stage), mixers, ("tokens", stage))
    return x


def _text(c: Canvas, d: Draws) -> int:
    """A transformer on embedded indices (Vaswani et al., NeurIPS 2017); language model, or classifier of the text."""
    length = d.pick("resolution", TEXT_LENGTHS, "length")
    entries = d.pick("task", (1_000, 8_192, 30_522, 32_000, 50_257), "entries")
    x = c.text(length, entries, _token_width(d, 0))
    if d.chance("style", 0.6, "positions"):
        x = c.with_positions(x)
    if d.chance("style", 0.4, "embedding norm"):
        x = c.token_norm(x)
    depth = d.between("depth", 1, d.pick("deepest", (4, 8, 12)))
    x = token_stage(c, d, x, depth, ("attention", "attention", "attention", "tokens"), ("tokens", 0))
    x = c.token_norm(x)
    if d.chance("task", 0.4, "language model"):
        return c.linear(x, entries, bias=False)
    return c.classify(x, d.pick("task", CLASSES[:3]))


FAMILIES: Final[dict[str, Callable[[Canvas, Draws], int]]] = {
    **{name: _convolutional for name in _KINDS if name != "hybrid"},
    "hybrid": _hybrid,
    "transformer": _transformer,
    "mixer": _mixer,
    "text": _text,
}
"""Name -> what puts a network of the family on a canvas and returns its output."""

_WEIGHTED: Final = (
    "cells", "cells", "cells", "residual", "residual", "mobile", "mobile", "plain", "branches", "branches", "mixed",
    "hybrid", "hybrid", "transformer", "transformer", "mixer", "text",
)  # fmt: skip
