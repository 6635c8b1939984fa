"""EPE-NAS (Lopes et al., "Efficient performance estimation without training", ICANN 2021)."""

from __future__ import annotations

import torch

from archcast.proxies.passes import Passes, UnmeasurableError
from archcast.proxies.proxy import NodeValues, Proxy

_EPSILON = 1e-5


def score(passes: Passes, _nodes: NodeValues) -> float:
    """Sum over classes of |sum of log(|corr| + e)|, corr the correlations of input gradients inside a class."""
    jacobian = passes.input_gradient.flatten(1).double()
    if bool((jacobian.std(dim=1) == 0).any()):
        raise UnmeasurableError("the input gradient of a sample is constant: its correlation does not exist")
    result = 0.0
    for label in range(int(passes.labels.max()) + 1):
        members = jacobian[passes.labels == label]
        if len(members) > 1:
            result += abs(float((torch.corrcoef(members).abs() + _EPSILON).log().sum()))
    if result == 0.0:
        raise UnmeasurableError("no class has two samples in the batch; take a larger batch")
    return result


PROXIES = (
    Proxy(
        name="epe_nas",
        paper="Lopes et al., ICANN 2021",
        formula="sum_classes |sum_ij log(|corr_ij| + e)|, corr of input gradients inside a class",
        sign=1,
        unit="nats",
        invariances="scale of the output",
        reads="inputs, labels",
        cost="fast",
        score=score,
    ),
)
