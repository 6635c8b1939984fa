"""Run a torch module once and record its graph: on meta tensors, else on the CPU, else through torch.export."""

from __future__ import annotations

import contextlib
import gc
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from archcast.errors import CaptureError, NetworkError, one_line
from archcast.graphs.feeds import Feed, feed_of
from archcast.graphs.graph import ComputationGraph
from archcast.graphs.graph_layers import as_single_nodes
from archcast.graphs.recording import Recorder

Network = nn.Module | Callable[[], Any]
FeedRule = Callable[[nn.Module], Feed]
META, CPU = torch.device("meta"), torch.device("cpu")
_LARGEST_ON_CPU = 600_000_000  # parameters and buffers; 2.4 GB in float32


def trace(
    network: Network, input_shape: Any = None, *, name: str = "", feed_rule: FeedRule | None = None
) -> tuple[ComputationGraph, str]:
    """The graph of a module, or of a callable that builds one, and the route that made it (meta, cpu, export).

    Args:
        network: a module (left as it is) or a callable without arguments that returns one.
        input_shape: shape or shapes of the inputs; overrides `feed_rule`.
        name: name of the graph.
        feed_rule: tells the inputs from the built module; by default `archcast.graphs.feeds.feed_of`.

    Raises:
        NetworkError: the callable returns something else than a module.
        CaptureError: it cannot be run; the message lists what every stage of the fall-back chain said.
    """
    rule = feed_rule if feed_rule is not None and input_shape is None else lambda module: feed_of(module, input_shape)
    failures: list[str] = []
    fed, size = "", 0
    for route, device, stage in (("meta", META, _record), ("cpu", CPU, _record), ("export", CPU, _export)):
        try:
            if size > _LARGEST_ON_CPU:
                _refuse_large(route, size)
                device = META
            module = _module(network, device)
            size = max(size, _size(module))
            feed = rule(module)
            fed = str(feed)
            with warnings.catch_warnings(), _uncollected():
                warnings.simplefilter("ignore")
                return stage(module, feed, name or type(module).__name__, device), route
        except _MisuseError as error:
            raise error.args[0] from None
        except Exception as error:  # whatever a user's forward raises: the next stage may do, else all are reported
            failures.append(f"{route}: {type(error).__name__}: {one_line(error)}")
    raise CaptureError(
        f"{name or 'the network'} cannot be captured with inputs of shape {fed or 'unknown'}; if it takes others, give "
        "input_shape=... (a list of shapes for several inputs). Tried:\n- " + "\n- ".join(failures)
    )


@contextlib.contextmanager
def _uncollected() -> Iterator[None]:
    """No collection of garbage meanwhile: of thousands of new objects that all stay, it takes a quarter of the time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _build(network: Callable[[], Any], device: torch.device) -> Any:
    """What the callable returns, built on `device`."""
    try:
        with device, _Uninitialised():
            return network()
    except (RuntimeError, NotImplementedError):
        if device.type != "meta":
            raise
    with _Skeleton(), _Uninitialised():  # a constructor that computes with numbers of its own, such as RegNet's widths
        return network()


class _Skeleton(TorchFunctionMode):
    """Puts what layers allocate on meta, and leaves ranges and literals real."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func in _ALLOCATIONS and kwargs.get("device") is None:
            kwargs["device"] = META
        return func(*args, **kwargs)


