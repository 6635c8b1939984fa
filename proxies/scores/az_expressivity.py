"""Expressivity and progressivity of AZ-NAS (Lee and Ham, "AZ-NAS", CVPR 2024)."""

from __future__ import annotations

from itertools import pairwise

import torch

from archcast.proxies.passes import Passes, UnmeasurableError
from archcast.proxies.proxy import NodeValues, Proxy
from archcast.proxies.stages import channel_rows


def nodes(passes: Passes) -> NodeValues:
    """Entropy of the normalised eigenvalues of the covariance of the channels, at the end of each block."""
    found = {}
    for value in passes.blocks:
        rows = channel_rows(passes.tape.results[value].detach()).flatten(0, 1)
        rows = rows - rows.mean(dim=0)
        smaller = rows @ rows.T if len(rows) < rows.shape[1] else rows.T @ rows  # the same spectrum but for zeros
        spectrum = torch.linalg.eigvalsh(smaller.double()).clamp_min(0)
        if (mass := float(spectrum.sum())) > 0:
            share = spectrum / mass
            found[value] = -float((share * (share + 1e-8).log()).sum())
    return found


def progressivity(passes: Passes, _nodes: NodeValues) -> float:
    values = list(nodes(passes).values())
    if len(values) < 2:
        raise UnmeasurableError("the network has fewer than two blocks")
    return min(after - before for before, after in pairwise(values))


PROXIES = (
    Proxy(
        name="az_expressivity",
        paper="Lee and Ham, CVPR 2024",
        formula="sum over blocks of the entropy of the spectrum of the feature covariance",
        sign=1,
        unit="nats",
        invariances="scale of the features of a block",
        reads="inputs",
        cost="fast",
        nodes=nodes,
    ),
    Proxy(
        name="az_progressivity",
        paper="Lee and Ham, CVPR 2024",
        formula="smallest gain of expressivity from a block to the next",
        sign=1,
        unit="nats",
        invariances="scale of the features of a block",
        reads="inputs",
        cost="fast",
        score=progressivity,
    ),
)
