"""Attention confidence (Serianni and Kalita, "Training-free neural architecture search for RNNs and transformers", ACL
2023, after Behnke and Heafield, "Losing heads in the lottery", EMNLP 2020): how much a query favours one key.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from archcast.graphs.calls import Call
from archcast.proxies.passes import Passes, UnmeasurableError
from archcast.proxies.proxy import NodeValues, Proxy
from archcast.proxies.tape import Tape

_PRODUCTS = frozenset({"MatMul", "Einsum"})
_CAST = frozenset({"Where"})


def softmax_mixers(tape: Tape) -> dict[int, int]:
    """Value of each softmax that weighs tokens -> the product with them that reads it.

    Of the softmaxes over the last axis of a tensor with three axes and more those count that are multiplied with
    another activation.
    """
    readers: dict[int, list[int]] = {}
    for value, sources in enumerate(tape.sources):
        for source in sources:
            readers.setdefault(source, []).append(value)
    found = {}
    for value, call in tape.calls.items():
        node = tape.nodes[value]
        if node.op != "Softmax" or len(node.shape) < 3 or call.arg(1, "dim") not in (-1, len(node.shape) - 1):
            continue
        following = readers.get(value, [])
        following += [later for reader in following if tape.nodes[reader].op in _CAST for later in readers[reader]]
        product = next((reader for reader in following if tape.nodes[reader].op in _PRODUCTS), None)
        if product is not None:
            found[value] = product
    return found


def attention_weights(call: Call) -> Tensor:
    """`[..., queries, keys]` the weights inside a call of `scaled_dot_product_attention`."""
    query: Tensor = call.arg(0, "query").detach()
    key: Tensor = call.arg(1, "key").detach()
    if call.kwargs.get("enable_gqa"):
        key = key.repeat_interleave(query.shape[-3] // key.shape[-3], dim=-3)
    scale = call.arg(6, "scale")
    scores = query @ key.transpose(-2, -1) * (1 / math.sqrt(query.shape[-1]) if scale is None else scale)
    mask = call.arg(3, "attn_mask")
    if call.arg(5, "is_causal", False):
        mask = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
    if mask is not None:
        scores = scores.masked_fill(~mask, -math.inf) if mask.dtype == torch.bool else scores + mask
    return scores.softmax(dim=-1)


def nodes(passes: Passes) -> NodeValues:
    """Largest weight of a query, mean over queries, heads and samples."""
    tape = passes.tape
    weights = {
        value: attention_weights(call) for value, call in tape.calls.items() if tape.nodes[value].op == "Attention"
    }
    for value in softmax_mixers(tape):
        tensor = tape.intact(value)
        if tensor is not None:
            weights[value] = tensor.detach()
    if not weights:
        raise UnmeasurableError("the network has no attention layer")
    return {value: float(weight.amax(dim=-1).nan_to_num(0.0).mean()) for value, weight in weights.items()}


def score(_passes: Passes, values: NodeValues) -> float:
    return sum(values.values()) / len(values)


PROXIES = (
    Proxy(
        name="attention_confidence",
        paper="Serianni and Kalita, ACL 2023",
        formula="mean over layers, heads, samples and queries of the largest attention weight",
        sign=1,
        unit="1",
        invariances="scale of the values",
        reads="inputs",
        cost="fast",
        nodes=nodes,
        score=score,
    ),
)
