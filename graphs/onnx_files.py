"""Safe loading of ONNX models without their weights.

The graph and the shapes of the weights are all archcast needs, so a file is scanned field by field and the bytes of its
weights are skipped, never read: a 100 MB model takes a few milliseconds and models over 2 GB work too.
External data files are not opened; their paths are checked all the same, because a model that points
outside its folder or to nothing is not one to trust.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

from archcast.errors import MissingDataError, NetworkError

KEEP: Final = 4096
"""Constants of at most this many elements are kept: they may be shapes, axes or scales."""

_KEEP_BYTES: Final = 8 * KEEP
_MODEL_GRAPH, _GRAPH_INITIALIZER = 7, 5
_TENSOR_DATA: Final = frozenset({4, 5, 6, 7, 9, 10, 11})  # float_data ... uint64_data, raw_data
_Buffer = memoryview


def load(source: str | Path | onnx.ModelProto) -> onnx.ModelProto:
    """The model in `source` as a fresh proto, the data of its large initializers left out.

    Raises:
        MissingDataError: the file, or an external data file it names, does not exist.
        NetworkError: not an ONNX file, a truncated one, or one whose external data lies outside its folder.
    """
    if isinstance(source, onnx.ModelProto):
        model, folder = _strip(source), None
    else:
        path = Path(source)
        model, folder = _read(path), path.parent
    if not model.HasField("graph"):
        raise NetworkError(f"{_called(source)} holds no graph; it is not an ONNX model")
    if not all(isinstance(name, str) for name in _names(model.graph)):  # protobuf hands broken text on as bytes
        raise NetworkError(f"{_called(source)} holds names that are not text; export or download it again")
    for tensor in model.graph.initializer:
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            _check_external(tensor, folder)
    return model


def _names(graph: onnx.GraphProto) -> Iterator[object]:
    for node in graph.node:
        yield from (node.op_type, node.domain, node.name, *node.input, *node.output)
        yield from (attribute.name for attribute in node.attribute)
    for named in (*graph.initializer, *graph.input, *graph.output, *graph.value_info):
        yield named.name


def _called(source: str | Path | onnx.ModelProto) -> str:
    return "the ModelProto" if isinstance(source, onnx.ModelProto) else str(source)


def _read(path: Path) -> onnx.ModelProto:
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        raise MissingDataError(f"{path} {what}; give the path of an .onnx file")
    if path.stat().st_size == 0:
        raise NetworkError(f"{path} is empty, so it is not an ONNX file; export or download it again")
    try:
        with path.open("rb") as file:
            # Not closed by hand: an error on the way still refers to parts of the map through its traceback.
            content = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        return onnx.ModelProto.FromString(b"".join(_without_weights(content)))
    except (DecodeError, _BrokenError) as error:
        raise NetworkError(
            f"{path} is not an ONNX file, or is truncated ({error}); export or download it again"
        ) from error


class _BrokenError(Exception):
    """The bytes are not a protobuf message."""


def _without_weights(model: _Buffer) -> Iterator[bytes]:
    for field, whole, body in _fields(model):
        if field == _MODEL_GRAPH:
            graph = b"".join(_graph_parts(body))
            yield _tag(_MODEL_GRAPH, len(graph))
            yield graph
        else:
            yield bytes(whole)


def _graph_parts(graph: _Buffer) -> Iterator[bytes]:
    for field, whole, body in _fields(graph):
        if field == _GRAPH_INITIALIZER and len(body) > _KEEP_BYTES:
            kept = b"".join(
                bytes(part)
                for inner, part, data in _fields(body)
                if inner not in _TENSOR_DATA or len(data) <= _KEEP_BYTES
            )
            yield _tag(_GRAPH_INITIALIZER, len(kept))
            yield kept
        else:
            yield bytes(whole)


def _fields(message: _Buffer) -> Iterator[tuple[int, _Buffer, _Buffer]]:
    """(number, field with its tag, its content) of every field of a protobuf message."""
    position, end = 0, len(message)
    while position < end:
        start = position
        tag, position = _varint(message, position)
        wire = tag & 7
        if wire == 2:
            size, position = _varint(message, position)
        elif wire == 0:
            _, after = _varint(message, position)
            size = after - position
        elif wire in (1, 5):
            size = 8 if wire == 1 else 4
        else:
            raise _BrokenError(f"unknown wire type {wire}")
        if position + size > end:
            raise _BrokenError(f"a field of {size} bytes runs past the end")
        yield tag >> 3, message[start : position + size], message[position : position + size]
        position += size


def _varint(message: _Buffer, position: int) -> tuple[int, int]:
    value = shift = 0
    while position < len(message) and shift < 70:
        byte = message[position]
        value |= (byte & 127) << shift
        position, shift = position + 1, shift + 7
        if byte < 128:
            return value, position
    raise _BrokenError("a number runs past the end")


def _tag(field: int, size: int) -> bytes:
    """Tag and length of a length-delimited field."""
    out = bytearray([field << 3 | 2])
    while size > 127:
        out.append(size & 127 | 128)
        size >>= 7
    out.append(size)
    return bytes(out)


def _strip(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy of a model in memory without the data of its large initializers."""
    stripped = onnx.ModelProto()
    stripped.ir_version = model.ir_version
    stripped.opset_import.extend(model.opset_import)
    stripped.functions.extend(model.functions)
    if not model.HasField("graph"):
        return stripped
    graph = stripped.graph
    graph.name = model.graph.name
    graph.node.extend(model.graph.node)
    graph.input.extend(model.graph.input)
    graph.output.extend(model.graph.output)
    graph.value_info.extend(model.graph.value_info)
    graph.sparse_initializer.extend(model.graph.sparse_initializer)
    graph.initializer.extend(_tensors(model.graph.initializer))
    return stripped


def _tensors(tensors: Iterable[onnx.TensorProto]) -> Iterator[onnx.TensorProto]:
    for tensor in tensors:
        count = 1
        for size in tensor.dims:
            count *= size
        if count <= KEEP:
            yield tensor
            continue
        bare = onnx.TensorProto(name=tensor.name, data_type=tensor.data_type, dims=tensor.dims)
        bare.external_data.extend(tensor.external_data)
        bare.data_location = tensor.data_location
        yield bare


def _check_external(tensor: onnx.TensorProto, folder: Path | None) -> None:
    location = next((entry.value for entry in tensor.external_data if entry.key == "location"), "")
    if not location:
        raise NetworkError(f"initializer {tensor.name!r} says its data is external but names no file")
    inside = Path(location)
    if inside.is_absolute() or ".." in inside.parts or "\\" in location:
        raise NetworkError(
            f"initializer {tensor.name!r} keeps its data at {location!r}, outside the model's folder; this is refused. "
            "Save the model again with onnx.save(..., save_as_external_data=True)"
        )
    if folder is None:
        return
    target = (folder / inside).resolve()
    if not target.is_relative_to(folder.resolve()):
        raise NetworkError(
            f"initializer {tensor.name!r}: {location!r} links outside the model's folder; this is refused"
        )
    if not target.is_file():
        raise MissingDataError(
            f"initializer {tensor.name!r} keeps its data in {location!r}, which is not in {folder}; "
            "copy that file beside the model (its content is not read, but a model without it is incomplete)"
        )
