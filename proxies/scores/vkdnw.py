"""VKDNW (Tybl and Neumann, "Training-free NAS through variance of knowledge of deep network weights", CVPR 2025).

The paper normalises each sample by its own statistics and takes all logits of a larger batch. Here the batch, its
statistics and its forward pass are those all proxies share, and a few random mixtures stand in for the logits.
"""

from __future__ import annotations

import torch

from archcast.proxies.fisher_information import fisher_factor
from archcast.proxies.passes import NO_GRADIENT, Passes, UnmeasurableError
from archcast.proxies.proxy import NodeValues, Proxy


def score(passes: Passes, _nodes: NodeValues) -> float:
    """Number of parameter tensors plus the entropy of the deciles of the spectrum."""
    if not passes.logits.requires_grad:
        raise UnmeasurableError(NO_GRADIENT)
    factor = fisher_factor(passes)
    spectrum = factor.new_zeros(factor.shape[1])
    squares = torch.linalg.svdvals(factor).square()
    spectrum[: len(squares)] = squares
    deciles = torch.quantile(spectrum, torch.arange(0.1, 0.95, 0.1, dtype=spectrum.dtype))
    if (mass := float(deciles.sum())) <= 0:
        raise UnmeasurableError("the Fisher information vanishes")
    share = deciles / mass
    return len(spectrum) - float((share * (share + 1e-12).log()).sum())


PROXIES = (
    Proxy(
        name="vkdnw",
        paper="Tybl and Neumann, CVPR 2025",
        formula="n + entropy of the normalised deciles of the spectrum of the n x n Fisher information, one weight of "
        "each of the n parameter tensors",
        sign=1,
        unit="tensors + nats",
        invariances="scale of the Fisher information",
        reads="inputs",
        cost="full",
        score=score,
    ),
)
