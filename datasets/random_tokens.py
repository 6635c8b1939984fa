"""Random networks of tokens: transformers, mixers of other kinds, one stage or several of falling resolution."""

from __future__ import annotations

from math import isqrt
from typing import Final

from archcast.datasets.random_draws import Draws, Place
from archcast.datasets.random_layers import Canvas
from archcast.graphs.nodes import plain, pool

MIXERS: Final = ("attention", "attention", "windows", "reduced", "tokens", "depthwise", "pool", "gate")
"""How tokens exchange information.

attention: all with all. windows: inside square windows (Liu et al., ICCV 2021). reduced: keys and values at a lower
resolution (Wang et al., ICCV 2021). tokens: an MLP over them (Tolstikhin et al., NeurIPS 2021). depthwise: a
convolution. pool: the mean of the neighbours minus the token (Yu et al., CVPR 2022). gate: a linear layer over tokens
gates half of the channels (Liu et al., NeurIPS 2021).
"""

MLPS: Final = ("plain", "plain", "glu", "swiglu", "convolution")
MAPS: Final = frozenset({"windows", "reduced", "depthwise", "pool"})
"""Mixers that need the places of tokens in a square map."""


def token_stage(c: Canvas, d: Draws, x: int, depth: int, mixers: tuple[str, ...], place: tuple[Place, ...]) -> int:
    """`depth` blocks of a token mixer and an MLP on tokens `x`; `mixers` are the kinds to choose from."""
    alike = d.chance("alike", 0.7)
    one_kind = d.chance("one kind", 0.7)
    for block in range(depth):
        at = place if alike else (*place, block)
        kind = d.pick("operations", mixers, *(("all",) if one_kind else at), "mixer")
        x = _block(c, d, x, kind, at)
    return x


def is_square(canvas: Canvas, value: int) -> bool:
    """Whether tokens are all places of a square map (no text, no class token)."""
    tokens = canvas.shape(value)[1]
    return isqrt(tokens) ** 2 == tokens


def _block(c: Canvas, d: Draws, x: int, kind: str, place: tuple[Place, ...]) -> int:
    """Mixer and MLP with shortcuts; norms in front, behind, or both parts side by side behind one norm."""
    order = d.pick("style", ("pre", "pre", "pre", "post", "parallel"), "order")
    scaled = d.chance("style", 0.25, "layer scale")
    if order == "parallel":
        normed = c.token_norm(x)
        return c.add(x, c.add(_mix(c, d, normed, kind, place), _mlp(c, d, normed, place)))
    for part in ("mix", "mlp"):
        y = c.token_norm(x) if order == "pre" else x
        y = _mix(c, d, y, kind, place) if part == "mix" else _mlp(c, d, y, place)
        x = c.add(x, c.scale(y) if scaled else y)
        x = c.token_norm(x) if order == "post" else x
    return x


def _mix(c: Canvas, d: Draws, x: int, kind: str, place: tuple[Place, ...]) -> int:
    _, tokens, width = c.shape(x)
    if kind == "tokens":
        hidden = max(1, int(tokens * d.pick("expansion", (0.5, 1, 2, 4), *place, "tokens")))
        return c.across_tokens(c.activate(c.across_tokens(x, hidden), "Gelu"), tokens)
    if kind == "depthwise":
        kernel = d.pick("kernel", (3, 3, 5, 7), *place)
        return c.activate(c.tokens(c.conv(x, width, kernel, groups=width, bias=True)), "Gelu")
    if kind == "pool":
        near = c.put(pool("AveragePool", c.as_map(x), 3, stride=1, padding=1), x, shape=c.shape(x))
        return c.put(plain("Sub", c.shape(x)), near, x)
    if kind == "gate":
        return _gate(c, x, width * d.pick("expansion", (1, 2), *place, "gate"))
    return _attention(c, d, x, kind, place)


def _gate(c: Canvas, x: int, width: int) -> int:
    value, gate = c.halves(c.activate(c.linear(x, 2 * width), "Gelu"))
    gate = c.across_tokens(c.token_norm(gate), c.shape(gate)[1])
    return c.linear(c.put(plain("Mul", c.shape(value)), value, gate), c.channels(x))


def _attention(c: Canvas, d: Draws, x: int, kind: str, place: tuple[Place, ...]) -> int:
    _, tokens, width = c.shape(x)
    wanted = d.pick("expansion", (8, 16, 32, 64), *place, "head width")
    head = max(size for size in (8, 16, 32, 64) if width % size == 0 and size <= max(8, wanted))
    inner = width // head * head
    heads, bias = inner // head, d.chance("style", 0.8, "bias")
    windows, causal = 1, d.chance("style", 0.5, "causal") and not is_square(c, x)
    if kind == "windows":
        side = isqrt(tokens)
        size = d.pick("kernel", [size for size in (2, 4, 6, 7, 8) if side % size == 0] or [side], *place, "window")
        windows = (side // size) ** 2
    if kind == "reduced" and isqrt(tokens) % 2 == 0:
        step = d.pick("expansion", [step for step in (2, 4) if isqrt(tokens) % step == 0], *place, "reduction")
        source = c.token_norm(c.tokens(c.conv(x, width, step, stride=step, bias=True, patch=True)))
        query = c.linear(x, inner, bias=bias)
        y = c.attend(query, c.linear(source, inner, bias=bias), c.linear(source, inner, bias=bias), heads)
    elif d.chance("style", 0.6, "one projection"):
        y = c.attend(
            *c.thirds(c.linear(x, 3 * inner, bias=bias), heads, windows), heads, windows=windows, causal=causal
        )
    else:
        query, key, value = (c.linear(x, inner, bias=bias) for _ in range(3))
        y = c.attend(query, key, value, heads, windows=windows, causal=causal)
    return c.linear(y, width, bias=bias)


def _mlp(c: Canvas, d: Draws, x: int, place: tuple[Place, ...]) -> int:
    width = c.channels(x)
    hidden = max(8, int(width * d.pick("expansion", (1, 2, 3, 4, 4, 6), *place, "ratio")))
    kinds = MLPS if is_square(c, x) else MLPS[:-1]
    kind = d.pick("operations", kinds, "mlp")
    activation = d.pick("style", ("Gelu", "Gelu", "Relu", "Swish"), "token activation")
    if kind == "glu":
        gated = c.put(plain("Glu", (*c.shape(x)[:2], hidden)), c.linear(x, 2 * hidden))
        return c.linear(gated, width)
    if kind == "swiglu":
        value, gate = c.halves(c.linear(x, 2 * hidden, bias=False))
        product = c.put(plain("Mul", c.shape(value)), c.activate(gate, "Swish"), value)
        return c.linear(product, width, bias=False)
    y = c.linear(x, hidden)
    if kind == "convolution":
        y = c.tokens(c.conv(y, hidden, 3, groups=hidden, bias=True))
    return c.linear(c.activate(y, activation), width)
