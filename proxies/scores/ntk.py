"""Condition number of the neural tangent kernel (Chen et al., "TE-NAS", ICLR 2021)."""

from __future__ import annotations

import math

import torch

from archcast.proxies.passes import Passes, UnmeasurableError
from archcast.proxies.proxy import NodeValues, Proxy


def nodes(passes: Passes) -> NodeValues:
    """log of the trace of each layer's own kernel."""
    found = {}
    for value, share in passes.sample_gradients("logits"):
        trace = float(share.pow(2).sum())
        if trace > 0:
            found[value] = math.log(trace)
    return found


def score(passes: Passes, _nodes: NodeValues) -> float:
    kernel = sum((share @ share.T).double() for _, share in passes.sample_gradients("logits"))
    if not isinstance(kernel, torch.Tensor):
        raise UnmeasurableError("no layer whose gradients can be told apart by sample")
    eigenvalues = torch.linalg.eigvalsh(kernel)
    smallest, largest = float(eigenvalues[0]), float(eigenvalues[-1])
    if largest <= 0:
        raise UnmeasurableError("all gradients vanish")
    return math.log(largest / max(smallest, 1e-12 * largest))


PROXIES = (
    Proxy(
        name="ntk",
        paper="Chen et al., ICLR 2021",
        formula="log(largest / smallest eigenvalue) of the kernel of sample gradients of sum(logits)",
        sign=-1,
        unit="nats",
        invariances="scale of the output",
        reads="inputs",
        cost="full",
        nodes=nodes,
        score=score,
    ),
)
