"""Head importance (Michel et al., "Are sixteen heads really better than one?", NeurIPS 2019; as a proxy: Serianni and
Kalita, "Training-free neural architecture search for RNNs and transformers", ACL 2023): what the loss would lose with
each attention head.

The paper's definition, at the output of the heads. The code released with the second paper sums |w dL/dw| over the
weights of the attention instead, which is `snip` of those layers.
"""

from __future__ import annotations

import torch

from archcast.proxies.passes import Passes, UnmeasurableError
from archcast.proxies.proxy import NodeValues, Proxy
from archcast.proxies.scores.attention_confidence import softmax_mixers


def nodes(passes: Passes) -> NodeValues:
    """Sum over heads of the batch mean of |sum over tokens and channels of head output * gradient|."""
    tape = passes.tape
    heads = [value for value in tape.calls if tape.nodes[value].op == "Attention"]
    heads += softmax_mixers(tape).values()
    outputs = {value: tensor for value in heads if (tensor := tape.intact(value)) is not None and tensor.requires_grad}
    if not outputs:
        raise UnmeasurableError("the network has no attention layer")
    gradients = torch.autograd.grad(passes.loss, list(outputs.values()), retain_graph=True, allow_unused=True)
    found = {}
    for (value, output), gradient in zip(outputs.items(), gradients, strict=True):
        # The loss is a batch mean, so that the sum over samples is the mean for the loss of each.
        found[value] = 0.0 if gradient is None else float((output * gradient).detach().sum(dim=(-2, -1)).abs().sum())
    return found


PROXIES = (
    Proxy(
        name="head_importance",
        paper="Michel et al., NeurIPS 2019; Serianni and Kalita, ACL 2023",
        formula="sum over attention heads of mean_batch |sum_tokens,channels a dL/da|, a the output of the head",
        sign=1,
        unit="nats",
        invariances="none",
        reads="inputs, labels",
        cost="fast",
        nodes=nodes,
    ),
)
