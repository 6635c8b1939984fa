"""Parameters and multiply-accumulates: the baselines every proxy is compared with."""

from __future__ import annotations

from archcast.proxies.passes import Passes
from archcast.proxies.proxy import NodeValues, Proxy


def params(passes: Passes) -> NodeValues:
    tape = passes.tape
    owned: dict[int, float] = {}
    for index, value in tape.owners().items():
        owned[value] = owned.get(value, 0.0) + tape.sizes[index]
    return owned


def macs(passes: Passes) -> NodeValues:
    """Of one sample."""
    tape, batch = passes.tape, passes.subject.batch
    return {value: node.macs / batch for value, node in enumerate(tape.nodes) if node.macs}


PROXIES = (
    Proxy(
        name="params",
        paper="baseline",
        formula="number of trainable parameters",
        sign=1,
        unit="parameters",
        invariances="weights, inputs, resolution",
        reads="nothing",
        cost="fast",
        nodes=params,
    ),
    Proxy(
        name="macs",
        paper="baseline",
        formula="multiply-accumulates of one sample (FLOPs / 2)",
        sign=1,
        unit="MACs",
        invariances="weights, inputs",
        reads="nothing",
        cost="fast",
        nodes=macs,
    ),
)
