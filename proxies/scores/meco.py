"""MeCo (Jiang et al., "MeCo: zero-shot NAS with one data and single forward pass", NeurIPS 2023)."""

from __future__ import annotations

import torch

from archcast.proxies.passes import Passes
from archcast.proxies.proxy import NodeValues, Proxy
from archcast.proxies.stages import channel_rows

_CHANNELS = 64
"""At most so many channels, evenly spaced, enter a correlation matrix."""


def nodes(passes: Passes) -> NodeValues:
    """Smallest eigenvalue of the correlations between the channels of the first sample."""
    found = {}
    for value in passes.weights:
        output = passes.tape.intact(value)
        if output is None or output.dim() < 3:
            continue
        rows = channel_rows(output.detach()[:1])[0].T
        step = -(-len(rows) // _CHANNELS)
        correlations = torch.corrcoef(rows[::step].double()).nan_to_num(0.0)
        if correlations.dim() == 2:
            found[value] = float(torch.linalg.eigvalsh(correlations)[0])
    return found


PROXIES = (
    Proxy(
        name="meco",
        paper="Jiang et al., NeurIPS 2023",
        formula="sum over layers of the smallest eigenvalue of the correlations between channels, one sample",
        sign=1,
        unit="1",
        invariances="scale of any channel",
        reads="one input",
        cost="fast",
        nodes=nodes,
    ),
)
