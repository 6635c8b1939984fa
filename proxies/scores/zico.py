"""ZiCo (Li et al., "ZiCo: zero-shot NAS via inverse coefficient of variation on gradients", ICLR 2023)."""

from __future__ import annotations

import math

from archcast.proxies.passes import Passes
from archcast.proxies.proxy import NodeValues, Proxy


def nodes(passes: Passes) -> NodeValues:
    """log of the sum over weights of mean |g| / std g between the two halves of the batch."""
    found = {}
    for value, share in passes.sample_gradients("loss"):
        half = len(share) // 2
        if half == 0:
            continue
        first, second = share[:half].sum(dim=0), share[half : 2 * half].sum(dim=0)
        spread = (first - second).abs() / 2
        ratio = ((first.abs() + second.abs()) / 2)[spread > 0] / spread[spread > 0]
        if (sum_ := float(ratio.sum())) > 0:
            found[value] = math.log(sum_)
    return found


PROXIES = (
    Proxy(
        name="zico",
        paper="Li et al., ICLR 2023",
        formula="sum over layers of log sum_w mean|g_w| / std(g_w), over two batches",
        sign=1,
        unit="nats",
        invariances="scale of the gradient of a layer",
        reads="inputs, labels",
        cost="full",
        nodes=nodes,
    ),
)