class _Uninitialised(TorchFunctionMode):
    """Skips random and constant fills of meta tensors, which have nothing to fill; they take most of a build."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if getattr(func, "__name__", "") in _FILLS:
            filled = args[0] if args else (kwargs or {}).get("tensor")  # what `torch.nn.init` calls it
            if isinstance(filled, torch.Tensor) and filled.is_meta:
                return filled
        return func(*args, **(kwargs or {}))


_FILLS = frozenset({
    "normal_", "uniform_", "trunc_normal_", "kaiming_normal_", "kaiming_uniform_", "xavier_normal_", "xavier_uniform_",
    "orthogonal_", "erfinv_", "constant_", "zeros_", "ones_", "fill_", "zero_", "bernoulli_", "exponential_", "mul_",
    "add_", "sub_", "div_", "clamp_", "copy_",
})  # fmt: skip
_ALLOCATIONS = {torch.empty, torch.zeros, torch.ones, torch.full, torch.rand, torch.randn}


def _size(module: nn.Module) -> int:
    return sum(tensor.numel() for tensor in (*module.parameters(), *module.buffers()))


def _refuse_large(route: str, size: int) -> None:
    if route == "cpu":
        raise MemoryError(f"{size:,} numbers are too many to run with real weights (limit {_LARGEST_ON_CPU:,})")


class _MisuseError(Exception):
    """Wraps an error that no further stage can mend."""


def _module(network: Network, device: torch.device) -> nn.Module:
    if not isinstance(network, nn.Module):
        with warnings.catch_warnings(), _uncollected():
            warnings.simplefilter("ignore")
            network = _build(network, device)
        if not isinstance(network, nn.Module):
            error = f"the callable returned a {type(network).__name__}; it must return a torch.nn.Module"
            raise _MisuseError(NetworkError(error))
    network = getattr(network, "_orig_mod", network)  # what torch.compile wraps
    if isinstance(network, torch.jit.ScriptModule):
        raise _MisuseError(CaptureError("a TorchScript module hides its operations; give the Python module, or ONNX"))
    lazy = next((kind for kind in network.parameters() if isinstance(kind, nn.parameter.UninitializedParameter)), None)
    if lazy is not None:
        raise _MisuseError(
            CaptureError("the network has lazy layers without shapes; run it once on a real input first")
        )
    return network


def _record(module: nn.Module, feed: Feed, name: str, device: torch.device) -> ComputationGraph:
    with torch.no_grad(), borrowed(module, device):
        recorder = Recorder(module.parameters())
        positional, named = feed.tensors(device, float_type(module))
        with as_single_nodes(module, recorder), recorder:
            for tensor in (*positional, *named.values()):
                recorder.input(tensor)
            outputs = module(*positional, **named, **feed.constants)
    return recorder.graph(outputs, name=name)


def _export(module: nn.Module, feed: Feed, name: str, device: torch.device) -> ComputationGraph:
    from archcast.graphs.exported import export_and_read

    with torch.no_grad(), borrowed(module, device):
        return export_and_read(module, feed, name, device)


def float_type(module: nn.Module) -> torch.dtype:
    """The floating-point type of the first weights; inputs get the same."""
    return next((p.dtype for p in module.parameters() if p.is_floating_point()), torch.float32)


@contextlib.contextmanager
def borrowed(module: nn.Module, device: torch.device) -> Iterator[None]:
    """Inside the block, `module` is in evaluation mode, its tensors are on `device`, and fused fast paths are off.

    Afterwards every attribute of every sub-module is what it was, caches that the forward pass keeps included.
    """
    parts = list(module.modules())
    saved = [dict(vars(part)) for part in parts]
    stores: list[dict[str, Any]] = [store for part in parts for store in (part._parameters, part._buffers)]
    tensors = [dict(store) for store in stores]
    moved: dict[int, torch.Tensor] = {}  # a tensor under two names stays one tensor
    fast_path = torch.backends.mha.get_fastpath_enabled()
    try:
        torch.backends.mha.set_fastpath_enabled(False)
        for part in parts:
            part.training = False
        for store, originals in zip(stores, tensors, strict=True):
            for key, tensor in originals.items():
                if tensor is not None and tensor.device != device:
                    if id(tensor) not in moved:
                        moved[id(tensor)] = _moved(tensor, device)
                    store[key] = moved[id(tensor)]
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast_path)
        for part, attributes in zip(parts, saved, strict=True):
            vars(part).clear()
            vars(part).update(attributes)
        for store, originals in zip(stores, tensors, strict=True):
            store.clear()
            store.update(originals)


def _moved(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """The same tensor on `device`; a parameter stays one, so that `module.parameters()` still finds it."""
    copy = tensor.detach().to(device)
    return nn.Parameter(copy, requires_grad=False) if isinstance(tensor, nn.Parameter) else copy
