"""`Passes`: the forward and backward passes that all statistics share, each run when the first statistic asks for it.

| pass | cost | who reads it |
|---|---|---|
| `tape` | one forward pass of B samples | activations: naswot, swap, meco, expressivity, ... |
| `weight_gradients`, `output_gradients` | one backward pass | snip, grad_norm, plain, fisher, ... |
| `input_gradient` | a backward pass without weight gradients | jacob_cov, epe_nas |
| `sample_gradients` | one product a layer | zico, gradsign, ntk |
| `linear` | forward and backward of one sample, double precision | synflow |
| `white` | two forward passes of four samples | zen |
| `hessian_gradient` | first and second derivatives of four samples | grasp |

Everything is a function of (network, weights, batch, seed).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from archcast.errors import NetworkError
from archcast.graphs.graph_layers import message_passing_layers
from archcast.graphs.recording import tensors_in
from archcast.proxies.sample_gradients import sample_gradient
from archcast.proxies.stages import block_ends
from archcast.proxies.subject import Subject, first_samples, logits_of
from archcast.proxies.tape import BatchNorm, Tape

ACTIVATIONS = frozenset({
    "Relu", "LeakyRelu", "PRelu", "Clip", "Elu", "Selu", "Celu", "Gelu", "Swish", "HardSwish", "Mish", "HardTanh",
    "Tanh", "Softplus", "Softsign",
})  # fmt: skip
HESSIAN_SAMPLES = 4
"""Second derivatives cost several passes; a few samples rank networks as well as the batch does."""

WHITE_SAMPLES = 4
_KEPT_SAMPLE_GRADIENTS = 400_000_000  # bytes; above that they are computed again for each statistic


NO_GRADIENT = "no gradient: the output does not depend on the parameters differentiably"


class UnmeasurableError(Exception):
    """A statistic does not exist for this network; the message says why. Caught by `measure` and reported."""


class Passes:
    """Lazy, shared passes over one `Subject`."""

    def __init__(self, subject: Subject) -> None:
        self.subject = subject
        self._sample_gradients: dict[str, list[tuple[int, Tensor]]] = {}

    @cached_property
    def _forward(self) -> tuple[Tape, Any]:
        positional, named = self.subject.inputs()
        for tensor in (*positional, *named.values()):
            if tensor.is_floating_point():
                tensor.requires_grad_(True)
        with torch.enable_grad():
            return self.subject.record((positional, named))

    @property
    def tape(self) -> Tape:
        return self._forward[0]

    @property
    def outputs(self) -> Any:
        return self._forward[1]

    @cached_property
    def logits(self) -> Tensor:
        """`[B, C]` with their graph.

        Raises:
            NetworkError: they are not finite, or not one row per sample.
        """
        with torch.enable_grad():
            logits = logits_of(self.outputs)
        if not bool(torch.isfinite(logits).all()):
            named = self.subject.module.named_parameters()
            broken = [name for name, weight in named if not bool(torch.isfinite(weight).all())]
            culprit = f"{broken[0]} holds NaN or infinity" if broken else "all weights are finite"
            raise NetworkError(f"the outputs of the network are not finite on noise, {culprit}; try fresh=True")
        if len(logits) != self.subject.batch and not message_passing_layers(self.subject.module):
            raise NetworkError(
                f"the output has {len(logits)} rows for a batch of {self.subject.batch}; the first axis of inputs and "
                "outputs must be that of the samples: wrap the network in a module that sees to that"
            )
        return logits

    @cached_property
    def labels(self) -> Tensor:
        return self.subject.labels(self.logits.shape[1])

    @cached_property
    def loss(self) -> Tensor:
        """Mean cross-entropy against `labels`; with one output, mean squared error against a standard normal draw.

        Raises:
            UnmeasurableError: nothing in the network can receive a gradient.
        """
        if not self.logits.requires_grad:
            raise UnmeasurableError(NO_GRADIENT)
        with torch.enable_grad():
            return self._loss_of(self.logits)

    def _loss_of(self, logits: Tensor) -> Tensor:
        if logits.shape[1] > 1:
            return F.cross_entropy(logits.float(), self.labels[: len(logits)])
        generator = torch.Generator().manual_seed(self.subject.seed)
        return F.mse_loss(logits, torch.randn(logits.shape, generator=generator).to(logits))

    @cached_property
    def weights(self) -> dict[int, list[Tensor]]:
        """Value -> the trainable weights (two axes and more: no biases, no norms) that it is the first to use."""
        found: dict[int, list[Tensor]] = {}
        for index, value in sorted(self.tape.owners().items()):
            weight = self.tape.parameters[index]
            if weight.dim() >= 2 and weight.requires_grad:
                found.setdefault(value, []).append(weight)
        if not found:
            raise UnmeasurableError("the network has no trainable weight matrices or kernels")
        return found

    @cached_property
    def _loss_gradients(self) -> tuple[dict[int, list[Tensor]], dict[int, Tensor]]:
        weights = [weight for group in self.weights.values() for weight in group]
        outputs = {value: tensor for value in self.weights if (tensor := self._output(value)) is not None}
        gradients = torch.autograd.grad(self.loss, [*weights, *outputs.values()], retain_graph=True, allow_unused=True)
        unreached = sum(gradient is None for gradient in gradients[: len(weights)])
        if unreached:
            self.subject.note(f"{unreached} of {len(weights)} weights get no gradient from the output; theirs is zero")
        if self.subject.in_place and len(outputs) < len(self.weights):
            self.subject.note("operations in place overwrite outputs of layers, whose gradients are left out")
        iterator = iter(gradients)
        by_weight = {
            value: [_or_zero(next(iterator), weight) for weight in group] for value, group in self.weights.items()
        }
        by_output = {value: _or_zero(next(iterator), output) for value, output in outputs.items()}
        return by_weight, by_output

    def _output(self, value: int) -> Tensor | None:
        tensor = self.tape.intact(value)
        return tensor if tensor is not None and tensor.requires_grad else None

    @property
    def weight_gradients(self) -> dict[int, list[Tensor]]:
        """Value -> gradient of the loss for each of its `weights`."""
        return self._loss_gradients[0]

    @property
    def output_gradients(self) -> dict[int, Tensor]:
        """Value with weights -> gradient of the loss for its output."""
        return self._loss_gradients[1]

    @cached_property
    def _sum_gradients(self) -> tuple[Tensor, dict[int, Tensor]]:
        source = next((t for t in self._inputs if t.requires_grad), None)
        if source is None:
            raise UnmeasurableError("no gradient: the network has no floating-point input")
        if not self.logits.requires_grad:
            raise UnmeasurableError(NO_GRADIENT)
        outputs = {value: tensor for value in self.weights if (tensor := self._output(value)) is not None}
        gradients = torch.autograd.grad(
            self.logits.sum(), [source, *outputs.values()], retain_graph=True, allow_unused=True
        )
        if gradients[0] is None:
            raise UnmeasurableError("no gradient: the output does not depend on the input differentiably")
        pairs = zip(outputs.items(), gradients[1:], strict=True)
        return gradients[0], {value: _or_zero(gradient, output) for (value, output), gradient in pairs}

    @property
    def _inputs(self) -> list[Tensor]:
        return [self.tape.results[v] for v, node in enumerate(self.tape.nodes) if node.op == "Input"]

    @property
    def input_gradient(self) -> Tensor:
        """`[B, ...]` gradient of the sum of all logits for the (first) input."""
        return self._sum_gradients[0]

    def sample_gradients(self, of: str) -> Iterator[tuple[int, Tensor]]:
        """Value and `[B, P]` the share of each sample in the gradient of its weights.

        `of` is "loss" or "logits" (the sum of all logits). The shares add up to the gradient of the batch. They differ
        from gradients of single samples only in what reaches a sample through batch statistics.
        Layers other than convolutions and matrix products are left out.
        """
        kept = self._sample_gradients.get(of)
        if kept is None:
            size = 4 * self.subject.batch * sum(w.numel() for group in self.weights.values() for w in group)
            if size > _KEPT_SAMPLE_GRADIENTS:
                yield from self._make_sample_gradients(of)
                return
            kept = self._sample_gradients[of] = list(self._make_sample_gradients(of))
        yield from kept

    def _make_sample_gradients(self, of: str) -> Iterator[tuple[int, Tensor]]:
        outputs = self.output_gradients if of == "loss" else self._sum_gradients[1]
        covered = 0
        for value, gradient in outputs.items():
            call = self.tape.calls.get(value)
            share = sample_gradient(call, gradient, self.weights[value]) if call is not None else None
            if share is not None:
                covered += 1
                yield value, share
        if covered < len(self.weights):
            self.subject.note(
                f"gradients of single samples exist for {covered} of {len(self.weights)} layers with weights"
            )

    @cached_property
    def linear(self) -> tuple[Tape, dict[int, list[Tensor]]]:
        """The network with absolute weights and no normalisation, in double precision, fed with ones.

        Gives its tape and, for every value with weights, `|weight * d(sum of logits) / d(weight)|`.

        Raises:
            UnmeasurableError: the signal leaves double precision.
        """
        subject = self.subject
        with subject.substituted(lambda tensor: tensor.abs().double()):
            slots = [slot.tensor(subject.device, torch.float64)[:1] for slot in subject.feed.slots]
            named = {k: slot.tensor(subject.device, torch.float64)[:1] for k, slot in subject.feed.named.items()}
            with torch.enable_grad():
                tape, outputs = subject.record((tuple(slots), named), BatchNorm.SKIP)
                logits = logits_of(outputs)
                if not logits.requires_grad:
                    raise UnmeasurableError(NO_GRADIENT)
                owned: dict[int, list[Tensor]] = {}
                for index, value in sorted(tape.owners().items()):
                    weight = tape.parameters[index]
                    if weight.dim() >= 2 and weight.requires_grad:
                        owned.setdefault(value, []).append(weight)
                flat = [weight for group in owned.values() for weight in group]
                gradients = iter(torch.autograd.grad(logits.sum(), flat, allow_unused=True))
        saliency = {value: [(_or_zero(next(gradients), w) * w).abs() for w in group] for value, group in owned.items()}
        if not bool(torch.isfinite(logits).all()) or not all(
            bool(torch.isfinite(part).all()) for group in saliency.values() for part in group
        ):
            raise UnmeasurableError("the linearised network leaves double precision; it is too deep for synflow")
        return tape, {value: [part.detach() for part in group] for value, group in saliency.items()}

    @cached_property
    def hessian_gradient(self) -> dict[int, list[Tensor]]:
        """Value -> Hessian of the loss of the first samples times its gradient, for each of its `weights`."""
        flat = [weight for group in self.weights.values() for weight in group]
        positional, named = first_samples(self.subject.inputs(), HESSIAN_SAMPLES)
        with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH):
            loss = self._loss_of(self.subject.run((positional, named)))
            if not loss.requires_grad:
                raise UnmeasurableError(NO_GRADIENT)
            gradients = torch.autograd.grad(loss, flat, create_graph=True, allow_unused=True)
            product = sum((g.detach() * g).sum() for g in gradients if g is not None and g.requires_grad)
            if not isinstance(product, Tensor):
                raise UnmeasurableError("the gradient does not depend on the weights")
            if _has_barrier(gradients):
                raise UnmeasurableError("an operation of the network has no second derivative")
            products = iter(torch.autograd.grad(product, flat, allow_unused=True))
        return {value: [_or_zero(next(products), weight) for weight in group] for value, group in self.weights.items()}

    @cached_property
    def _codes(self) -> dict[int, Tensor]:
        return activation_codes(self.tape, self._samples)

    @property
    def _samples(self) -> int:
        return len(self.logits)

    @cached_property
    def hamming_kernels(self) -> dict[int, tuple[Tensor, int]]:
        """Activation -> `[B, B]` number of units whose codes agree on two samples, and the number of units."""
        kernels = {}
        for value, code in self._codes.items():
            active = code.float()
            count = active.sum(dim=1)
            both = active @ active.T
            kernels[value] = ((code.shape[1] + 2 * both - count[:, None] - count[None, :]).double(), code.shape[1])
        return kernels

    @cached_property
    def sample_patterns(self) -> dict[int, Tensor]:
        """Activation -> `[2^16]` which patterns over the first 16 samples its units show."""
        found = {}
        for value, code in self._codes.items():
            few = code[:16]
            weights = 2.0 ** torch.arange(len(few), device=few.device)
            found[value] = torch.bincount((weights @ few.float()).long(), minlength=2 ** len(few)) > 0
        return found

    @cached_property
    def blocks(self) -> list[int]:
        """The values at the ends of the blocks of the network (`archcast.proxies.stages`)."""
        tape = self.tape
        ends = [value for tensor in tensors_in(self.outputs) if (value := tape.value_of(tensor)) is not None]
        found = block_ends(tape.nodes, tape.sources, tape.reached(ends[:1]))
        return [value for value in found if self._output(value) is not None]

    @cached_property
    def white(self) -> tuple[Tape, float]:
        """A pass of a few white samples through weights drawn from N(0, 1), and how its features change.

        The change is that of the last block's features when noise of scale .01 is added to the input: absolute, summed
        over units, mean over samples.
        """
        if not self.blocks:
            raise UnmeasurableError("the network has no features with positions before its output")
        generator = torch.Generator().manual_seed(self.subject.seed)

        def standard_normal(tensor: Tensor) -> Tensor:
            if tensor.dim() < 2:
                return tensor
            return torch.randn(tensor.shape, generator=generator).to(tensor)

        positional, named = first_samples(self.subject.inputs(2, white=True), WHITE_SAMPLES)
        noise, named_noise = first_samples(self.subject.inputs(3, white=True), WHITE_SAMPLES)
        moved = tuple(map(_moved, positional, noise))
        with torch.no_grad(), self.subject.substituted(standard_normal):
            tape, _ = self.subject.record((positional, named))
            other, _ = self.subject.record((moved, {key: _moved(t, named_noise[key]) for key, t in named.items()}))
        last = self.blocks[-1]
        change = (tape.results[last] - other.results[last]).abs()
        return tape, float(change.flatten(1).sum(dim=1).mean())


def activation_codes(tape: Tape, samples: int) -> dict[int, Tensor]:
    """Value of each activation function -> `[samples, units]` whether its input is positive.

    Raises:
        UnmeasurableError: there is none.
    """
    codes = {}
    for value, call in tape.calls.items():
        if tape.nodes[value].op in ACTIVATIONS and call.tensors and len(call.tensors[0]) == samples:
            codes[value] = (call.tensors[0].detach() > 0).flatten(1)
    if not codes:
        raise UnmeasurableError("the network has no activation function with a threshold at zero")
    return codes


def _moved(tensor: Tensor, noise: Tensor) -> Tensor:
    return tensor + 1e-2 * noise if tensor.is_floating_point() else tensor


def _has_barrier(gradients: Sequence[Tensor | None]) -> bool:
    """Whether a once-differentiable function is on the way; torch leaves its part out without a word."""
    stack = [gradient.grad_fn for gradient in gradients if gradient is not None and gradient.grad_fn is not None]
    seen = set(stack)
    while stack:
        step = stack.pop()
        if step.name().endswith("autograd::Error"):
            return True
        fresh = [source for source, _ in step.next_functions if source is not None and source not in seen]
        seen.update(fresh)
        stack.extend(fresh)
    return False


def _or_zero(gradient: Tensor | None, like: Tensor) -> Tensor:
    return torch.zeros_like(like) if gradient is None else gradient.detach()
