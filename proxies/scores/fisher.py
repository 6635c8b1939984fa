"""Fisher (Turner et al., "BlockSwap", ICLR 2020; Theis et al., 2018): how much the loss depends on each channel."""

from __future__ import annotations

from archcast.proxies.passes import Passes
from archcast.proxies.proxy import NodeValues, Proxy
from archcast.proxies.stages import channel_rows


def nodes(passes: Passes) -> NodeValues:
    """1/2 sum over channels of the batch mean of (sum over positions of activation * gradient)^2."""
    found = {}
    for value, gradient in passes.output_gradients.items():
        output = passes.tape.results[value].detach()
        per_channel = channel_rows(output * gradient).sum(dim=1)
        found[value] = float(0.5 * per_channel.pow(2).mean(dim=0).sum())
    return found


PROXIES = (
    Proxy(
        name="fisher",
        paper="Turner et al., ICLR 2020",
        formula="1/2 sum_channels mean_batch (sum_positions a dL/da)^2 over the outputs of weighted layers",
        sign=1,
        unit="1",
        invariances="none",
        reads="inputs, labels",
        cost="fast",
        nodes=nodes,
    ),
)
