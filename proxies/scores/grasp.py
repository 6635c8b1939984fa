"""GraSP (Wang et al., "Picking winning tickets before training by preserving gradient flow", ICLR 2020)."""

from __future__ import annotations

import torch

from archcast.proxies.passes import Passes, UnmeasurableError
from archcast.proxies.proxy import NodeValues, Proxy


def nodes(passes: Passes) -> NodeValues:
    """- w * (H g), with the product of Hessian and gradient from a second backward pass."""
    products = passes.hessian_gradient
    values = {
        value: -sum(float((w.detach() * h).sum()) for w, h in zip(group, products[value], strict=True))
        for value, group in passes.weights.items()
    }
    if not all(map(torch.isfinite, torch.tensor(list(values.values())))):
        raise UnmeasurableError("the second derivative is not finite")
    return values


PROXIES = (
    Proxy(
        name="grasp",
        paper="Wang et al., ICLR 2020",
        formula="- sum w (H dL/dw), H the Hessian of the loss",
        sign=1,
        unit="1",
        invariances="none",
        reads="inputs, labels",
        cost="full",
        nodes=nodes,
    ),
)
