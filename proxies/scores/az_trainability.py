"""Trainability of AZ-NAS (Lee and Ham, "AZ-NAS", CVPR 2024)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from archcast.proxies.passes import Passes, UnmeasurableError
from archcast.proxies.proxy import NodeValues, Proxy
from archcast.proxies.stages import channel_rows


def nodes(passes: Passes) -> NodeValues:
    """- s - 1/s + 2 at the end of each block, s the spectral norm of the correlation between the random signs sent
    back from its end and what arrives at its start."""
    generator = torch.Generator().manual_seed(passes.subject.seed)
    found = {}
    for start, end in zip(passes.blocks, passes.blocks[1:], strict=False):
        output, source = passes.tape.results[end], passes.tape.results[start]
        signs = torch.empty_like(output).bernoulli_(0.5, generator=generator).mul_(2).sub_(1)
        (arrived,) = torch.autograd.grad(output, source, signs, retain_graph=True, allow_unused=True)
        if arrived is None or torch.equal(arrived, signs):
            continue
        spectral = _spectral_norm(arrived, signs)
        if spectral is not None:
            found[end] = -spectral - 1 / (spectral + 1e-6) + 2
    return found


def _spectral_norm(arrived: Tensor, sent: Tensor) -> float | None:
    if arrived.dim() == 4 and arrived.shape[2] != sent.shape[2]:
        ratio = arrived.shape[2] // max(sent.shape[2], 1)
        if ratio * sent.shape[2] != arrived.shape[2] or ratio * sent.shape[3] != arrived.shape[3]:
            return None
        arrived = F.pixel_unshuffle(arrived, ratio)
    left, right = channel_rows(arrived).flatten(0, 1), channel_rows(sent).flatten(0, 1)
    if len(left) != len(right):
        return None
    count = len(right)
    if count < min(left.shape[1], right.shape[1]):  # few positions, many channels: the norm of the triangular factors
        left, right = torch.linalg.qr(left.T).R.T, torch.linalg.qr(right.T).R.T
    return float(torch.linalg.matrix_norm(left.T @ right / count, 2))


def score(_passes: Passes, values: NodeValues) -> float:
    if not values:
        raise UnmeasurableError("the network has fewer than two blocks that compute something")
    return sum(values.values()) / len(values)


PROXIES = (
    Proxy(
        name="az_trainability",
        paper="Lee and Ham, CVPR 2024",
        formula="mean over blocks of - s - 1/s + 2, s the spectral norm of the correlation of backward signals",
        sign=1,
        unit="1",
        invariances="scale of the inputs",
        reads="inputs",
        cost="full",
        nodes=nodes,
        score=score,
    ),
)
