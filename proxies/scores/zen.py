"""Zen-NAS (Lin et al., "Zen-NAS: a zero-shot NAS for high-performance deep image recognition", ICCV 2021).

The paper draws all weights from N(0, 1). In front of a batch normalisation the scale of a weight only changes the
variance that the normalisation divides by, so the weights the network has are used as they are and each
variance is divided by the mean square of the weight before it: one forward pass less.
"""

from __future__ import annotations

import math


from archcast.proxies.passes import Passes, UnmeasurableError
from archcast.proxies.proxy import NodeValues, Proxy

PERTURBATION = 1e-2


def nodes(passes: Passes) -> NodeValues:
    """log of the root mean variance that each batch normalisation divides by, in units of N(0, 1) weights."""
    tape = passes.tape
    found = {}
    for value, call in tape.calls.items():
        if tape.nodes[value].op != "BatchNormalization":
            continue
        x = call.arg(0, "input").detach()
        axes = [0, *range(2, x.dim())]
        variance = float(x.var(dim=axes, unbiased=False).mean())
        if variance > 0:
            found[value] = 0.5 * math.log(variance / _weight_square(passes, call))
    return found


def _weight_square(passes: Passes, call: object) -> float:
    """Mean square of the weights of the layer whose output is normalised; 1 where it is no layer with weights."""
    source = passes.tape.value_of(call.tensors[0])  # type: ignore[attr-defined]
    group = passes.weights.get(source, []) if source is not None else []
    return float(group[0].detach().pow(2).mean()) if len(group) == 1 else 1.0


def score(passes: Passes, values: NodeValues) -> float:
    change = passes.perturbed
    if change <= 0 or not math.isfinite(change):
        raise UnmeasurableError("the features do not change with the input")
    return math.log(change) + sum(values.values())


PROXIES = (
    Proxy(
        name="zen",
        paper="Lin et al., ICCV 2021",
        formula="log E|f(x) - f(x + .01 n)| + sum over batch norms of log root mean variance, f before global pooling",
        sign=1,
        unit="nats",
        invariances="scale of a weight in front of a normalisation",
        reads="inputs",
        cost="fast",
        nodes=nodes,
        score=score,
    ),
)
