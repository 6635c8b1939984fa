"""SynFlow (Tanaka et al., "Pruning neural networks without any data", NeurIPS 2020)."""

from __future__ import annotations

import math

from archcast.proxies.passes import Passes, UnmeasurableError
from archcast.proxies.proxy import NodeValues, Proxy


def nodes(passes: Passes) -> NodeValues:
    """log(1 + sum of |w| dR/d|w|) of each node, so that no network leaves the range of a float."""
    return {value: math.log1p(sum(float(s.sum()) for s in group)) for value, group in passes.linear[1].items()}


def score(passes: Passes, _nodes: NodeValues) -> float:
    flow = sum(float(part.sum()) for group in passes.linear[1].values() for part in group)
    if flow <= 0:
        raise UnmeasurableError("no signal reaches the output of the linearised network")
    return math.log(flow)


PROXIES = (
    Proxy(
        name="synflow",
        paper="Tanaka et al., NeurIPS 2020",
        formula="log sum |w| dR/d|w|, R the output of the network with |w|, no normalisation, an input of ones",
        sign=1,
        unit="nats",
        invariances="inputs, labels, seed of the inputs",
        reads="weights",
        cost="fast",
        nodes=nodes,
        score=score,
    ),
)
