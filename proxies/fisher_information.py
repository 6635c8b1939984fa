"""Fisher information of the predicted class with respect to one weight of every parameter tensor."""

from __future__ import annotations

import math
from typing import cast

import torch
from torch import Tensor

from archcast.graphs.calls import Call
from archcast.proxies.passes import Passes
from archcast.proxies.sample_gradients import sample_gradient
from archcast.proxies.tape import Tape

DIRECTIONS = 4
"""More logits than these are mixed at random, which keeps the mean of the information and saves backward passes."""

_SMOOTHING = 0.05


def fisher_factor(passes: Passes) -> Tensor:
    """`[samples * directions, n]` A with A^T A = mean over samples of J^T (diag(p) - p p^T) J.

    J is each sample's share in the gradient of the logits for the first entry of each of the n parameter tensors of
    convolutions, matrix products and normalisations, p the smoothed class probabilities.
    """
    tape, logits = passes.tape, passes.logits
    probabilities = logits.detach().softmax(dim=1) * (1 - _SMOOTHING) + _SMOOTHING / logits.shape[1]
    roots = probabilities.sqrt()
    mixing = torch.eye(logits.shape[1])
    if logits.shape[1] > DIRECTIONS:
        generator = torch.Generator().manual_seed(passes.subject.seed)
        mixing = torch.randn(logits.shape[1], DIRECTIONS, generator=generator) / DIRECTIONS**0.5
    mixing = mixing.to(logits)
    # diag(p) - p p^T = R R^T with R = diag(sqrt p) - p sqrt(p)^T, because sqrt p has length one.
    directions = roots[:, :, None] * mixing - probabilities[:, :, None] * (roots @ mixing)[:, None, :]
    entries = _entries(tape)
    values = sorted({value for value, _ in entries})
    tensors = [tape.results[value] for value in values]
    rows = []
    for direction in range(directions.shape[2]):
        gradients = torch.autograd.grad(
            logits, tensors, directions[:, :, direction], retain_graph=True, allow_unused=True
        )
        by_value = dict(zip(values, gradients, strict=True))
        rows.append(torch.stack([_first_entry(tape, value, role, by_value[value]) for value, role in entries], dim=1))
    jacobian = torch.stack(rows, dim=1).double()  # [samples, directions, n]
    return jacobian.flatten(0, 1) / math.sqrt(len(jacobian))


def _entries(tape: Tape) -> list[tuple[int, str]]:
    """Value and role ("weight" or "bias") of each parameter tensor whose first entry is covered."""
    found = []
    for index, value in sorted(tape.owners().items()):
        call = tape.calls.get(value)
        if call is None or tape.intact(value) is None or not tape.results[value].requires_grad:
            continue
        parameter = tape.parameters[index]
        role = _role(call, parameter)
        if role and parameter.requires_grad:
            found.append((value, role))
    return found


def _role(call: Call, parameter: Tensor) -> str:
    if call.name in ("conv1d", "conv2d", "linear"):
        return "weight" if call.arg(1, "weight") is parameter else "bias" if call.arg(2, "bias") is parameter else ""
    if call.name == "batch_norm":
        return "scale" if call.arg(3, "weight") is parameter else "bias" if call.arg(4, "bias") is parameter else ""
    if call.name in ("layer_norm", "group_norm"):
        return "scale" if call.arg(2, "weight") is parameter else "bias" if call.arg(3, "bias") is parameter else ""
    return ""


def _first_entry(tape: Tape, value: int, role: str, gradient: Tensor | None) -> Tensor:
    """`[B]` derivative of each sample's direction for the first entry of the parameter in `role`."""
    output, call = tape.results[value].detach(), tape.calls[value]
    if gradient is None:
        return output.new_zeros(output.shape[0])
    last = call.name in ("linear", "layer_norm")  # channels are the last axis
    g = gradient[..., 0] if last else gradient[:, 0]
    if role == "bias":
        return g.reshape(len(g), -1).sum(dim=1)
    if role == "scale":  # the normalised input, undone from the output
        positions = {"batch_norm": (3, 4), "layer_norm": (2, 3), "group_norm": (2, 3)}[call.name]
        scale, shift = call.arg(positions[0], "weight").detach(), call.arg(positions[1], "bias")
        first = output[..., 0] if last else output[:, 0]
        first = (first - (shift.detach()[0] if shift is not None else 0.0)) / scale[0]
        return cast(Tensor, (g * first).reshape(len(g), -1).sum(dim=1))
    return _weight_entry(call, gradient)


def _weight_entry(call: Call, gradient: Tensor) -> Tensor:
    x = call.arg(0, "input").detach()
    if call.name == "linear":
        return cast(Tensor, (gradient[..., 0] * x[..., 0]).reshape(len(x), -1).sum(dim=1))
    weight = call.arg(1, "weight").detach()[:1, :1]
    narrow = Call(call.name, (x[:, :1], weight, None), {}, call.result, [x], call.before, call.values)
    for position, name in ((3, "stride"), (4, "padding"), (5, "dilation")):
        narrow.kwargs[name] = call.arg(position, name, 0 if name == "padding" else 1)
    share = sample_gradient(narrow, gradient[:, :1], [weight])
    return share[:, 0] if share is not None else x.new_zeros(len(x))
