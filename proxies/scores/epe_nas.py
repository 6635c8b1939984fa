"""EPE-NAS (Lopes et al., "Efficient performance estimation without training", ICANN 2021).

The paper correlates the samples of a class. Inputs here are noise, of which no two belong together; groups of four
stand in for classes.
"""

from __future__ import annotations

import torch

from archcast.proxies.passes import Passes, UnmeasurableError
from archcast.proxies.proxy import NodeValues, Proxy

_EPSILON = 1e-5
_GROUP = 4


def score(passes: Passes, _nodes: NodeValues) -> float:
    """Sum over groups of |sum of log(|corr| + e)|, corr the correlations of input gradients inside a group."""
    jacobian = passes.input_gradient.flatten(1).double()
    if bool((jacobian.std(dim=1) == 0).any()):
        raise UnmeasurableError("the input gradient of a sample is constant: its correlation does not exist")
    result = 0.0
    for members in torch.split(jacobian, _GROUP):
        if len(members) > 1:
            result += abs(float((torch.corrcoef(members).abs() + _EPSILON).log().sum()))
    return result


PROXIES = (
    Proxy(
        name="epe_nas",
        paper="Lopes et al., ICANN 2021",
        formula="sum_groups |sum_ij log(|corr_ij| + e)|, corr of input gradients inside a group of four samples",
        sign=1,
        unit="nats",
        invariances="scale of the output",
        reads="inputs",
        cost="fast",
        score=score,
    ),
)
