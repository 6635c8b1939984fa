"""NASWOT (Mellor et al., "Neural architecture search without training", ICML 2021)."""

from __future__ import annotations

import torch

from archcast.proxies.passes import Passes
from archcast.proxies.proxy import NodeValues, Proxy

_JITTER = 1e-6


def _log_determinant(kernel: torch.Tensor) -> float:
    """Of a kernel of Hamming similarities; a little is added to the diagonal for samples with equal codes."""
    size = len(kernel)
    jitter = _JITTER * kernel.diagonal().mean() * torch.eye(size, dtype=kernel.dtype, device=kernel.device)
    return float(torch.linalg.slogdet(kernel + jitter).logabsdet)


def nodes(passes: Passes) -> NodeValues:
    """Log determinant of each activation's kernel divided by its number of units."""
    return {value: _log_determinant(kernel / units) for value, (kernel, units) in passes.hamming_kernels.items()}


def score(passes: Passes, _nodes: NodeValues) -> float:
    return _log_determinant(torch.stack([kernel for kernel, _ in passes.hamming_kernels.values()]).sum(dim=0))


PROXIES = (
    Proxy(
        name="naswot",
        paper="Mellor et al., ICML 2021",
        formula="log |det K|, K_ij the number of activations whose sign agrees on samples i and j",
        sign=1,
        unit="nats",
        invariances="positive scale of any activation",
        reads="inputs",
        cost="fast",
        nodes=nodes,
        score=score,
    ),
)
