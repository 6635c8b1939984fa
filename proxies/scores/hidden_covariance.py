"""Hidden covariance (Serianni and Kalita, "Training-free neural architecture search for RNNs and transformers", ACL
2023): how differently a recurrent layer remembers different samples.
"""

from __future__ import annotations

import torch
from torch import Tensor

from archcast.graphs.calls import Call
from archcast.proxies.passes import Passes, UnmeasurableError
from archcast.proxies.proxy import NodeValues, Proxy

EPSILON = 1e-5
"""Added to the eigenvalues, as for the Jacobian covariance."""


def nodes(passes: Passes) -> NodeValues:
    """- sum over eigenvalues l of the correlations between the samples' hidden states of log(l + eps) + 1/(l + eps).

    The hidden states of a sample are those of all steps in a row; of stacked layers in one call, those of the last.
    The cells of one layer that a loop calls step by step count as one layer, at its first step.
    """
    layers: dict[int, list[tuple[int, Tensor]]] = {}
    tape = passes.tape
    for value, call in tape.calls.items():
        if tape.nodes[value].op_class == "recurrent":
            weight = next((t for t in call.tensors if tape.has_params(t)), call.tensors[-1])
            layer = id(weight) if call.name.endswith("_cell") else -value
            layers.setdefault(layer, []).append((value, _by_sample(call)))
    if not layers:
        raise UnmeasurableError("the network has no LSTM, GRU or RNN layer")
    return {steps[0][0]: _score(torch.cat([states for _, states in steps], dim=1)) for steps in layers.values()}


def _by_sample(call: Call) -> Tensor:
    """`[B, states]` the hidden states that a call computed."""
    states: Tensor = call.result[0] if isinstance(call.result, tuple) else call.result
    states = states.detach()
    if call.name.endswith("_cell"):
        return states.reshape(-1, states.shape[-1])
    if isinstance(call.args[1], Tensor) and call.args[1].dim() == 1:  # packed sequences: their final states
        final: Tensor = call.result[1].detach()
        return final.transpose(0, 1).flatten(1)
    if states.dim() < 3:
        return states.reshape(1, -1)
    batch_first = bool(call.args[8])
    return states.flatten(1) if batch_first else states.transpose(0, 1).flatten(1)


def _score(states: Tensor) -> float:
    if len(states) < 2:
        raise UnmeasurableError("a recurrent layer sees one sample: the first axis of its input must be the batch")
    spectrum = torch.linalg.eigvalsh(torch.corrcoef(states.double()).nan_to_num(0.0)).clamp_min(0) + EPSILON
    return -float((spectrum.log() + 1 / spectrum).sum())


def score(_passes: Passes, values: NodeValues) -> float:
    return sum(values.values()) / len(values)


PROXIES = (
    Proxy(
        name="hidden_covariance",
        paper="Serianni and Kalita, ACL 2023",
        formula="mean over recurrent layers of -sum log(l + eps) + 1/(l + eps), l the eigenvalues of the correlations "
        "between the hidden states of the samples",
        sign=1,
        unit="1",
        invariances="scale and offset of the hidden states",
        reads="inputs",
        cost="fast",
        nodes=nodes,
        score=score,
    ),
)
