"""Gradient norm (Abdelfattah et al., "Zero-cost proxies for lightweight NAS", ICLR 2021)."""

from __future__ import annotations

from archcast.proxies.passes import Passes
from archcast.proxies.proxy import NodeValues, Proxy


def nodes(passes: Passes) -> NodeValues:
    return {value: sum(float(g.norm()) for g in group) for value, group in passes.weight_gradients.items()}


PROXIES = (
    Proxy(
        name="grad_norm",
        paper="Abdelfattah et al., ICLR 2021",
        formula="sum over weights W of ||dL/dW||_2",
        sign=1,
        unit="1",
        invariances="none",
        reads="inputs, labels",
        cost="fast",
        nodes=nodes,
    ),
)
