"""Run a torch module once and record its graph: on meta tensors, else on the CPU, else through torch.export."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import nn

from archcast.errors import CaptureError, NetworkError
from archcast.graphs.graph import ComputationGraph
from archcast.graphs.recording import Recorder

Inputs = tuple[tuple[Any, ...], dict[str, Any]]
MakeInputs = Callable[[torch.device], Inputs]
IMAGE = (1, 3, 224, 224)


def trace(network: Any, input_shape: Any = None, *, name: str = "") -> ComputationGraph:
    """The graph of a module, or of a callable that builds one.

    Raises:
        NetworkError: `network` does not build a module.
        CaptureError: it cannot be run; the message lists what every stage of the fall-back chain said.
    """
    failures: list[str] = []
    for stage in (_on_meta, _on_cpu):
        try:
            return stage(network, input_shape, name)
        except NetworkError:
            raise
        except Exception as error:  # whatever a user's forward raises; all of it is reported below
            failures.append(f"{stage.__name__.strip('_')}: {type(error).__name__}: {error}")
    shape = input_shape if input_shape is not None else "its default shape"
    raise CaptureError(
        f"{name or 'the network'} cannot be captured with an input of {shape}; give input_shape=... if that is not what "
        "it takes. Tried:\n- " + "\n- ".join(failures)
    )


def _on_meta(network: Any, input_shape: Any, name: str) -> ComputationGraph:
    return _record(_module(network, "meta"), input_shape, name, torch.device("meta"))


def _on_cpu(network: Any, input_shape: Any, name: str) -> ComputationGraph:
    return _record(_module(network, "cpu"), input_shape, name, torch.device("cpu"))


def _module(network: Any, device: str) -> nn.Module:
    if isinstance(network, nn.Module):
        return network
    with torch.device(device):
        module = network()
    if not isinstance(module, nn.Module):
        raise NetworkError(f"the callable returned a {type(module).__name__}, not a torch.nn.Module")
    return module


def _record(module: nn.Module, input_shape: Any, name: str, device: torch.device) -> ComputationGraph:
    state = _state_on(module, device)
    parameters = [state[key] for key, _ in module.named_parameters()]
    recorder = Recorder(parameters)
    inputs = make_inputs(module, input_shape, device)
    with torch.no_grad(), _evaluating(module), recorder:
        for tensor in inputs:
            recorder.input(tensor)
        outputs = torch.func.functional_call(module, state, inputs)
    return recorder.graph(outputs, name=name or type(module).__name__)


def _state_on(module: nn.Module, device: torch.device) -> dict[str, torch.Tensor]:
    """Parameters and buffers on `device`; on meta without copying anything."""
    state: dict[str, torch.Tensor] = {}
    for key, tensor in [*module.named_parameters(), *module.named_buffers()]:
        state[key] = tensor if tensor.device == device else tensor.detach().to(device)
    return state


@contextlib.contextmanager
def _evaluating(module: nn.Module) -> Iterator[None]:
    """Evaluation mode and no fused fast paths inside the block; the module's own flags come back afterwards."""
    flags = [(part, part.training) for part in module.modules()]
    fast_path = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    for part, _ in flags:
        part.training = False
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast_path)
        for part, training in flags:
            part.training = training


def make_inputs(module: nn.Module, input_shape: Any, device: torch.device) -> tuple[torch.Tensor, ...]:
    """Input tensors of the given shapes (batch 1), or what the first layer of the module needs.

    Raises:
        CaptureError: `input_shape` is not one, or is missing and cannot be guessed.
    """
    first = next((part for part in module.modules() if isinstance(part, _FIRST)), None)
    if input_shape is None:
        input_shape = _guess(first)
    integers = isinstance(first, nn.Embedding)
    return tuple(
        torch.zeros(shape, dtype=torch.long, device=device) if integers else torch.zeros(shape, device=device)
        for shape in _shapes(input_shape)
    )


_FIRST = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear, nn.Embedding, nn.LSTM, nn.GRU, nn.RNN)


def _guess(first: nn.Module | None) -> tuple[int, ...]:
    if isinstance(first, nn.Conv2d):
        return (1, first.in_channels, *IMAGE[2:])
    if isinstance(first, nn.Linear):
        return (1, first.in_features)
    if isinstance(first, nn.Embedding):
        return (1, 128)
    raise CaptureError("the input shape cannot be guessed from the first layer; give input_shape=(1, ...)")


def _shapes(input_shape: Any) -> list[tuple[int, ...]]:
    shapes = list(input_shape) if input_shape and isinstance(input_shape[0], Sequence) else [input_shape]
    for shape in shapes:
        if not shape or any(isinstance(size, bool) or not isinstance(size, int) or size < 1 for size in shape):
            raise CaptureError(f"input_shape={shape!r} is not a tuple of positive integers such as (1, 3, 224, 224)")
    return [(1, *shape[1:]) for shape in shapes]
