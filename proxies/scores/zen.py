"""Zen-NAS (Lin et al., "Zen-NAS: a zero-shot NAS for high-performance deep image recognition", ICCV 2021).

All weights are drawn from N(0, 1). As in the released code, what a batch normalisation divided by is read from its
running variance after two passes at momentum .1: v = .81 + .19 variance.
"""

from __future__ import annotations

import math

from archcast.proxies.passes import Passes, UnmeasurableError
from archcast.proxies.proxy import NodeValues, Proxy

KEPT = 0.9**2
"""What is left of the initial running variance 1 after two passes at momentum .1."""


def nodes(passes: Passes) -> NodeValues:
    """log of the root mean running variance of each batch normalisation."""
    tape, _ = passes.white
    found = {}
    for value, node in enumerate(tape.nodes):
        inverse = tape.inverse_deviations.get(id(tape.results.get(value)))
        if node.op == "BatchNormalization" and inverse is not None:
            found[value] = 0.5 * math.log(KEPT + (1 - KEPT) * float(inverse.double().pow(-2).mean()))
    return found


def score(passes: Passes, values: NodeValues) -> float:
    _, change = passes.white
    if change <= 0 or not math.isfinite(change):
        raise UnmeasurableError("the features do not change with the input")
    return math.log(change) + sum(values.values())


PROXIES = (
    Proxy(
        name="zen",
        paper="Lin et al., ICCV 2021",
        formula="log E|f(x) - f(x + .01 n)| + sum over batch norms of log root mean v, f before global pooling",
        sign=1,
        unit="nats",
        invariances="the weights the network has",
        reads="white noise",
        cost="full",
        nodes=nodes,
        score=score,
    ),
)
