"""Jacobian covariance (Mellor et al., "Neural architecture search without training", 2020 version)."""

from __future__ import annotations

import torch

from archcast.proxies.passes import Passes, UnmeasurableError
from archcast.proxies.proxy import NodeValues, Proxy

_EPSILON = 1e-5


def score(passes: Passes, _nodes: NodeValues) -> float:
    """- sum of log(v + e) + 1 / (v + e), v the eigenvalues of the correlations between the samples' input gradients."""
    jacobian = passes.input_gradient.flatten(1).double()
    if bool((jacobian.std(dim=1) == 0).any()):
        raise UnmeasurableError("the input gradient of a sample is constant: its correlation does not exist")
    eigenvalues = torch.linalg.eigvalsh(torch.corrcoef(jacobian)) + _EPSILON
    return -float((eigenvalues.log() + 1 / eigenvalues).sum())


PROXIES = (
    Proxy(
        name="jacob_cov",
        paper="Mellor et al., 2020",
        formula="- sum_i log(v_i + e) + 1/(v_i + e), v the eigenvalues of corr(d sum(logits) / d x)",
        sign=1,
        unit="nats",
        invariances="scale of the output",
        reads="inputs",
        cost="fast",
        score=score,
    ),
)
