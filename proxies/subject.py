"""`Subject`: a network made ready to be measured: real weights, a seeded batch, nothing of it changed afterwards."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from archcast.errors import CaptureError, NetworkError
from archcast.graphs.feeds import Feed, Slot, feed_of
from archcast.graphs.graph_layers import as_single_nodes, message_passing_layers
from archcast.graphs.modules import Buildable
from archcast.graphs.recording import tensors_in
from archcast.graphs.tracing import borrowed, float_type
from archcast.proxies.noise import input_noise
from archcast.proxies.pass_state import PassState, borrowed_randomness, seed_everything
from archcast.proxies.tape import BatchNorm, Normalisations, Tape

Inputs = tuple[tuple[Tensor, ...], dict[str, Tensor]]


def first_samples(inputs: Inputs, limit: int) -> Inputs:
    """The first `limit` samples of a batch."""
    positional, named = inputs
    return tuple(tensor[:limit] for tensor in positional), {key: tensor[:limit] for key, tensor in named.items()}


@dataclass
class Subject:
    """A module on its device and the batches it is fed with. Made by `prepared`, valid inside its block.

    Attributes:
        module: the network in evaluation mode.
        feed: shapes and kinds of its inputs, batch included.
        seed: of inputs and labels.
        notes: what a reader of the measurements should know.
        state: puts back what a forward pass changes.
        in_place: whether operations in place run as the network has them; only where its result depends on that.
    """

    module: nn.Module
    feed: Feed
    seed: int
    device: torch.device
    notes: list[str] = field(default_factory=list)
    state: PassState = field(init=False)
    in_place: bool = False

    def __post_init__(self) -> None:
        self.state = PassState(self.module, self.seed)
        self._overwriting = [part for part in self.module.modules() if getattr(part, "inplace", False) is True]

    def note(self, text: str) -> None:
        """Add a note, once."""
        if text not in self.notes:
            self.notes.append(text)

    @property
    def batch(self) -> int:
        return self.feed.slots[0].shape[0] if self.feed.slots else next(iter(self.feed.named.values())).shape[0]

    def inputs(self, stream: int = 0, *, white: bool = False) -> Inputs:
        """Noise (`archcast.proxies.noise`), random tokens for index inputs; another `stream` gives another draw.

        With `white`, maps are standard normal in every pixel too.
        """
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + stream)
        rows = self._vocabulary()
        first_index = True

        def draw(slot: Slot) -> Tensor:
            nonlocal first_index
            if slot.kind == "float":
                draw_noise = torch.randn if white else input_noise
                noise = draw_noise(slot.shape, generator=generator).to(self.device, float_type(self.module))
                return noise.contiguous(memory_format=torch.channels_last) if noise.dim() == 4 else noise
            if slot.kind == "index" and first_index and rows:
                first_index = False
                return torch.randint(rows, slot.shape, generator=generator).to(self.device)
            return slot.tensor(self.device, torch.float32)

        positional = tuple(draw(slot) for slot in self.feed.slots)
        return positional, {key: draw(slot) for key, slot in self.feed.named.items()}

    def _vocabulary(self) -> int:
        """Rows of the first embedding table; graph networks index nodes, not tokens."""
        if message_passing_layers(self.module):
            return 0
        return next((part.num_embeddings for part in self.module.modules() if isinstance(part, nn.Embedding)), 0)

    def labels(self, classes: int) -> Tensor:
        """`[B]` balanced labels in a seeded order."""
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + 999)
        return (torch.randperm(self.batch, generator=generator) % max(classes, 1)).to(self.device)

    def record(self, inputs: Inputs, norm: BatchNorm = BatchNorm.BATCH) -> tuple[Tape, Any]:
        """Run the network under a tape; its inputs require gradients where they are floating point."""
        tape, outputs = self._record(inputs, norm)
        if tape.stale:
            self.in_place = True
            tape, outputs = self._record(inputs, norm)
        if tape.reads_data:
            self.note("control flow depends on values: what is measured is the path that noise takes")
        for text in self.state.notes():
            self.note(text)
        return tape, outputs

    def _record(self, inputs: Inputs, norm: BatchNorm) -> tuple[Tape, Any]:
        tape = Tape(self.module.parameters(), norm, in_place=self.in_place)
        positional, named = inputs
        with self.state.one_pass(), self._parts_out_of_place(tape), as_single_nodes(self.module, tape), tape:
            fed = {id(tensor): self._fed(tape, tensor) for tensor in (*positional, *named.values())}
            outputs = self.module(
                *(fed[id(tensor)] for tensor in positional),
                **{key: fed[id(tensor)] for key, tensor in named.items()},
                **self.feed.constants,
            )
        tape.look_for_stale(outputs)
        return tape, outputs

    def _fed(self, tape: Tape, tensor: Tensor) -> Tensor:
        """What the network gets for an input: a copy if it may overwrite it; gradients are those of the input."""
        fed = tensor.clone() if self.in_place else tensor
        tape.input(fed)
        tape.results[len(tape.nodes) - 1] = tensor
        return fed

    @contextlib.contextmanager
    def _parts_out_of_place(self, tape: Tape | None = None) -> Iterator[None]:
        """Inside the block layers with `inplace=True` leave their input as it is, and tell `tape` so."""
        if self.in_place:
            yield
            return
        hooks = []
        for part in self._overwriting:
            part.inplace = False  # type: ignore[assignment]
            if tape is not None:
                hooks.append(part.register_forward_hook(lambda _part, given, _made, tape=tape: tape.spare(given[0])))
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()
            for part in self._overwriting:
                part.inplace = True  # type: ignore[assignment]

    def run(self, inputs: Inputs, norm: BatchNorm = BatchNorm.BATCH) -> Tensor:
        """Logits of a pass that is not recorded."""
        positional, named = inputs
        with self.state.one_pass(), self._parts_out_of_place(), Normalisations(norm):
            return logits_of(self.module(*positional, **named, **self.feed.constants))

    @contextlib.contextmanager
    def substituted(self, change: Callable[[Tensor], Tensor]) -> Iterator[None]:
        """Inside the block every floating-point parameter and buffer is what `change` makes of it."""
        stores: list[dict[str, Any]] = [
            store for part in self.module.modules() for store in (part._parameters, part._buffers)
        ]
        originals = [dict(store) for store in stores]
        made: dict[int, Tensor] = {}
        try:
            for store in stores:
                for key, tensor in store.items():
                    if tensor is None or not tensor.is_floating_point():
                        continue
                    if id(tensor) not in made:
                        made[id(tensor)] = _changed(tensor, change)
                    store[key] = made[id(tensor)]
            _flatten_weights(self.module)
            yield
        finally:
            for store, original in zip(stores, originals, strict=True):
                store.clear()
                store.update(original)
            _flatten_weights(self.module)


def _flatten_weights(module: nn.Module) -> None:
    """Recurrent layers run on a list of their own; make it the parameters they have now."""
    for part in module.modules():
        if isinstance(part, nn.RNNBase):
            part._flat_weights = [getattr(part, name, None) for name in part._flat_weights_names]


def _changed(tensor: Tensor, change: Callable[[Tensor], Tensor]) -> Tensor:
    value = change(tensor.detach())
    return nn.Parameter(value, requires_grad=tensor.requires_grad) if isinstance(tensor, nn.Parameter) else value


def logits_of(outputs: Any) -> Tensor:
    """`[B, C]` the first floating-point output, averaged over its positions.

    Tokens `[B, L, C]` are averaged over L, maps `[B, C, H, W]` over H and W.

    Raises:
        NetworkError: no output is floating point.
    """
    tensor = next((tensor for tensor in tensors_in(outputs) if tensor.is_floating_point()), None)
    if tensor is None:
        raise NetworkError("the network has no floating-point output to measure")
    if tensor.dim() < 2:
        return tensor.reshape(tensor.shape[0] if tensor.dim() else 1, 1)
    if tensor.dim() == 3:
        return tensor.mean(dim=1)
    return tensor.flatten(2).mean(dim=2) if tensor.dim() > 3 else tensor


@contextlib.contextmanager
def prepared(
    network: Buildable, *, batch: int, seed: int, device: str | torch.device = "cpu", fresh: bool = False
) -> Iterator[Subject]:
    """A `Subject` of `network`; whatever the block does to the module is undone at its end.

    Args:
        network: builder and feed, from `archcast.graphs.modules.buildable`.
        batch: number of samples; ignored by graph networks, whose samples are the nodes of one graph.
        fresh: draw new weights with every layer's `reset_parameters` instead of measuring those the network has.

    Raises:
        NetworkError: the network cannot be built, or has no parameters.
    """
    device = torch.device(device)
    with borrowed_randomness(device), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        seed_everything(seed)
        module = network.build()
        _refuse(module)
        feed = _batched(network.feed(module) if network.feed else feed_of(module), module, batch)
        with borrowed(module, device), _own_weights(module):
            subject = Subject(module, feed, seed, device)
            _count_frozen(subject)
            if fresh:
                _reset(subject)
            try:
                yield subject
            finally:
                subject.state.finish()


def _refuse(module: nn.Module) -> None:
    if isinstance(module, torch.jit.ScriptModule):
        raise CaptureError("a TorchScript module hides its operations; give the Python module, or ONNX")
    for name, parameter in module.named_parameters():
        if isinstance(parameter, nn.parameter.UninitializedParameter):
            raise CaptureError("the network has lazy layers without shapes; run it once on a real input first")
        if parameter.is_complex():
            raise NetworkError(f"{name} is complex; proxies are defined for real weights only")


@contextlib.contextmanager
def _own_weights(module: nn.Module) -> Iterator[None]:
    """Copies of the weights inside the block, so that nothing can write to the originals.

    Kernels get their channels last: convolutions of few channels run twice as fast on a CPU.
    """
    originals = [(parameter, parameter.data) for parameter in module.parameters()]
    try:
        for parameter, data in originals:
            layout = torch.channels_last if data.dim() == 4 else torch.preserve_format
            parameter.data = data.clone(memory_format=layout)
        yield
    finally:
        for parameter, data in originals:
            parameter.data = data


def _batched(feed: Feed, module: nn.Module, batch: int) -> Feed:
    if message_passing_layers(module):
        return feed

    def grow(slot: Slot) -> Slot:
        return Slot((batch, *slot.shape[1:]), slot.kind)

    return Feed(tuple(map(grow, feed.slots)), {key: grow(slot) for key, slot in feed.named.items()}, feed.constants)


def _count_frozen(subject: Subject) -> None:
    parameters = list(subject.module.parameters())
    if not parameters:
        raise NetworkError("the network has no parameters: there is nothing to measure at initialisation")
    frozen = sum(not parameter.requires_grad for parameter in parameters)
    if frozen == len(parameters):
        raise NetworkError(
            "all parameters of the network are frozen (requires_grad=False): no gradient can be measured; "
            "call module.requires_grad_(True) first"
        )
    if float_type(subject.module) in (torch.float16, torch.bfloat16):
        subject.note(f"measured in the precision of the weights, {float_type(subject.module)}")
    if frozen:
        subject.notes.append(f"{frozen} of {len(parameters)} parameter tensors are frozen and left out of gradients")
    if names := sorted({type(part).__name__ for part in subject.module.modules() if _sequence_first(part)}):
        subject.note(
            f"{', '.join(names)} with batch_first=False: the first axis of the input was taken as the batch; a network "
            "that wants the sequence first must swap the two itself"
        )


def _sequence_first(part: nn.Module) -> bool:
    return isinstance(part, (nn.RNNBase, nn.MultiheadAttention)) and not part.batch_first


def _reset(subject: Subject) -> None:
    for part in subject.module.modules():
        reset = getattr(part, "reset_parameters", None)
        if callable(reset):
            reset()
