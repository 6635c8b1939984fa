"""Fisher information of the predicted class with respect to one weight of every parameter tensor."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from archcast.graphs.calls import Call
from archcast.proxies.passes import Passes
from archcast.proxies.sample_gradients import first_patch_entries
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
    firsts: dict[int, list[Tensor]] = {value: [] for value in values}  # per direction the gradient of channel 0
    for direction in range(directions.shape[2]):
        gradients = torch.autograd.grad(
            logits, tensors, directions[:, :, direction], retain_graph=True, allow_unused=True
        )
        for value, tensor, gradient in zip(values, tensors, gradients, strict=True):
            first = _first_channel(tape.calls[value], tensor if gradient is None else gradient)
            firsts[value].append(torch.zeros_like(first) if gradient is None else first.clone())
    stacked = {value: torch.stack(parts, dim=1) for value, parts in firsts.items()}  # [samples, directions, ...]
    columns = [_derivative(tape, value, role, stacked[value]) for value, role in entries]
    jacobian = torch.stack(columns, dim=2).double()  # [samples, directions, n]
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
    if isinstance(call.arg(4, "padding", 0), str):
        return ""
    if call.name in ("conv1d", "conv2d", "linear"):
        return "weight" if call.arg(1, "weight") is parameter else "bias" if call.arg(2, "bias") is parameter else ""
    if call.name == "batch_norm":
        return "scale" if call.arg(3, "weight") is parameter else "bias" if call.arg(4, "bias") is parameter else ""
    if call.name in ("layer_norm", "group_norm"):
        return "scale" if call.arg(2, "weight") is parameter else "bias" if call.arg(3, "bias") is parameter else ""
    return ""


def _first_channel(call: Call, tensor: Tensor) -> Tensor:
    """`[B, ...]` the first channel: of the last axis after matrix products and layer norms, else of the second."""
    return tensor.detach()[..., 0] if call.name in ("linear", "layer_norm") else tensor.detach()[:, 0]


def _derivative(tape: Tape, value: int, role: str, gradients: Tensor) -> Tensor:
    """`[B, D]` share of each sample in the derivative of each direction for the first entry of the parameter in `role`.

    `gradients` is `[B, D, ...]`, of the first channel of the output.
    """
    call = tape.calls[value]
    if role == "bias":
        return gradients.flatten(2).sum(dim=2) if gradients.dim() > 2 else gradients
    if role == "scale":  # the normalised input, undone from the output
        positions = {"batch_norm": (3, 4), "layer_norm": (2, 3), "group_norm": (2, 3)}[call.name]
        scale, shift = call.arg(positions[0], "weight").detach(), call.arg(positions[1], "bias")
        factor = (_first_channel(call, tape.results[value]) - (0.0 if shift is None else shift.detach()[0])) / scale[0]
    elif call.name == "linear":
        factor = call.arg(0, "input").detach()[..., 0]
    else:
        factor = first_patch_entries(call, tuple(tape.results[value].shape[2:]))
    factor = factor.reshape(len(gradients), -1, 1)
    return torch.bmm(gradients.reshape(len(gradients), gradients.shape[1], -1), factor)[:, :, 0]
