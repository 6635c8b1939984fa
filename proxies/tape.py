"""`Tape`: one real forward pass, with the tensor behind every node of the computation graph.

It is the recorder of `archcast.graphs` run on real tensors, so that what is measured at a tensor belongs to a node by
construction. Two things differ from the network's own forward pass:

- Batch normalisation uses the statistics of the batch and leaves its running averages alone (`BatchNorm.BATCH`), or
  does nothing (`BatchNorm.SKIP`, as SynFlow wants it). The module stays in evaluation mode: no dropout, no drop path.
- Operations in place run out of place, so that the value before them is still there for the backward pass. A network
  that later reads what such an operation should have overwritten is noticed (`Tape.stale`) and recorded as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from enum import Enum
from typing import Any, cast

import torch
from torch import Tensor

from archcast.errors import NetworkError
from archcast.graphs.calls import Call
from archcast.graphs.canonical import survivors
from archcast.graphs.graph import ComputationGraph, Node
from archcast.graphs.recording import Recorder, tensors_in

_NORMALISATIONS = frozenset({"batch_norm", "layer_norm", "group_norm", "instance_norm", "rms_norm"})
_OUT_OF_PLACE: dict[str, Callable[..., Any]] = {
    "__iadd__": torch.add, "__isub__": torch.sub, "__imul__": torch.mul, "__itruediv__": torch.div,
    "__idiv__": torch.div, "relu_": torch.relu, "sigmoid_": torch.sigmoid, "tanh_": torch.tanh,
}  # fmt: skip
_SHAPE_ONLY = frozenset({"__get__", "size", "dim", "numel", "is_floating_point", "__len__"})
_READS = frozenset({"__bool__", "__int__", "__float__", "__index__", "item", "tolist"})


class BatchNorm(Enum):
    """What normalisations do: batch normalisation uses batch statistics, or all of them do nothing."""

    BATCH = "batch"
    SKIP = "skip"


class Tape(Recorder):
    """A recorder that keeps the tensors.

    Args:
        parameters: the parameters of the network, each distinct one once.
        norm: what normalisation layers do.
        in_place: run operations in place as the network has them.

    Attributes:
        stale: the network read a tensor that it had overwritten, so that it must be recorded with `in_place`.
        reads_data: the network turned values into Python numbers, as control flow that depends on data does.
        results: value -> tensor; a value is the number of a recorded node.
        calls: value -> the call that made it.
        inverse_deviations: id of the result of a batch normalisation -> `[C]` 1 / standard deviation it multiplied by.
    """

    def __init__(
        self, parameters: Iterable[Tensor], norm: BatchNorm = BatchNorm.BATCH, *, in_place: bool = False
    ) -> None:
        self.parameters = list({id(p): p for p in parameters}.values())
        super().__init__(self.parameters)
        self.norm = norm
        self.results: dict[int, Tensor] = {}
        self.calls: dict[int, Call] = {}
        self.inverse_deviations: dict[int, Tensor] = {}
        self._versions: dict[int, int] = {}
        self.in_place = in_place
        self.stale = False
        self.reads_data = False
        self._spared: set[int] = set()  # storages that the network itself would have overwritten

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        name = getattr(func, "__name__", "")
        if self._spared and name not in _SHAPE_ONLY:
            self.look_for_stale((args, kwargs))
        if name in _READS and args and self.value_of(args[0]) is not None:
            self.reads_data = True
        return super().__torch_function__(func, types, args, kwargs)

    def spare(self, tensor: Tensor) -> None:
        """Note that `tensor` was to be overwritten, and was not."""
        self._spared.add(tensor.untyped_storage()._cdata)

    def look_for_stale(self, item: Any) -> None:
        self.stale = self.stale or any(t.untyped_storage()._cdata in self._spared for t in tensors_in(item))

    def run(self, name: str, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if name == "batch_norm" and self.norm is BatchNorm.BATCH:
            result, inverse = batch_normalised(*batch_norm_arguments(args, kwargs))
            self.inverse_deviations[id(result)] = inverse
            return result
        if name in _NORMALISATIONS:
            return normalise(self.norm, name, func, args, kwargs)
        if self.in_place:
            return func(*args, **kwargs)
        if name in _OUT_OF_PLACE and (args[0].requires_grad or not args[0].is_leaf):
            self.spare(args[0])
            return _OUT_OF_PLACE[name](*args, **kwargs)
        if kwargs.get("inplace") is True:
            self.spare(args[0] if args else kwargs["input"])
            kwargs = {**kwargs, "inplace": False}
        return func(*args, **kwargs)

    def input(self, tensor: Tensor) -> None:
        super().input(tensor)
        self.results[len(self.nodes) - 1] = tensor

    def _bind(self, call: Call, made: Any, *, known: bool) -> None:
        first = len(self.nodes)
        super()._bind(call, made, known=known)
        for value in range(first, len(self.nodes)):
            self.calls[value] = call

    def _add(self, node: Node, inputs: tuple[int, ...], params: frozenset[int], result: Tensor | None) -> int:
        value = super()._add(node, inputs, params, result)
        if result is not None:
            self.results[value] = result
            self._versions[value] = result._version
        return value

    def intact(self, value: int) -> Tensor | None:
        """The tensor of a value, None where the network has overwritten it or it never existed on its own."""
        tensor = self.results.get(value)
        return tensor if tensor is not None and tensor._version == self._versions.get(value, 0) else None

    def owners(self) -> dict[int, int]:
        """Parameter -> the value that uses it first; parameters no value uses are absent."""
        owners: dict[int, int] = {}
        for value, used in enumerate(self.used):
            for index in used:
                owners.setdefault(index, value)
        return owners

    def places(self, outputs: Any, graph: ComputationGraph) -> dict[int, int]:
        """Value -> position in `canonicalise(graph)`, where `graph` is this tape's own graph of `outputs`.

        A value whose node was fused into another belongs to the first surviving node that reads it.
        """
        ends = [value for tensor in tensors_in(outputs) if (value := self.value_of(tensor)) is not None]
        live = self.reached(list(dict.fromkeys(ends)))
        position = {old: new for new, old in enumerate(survivors(graph))}
        places: dict[int, int] = {}
        reader: dict[int, int] = {}
        for old in range(len(graph) - 1, -1, -1):
            place = position.get(old, reader.get(old))
            if place is None:
                continue
            if old < len(live):
                places[live[old]] = place
            for source in graph.inputs_of(old).tolist():
                reader[source] = place
        return places


def normalise(
    norm: BatchNorm, name: str, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Tensor:
    """The result of a normalisation under `norm`."""
    if norm is BatchNorm.SKIP:
        result: Tensor = args[0].clone()
        return result
    if name != "batch_norm":
        return cast(Tensor, func(*args, **kwargs))
    x, weight, bias, eps = batch_norm_arguments(args, kwargs)
    return batch_normalised(x, weight, bias, eps)[0]


def batch_norm_arguments(
    args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[Tensor, Tensor | None, Tensor | None, float]:
    """Input, weight, bias and epsilon of a call of `torch.nn.functional.batch_norm`."""
    names = ("input", "running_mean", "running_var", "weight", "bias", "training", "momentum", "eps")
    given = {**dict(zip(names, args, strict=False)), **kwargs}
    return given["input"], given.get("weight"), given.get("bias"), float(given.get("eps", 1e-5))


def batch_normalised(x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float) -> tuple[Tensor, Tensor]:
    """The input normalised by the statistics of the batch, and `[C]` the inverse standard deviations."""
    if x.numel() == x.shape[1]:
        raise NetworkError("a batch normalisation sees one value per channel; take a larger batch or input_shape")
    result, _, inverse = torch.native_batch_norm(x, weight, bias, None, None, True, 0.0, eps)
    return result, inverse.detach()


class Normalisations(torch.overrides.TorchFunctionMode):
    """The same treatment of normalisations without recording anything."""

    def __init__(self, norm: BatchNorm = BatchNorm.BATCH) -> None:
        super().__init__()
        self.norm = norm

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        name = getattr(func, "__name__", "")
        if name in _NORMALISATIONS and func is getattr(torch.nn.functional, name, None):
            return normalise(self.norm, name, func, args, kwargs or {})
        if name == "hardsigmoid":  # torch has no second derivative of it
            return (args[0] / 6 + 0.5).clamp(0, 1)
        return func(*args, **(kwargs or {}))
