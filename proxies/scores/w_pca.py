"""W-PCA (Wang, "W-PCA based gradient-free proxy for efficient search of lightweight language models", ICLR 2025): how
many directions the hidden states of the feed-forward layers fill.
"""

from __future__ import annotations

import torch
from torch import Tensor

from archcast.proxies.passes import Passes, UnmeasurableError
from archcast.proxies.proxy import NodeValues, Proxy
from archcast.proxies.tape import Tape

EXPLAINED = 0.99
"""The share of variance that the counted components explain (eta)."""

MAX_TOKENS = 1024
"""At most so many tokens, evenly spaced over the batch, enter a principal component analysis."""

_PASSED = frozenset({"Add", "Sub", "Mul", "Div", "Pow"})
"""Besides activations: what stands between the two linear layers, as parts of an activation or as its gate."""


def nodes(passes: Passes) -> NodeValues:
    """Number of principal components that explain 99 % of the variance of the first linear layer's output."""
    tape = passes.tape
    found = {}
    for value in hidden_layers(tape):
        states = tape.intact(value)
        if states is not None:
            found[value] = float(components(states.detach().flatten(0, -2)))
    if not found:
        raise UnmeasurableError("the network has no feed-forward layer (linear, activation, linear) on tokens")
    return found


def hidden_layers(tape: Tape) -> list[int]:
    """The linear layers on tokens `[B, ..., tokens, D]` that reach another through an activation alone."""
    found = set()
    for value, node in enumerate(tape.nodes):
        if node.op != "Gemm":
            continue
        stack = [(source, False) for source in tape.sources[value]]
        seen = set(stack)
        while stack:
            at, activated = stack.pop()
            behind = tape.nodes[at]
            if behind.op == "Gemm" and activated and len(behind.shape) >= 3:
                found.add(at)
            elif (behind.op_class == "activation" and behind.op != "Softmax") or behind.op in _PASSED:
                activated = activated or behind.op_class == "activation"
                further = {(source, activated) for source in tape.sources[at]} - seen
                seen |= further
                stack += further
    return sorted(found)


def components(states: Tensor) -> int:
    """Number of principal components of `[tokens, D]` that explain `EXPLAINED` of the variance."""
    rows = states[:: -(-len(states) // MAX_TOKENS)].double()
    rows = rows - rows.mean(dim=0)
    gram = rows.T @ rows if rows.shape[0] > rows.shape[1] else rows @ rows.T  # the same spectrum but for zeros
    spectrum = torch.linalg.eigvalsh(gram).clamp_min(0).flip(0)
    mass = spectrum.sum()
    return int((spectrum.cumsum(0) < EXPLAINED * mass).sum()) + 1 if float(mass) > 0 else 0


def score(passes: Passes, values: NodeValues) -> float:
    return sum(values.values()) * sum(passes.tape.sizes)


PROXIES = (
    Proxy(
        name="w_pca",
        paper="Wang, ICLR 2025",
        formula="number of weights times sum over feed-forward layers of the number of principal components that "
        "explain 99 % of the variance of their hidden states",
        sign=1,
        unit="weights",
        invariances="scale of the hidden states",
        reads="inputs",
        cost="fast",
        nodes=nodes,
        score=score,
    ),
)
