"""ONNX models as PyTorch modules with their own weights, through onnx2torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx
from torch import Tensor, nn

from archcast.errors import CaptureError, MissingExtraError, NetworkError
from archcast.graphs.feeds import Feed, Slot

_KINDS = {onnx.TensorProto.INT32: "index", onnx.TensorProto.INT64: "index", onnx.TensorProto.BOOL: "bool"}


def onnx_module(source: str | Path | onnx.ModelProto) -> nn.Module:
    """The module that computes what an ONNX model computes.

    Raises:
        MissingExtraError: onnx2torch is not installed.
        NetworkError: the file is missing or broken.
        CaptureError: the model holds an operation that onnx2torch cannot convert; the message names it.
    """
    try:
        import onnx2torch
    except ImportError as error:
        raise MissingExtraError(
            f"measuring an ONNX model needs onnx2torch: pip install 'archcast[onnx]' ({error})"
        ) from error
    model = _loaded(source)
    try:
        module: nn.Module = onnx2torch.convert(model)
    except Exception as error:  # it raises NotImplementedError, RuntimeError, KeyError ... depending on the operation
        raise CaptureError(
            f"the ONNX model cannot be turned into a PyTorch module ({type(error).__name__}: {error}); "
            "give the PyTorch network it was exported from"
        ) from error
    _promote(module)
    return module


def _promote(module: nn.Module) -> None:
    """Weights of plain products are constants to onnx2torch; here they are parameters, as in the graph of the model."""
    for part in module.modules():
        for name, buffer in list(part._buffers.items()):
            if name.startswith("onnx_initializer") and buffer is not None and _is_weight(buffer):
                del part._buffers[name]
                part.register_parameter(name, nn.Parameter(buffer))


def _is_weight(tensor: Tensor) -> bool:
    return tensor.is_floating_point() and tensor.dim() > 0 and tensor.numel() > 1


def onnx_feed(source: str | Path | onnx.ModelProto) -> Feed:
    """Its inputs with batch 1; an axis without a size becomes 1, except that images get 224 pixels."""
    graph = _loaded(source).graph
    constants = {tensor.name for tensor in graph.initializer}
    slots = [_slot(value) for value in graph.input if value.name not in constants]
    if not slots:
        raise NetworkError("the ONNX model has no inputs; there is nothing to feed it with")
    return Feed(tuple(slots))


def _slot(value: onnx.ValueInfoProto) -> Slot:
    tensor = value.type.tensor_type
    sizes = [axis.dim_value for axis in tensor.shape.dim]
    known = [size or (224 if axis >= 2 and len(sizes) == 4 else 1) for axis, size in enumerate(sizes)]
    return Slot((1, *known[1:]), _KINDS.get(tensor.elem_type, "float"))


def _loaded(source: Any) -> onnx.ModelProto:
    if isinstance(source, onnx.ModelProto):
        return source
    try:
        return onnx.load(str(source))
    except Exception as error:  # protobuf raises its own classes, onnx others
        raise NetworkError(f"{source} is not a readable ONNX file ({type(error).__name__}: {error})") from error
