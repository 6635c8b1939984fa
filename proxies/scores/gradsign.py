"""GradSign (Zhang and Jia, "GradSign: model performance inference with theoretical insights", ICLR 2022)."""

from __future__ import annotations

from archcast.proxies.passes import Passes
from archcast.proxies.proxy import NodeValues, Proxy


def nodes(passes: Passes) -> NodeValues:
    """Sum over weights of |sum over samples of sign(dL_i/dw)|, per sample."""
    return {
        value: float(share.sign().sum(dim=0).abs().sum()) / len(share)
        for value, share in passes.sample_gradients("loss")
    }


PROXIES = (
    Proxy(
        name="gradsign",
        paper="Zhang and Jia, ICLR 2022",
        formula="sum_w |sum_i sign(dL_i/dw)| / B",
        sign=1,
        unit="weights",
        invariances="positive scale of any gradient",
        reads="inputs, labels",
        cost="full",
        nodes=nodes,
    ),
)
