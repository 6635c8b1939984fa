"""SNIP (Lee et al., "SNIP: single-shot network pruning based on connection sensitivity", ICLR 2019)."""

from __future__ import annotations

from archcast.proxies.passes import Passes
from archcast.proxies.proxy import NodeValues, Proxy


def nodes(passes: Passes) -> NodeValues:
    gradients = passes.weight_gradients
    return {
        value: sum(float((w.detach() * g).abs().sum()) for w, g in zip(group, gradients[value], strict=True))
        for value, group in passes.weights.items()
    }


PROXIES = (
    Proxy(
        name="snip",
        paper="Lee et al., ICLR 2019",
        formula="sum |w dL/dw| over all weights",
        sign=1,
        unit="1",
        invariances="scale of a weight in front of a normalisation",
        reads="inputs, labels",
        cost="fast",
        nodes=nodes,
    ),
)
