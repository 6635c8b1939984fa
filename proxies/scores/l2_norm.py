"""L2 norm of the weights (Abdelfattah et al., "Zero-cost proxies for lightweight NAS", ICLR 2021)."""

from __future__ import annotations

from archcast.proxies.passes import Passes
from archcast.proxies.proxy import NodeValues, Proxy


def nodes(passes: Passes) -> NodeValues:
    return {value: sum(float(w.detach().norm()) for w in group) for value, group in passes.weights.items()}


PROXIES = (
    Proxy(
        name="l2_norm",
        paper="Abdelfattah et al., ICLR 2021",
        formula="sum over weights W of ||W||_2",
        sign=1,
        unit="1",
        invariances="inputs, resolution, wiring",
        reads="weights",
        cost="fast",
        nodes=nodes,
    ),
)
