"""Shapes of every value of an ONNX model, and the values of its small constants.

Inputs get fixed sizes first (batch 1). ONNX shape inference runs over the whole model; then one pass in
topological order evaluates shape arithmetic (`Shape -> Gather -> Concat`) and infers again the nodes that wait for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any, Final

import numpy as np
import onnx
import onnx.checker
import onnx.numpy_helper
import onnx.shape_inference
from numpy.typing import NDArray

from archcast.errors import NetworkError
from archcast.graphs.graph import Shape
from archcast.graphs.onnx_constants import evaluate, to_array
from archcast.graphs.onnx_files import KEEP

MAX_ELEMENTS: Final = 2**31
"""Largest activation; a shape beyond it is a mistake, not a network."""

_MAX_WEIGHTS: Final = 2**42
_STANDARD: Final = ("", "ai.onnx")
_REFUSALS: Final = (onnx.shape_inference.InferenceError, onnx.checker.ValidationError, RuntimeError, ValueError)


@dataclass
class Shapes:
    """What is known about the values of a model, by name. Sizes that only data can tell count as 1."""

    shapes: dict[str, Shape] = field(default_factory=dict)
    constants: dict[str, NDArray[Any]] = field(default_factory=dict)
    elements: dict[str, int] = field(default_factory=dict)
    incomplete: set[str] = field(default_factory=set)


_VALUE_FIELDS: Final = frozenset({"f", "i", "s", "t", "g", "floats", "ints", "strings", "tensors", "graphs"})


def attributes_of(node: onnx.NodeProto) -> dict[str, Any]:
    """Attributes as Python values.

    Raises:
        NetworkError: an attribute has no valid type.
    """
    try:
        return {attribute.name: _attribute(attribute) for attribute in node.attribute}
    except (ValueError, TypeError) as error:
        raise NetworkError(f"node {node.name or node.op_type!r} has a broken attribute: {error}") from error


def _attribute(attribute: onnx.AttributeProto) -> Any:
    if attribute.type == onnx.AttributeProto.UNDEFINED:  # files before ONNX 1.2 leave the type out
        present = [field.name for field, _ in attribute.ListFields() if field.name in _VALUE_FIELDS]
        if len(present) != 1:
            raise ValueError(f"{attribute.name!r} has no type")
        value: Any = getattr(attribute, present[0])
        value = list(value) if present[0].endswith("s") and len(present[0]) > 1 else value
    else:
        value = onnx.helper.get_attribute_value(attribute)
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return value


def fix_inputs(
    model: onnx.ModelProto, input_shape: Sequence[int] | Sequence[Sequence[int]] | None, dynamic: int | None
) -> None:
    """Give every input of `model` a fixed shape, in place: batch 1, other open sizes from `input_shape` or `dynamic`.

    Raises:
        NetworkError: a size stays open, is 0 or negative, contradicts `input_shape`, or is beyond `MAX_ELEMENTS`.
    """
    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in weights]
    given = _given_shapes(input_shape, len(inputs))
    changed = False
    for value, wanted in zip(inputs, given, strict=True):
        if value.type.HasField("tensor_type"):
            changed |= _fix_input(value, wanted, dynamic)
    if changed:  # recorded shapes were computed for the open sizes
        del model.graph.value_info[:]
        for value in model.graph.output:
            if value.type.HasField("tensor_type"):
                value.type.tensor_type.ClearField("shape")


def _given_shapes(
    input_shape: Sequence[int] | Sequence[Sequence[int]] | None, count: int
) -> Sequence[Sequence[int] | None]:
    if input_shape is None:
        return [None] * count
    several = [list(shape) for shape in input_shape if not isinstance(shape, (int, np.integer))]
    shapes = several or [[int(size) for size in input_shape]]  # type: ignore[arg-type]
    if len(shapes) != count:
        raise NetworkError(f"the model has {count} inputs input_shape= gives {len(shapes)}; give one for each")
    return shapes


def _fix_input(value: onnx.ValueInfoProto, wanted: Sequence[int] | None, dynamic: int | None) -> bool:
    tensor = value.type.tensor_type
    changed = False
    if not tensor.HasField("shape"):
        if wanted is None and dynamic is None:
            raise NetworkError(f"input {value.name!r} has no shape; give input_shape=")
        tensor.shape.dim.extend(onnx.TensorShapeProto.Dimension() for _ in wanted or ())
        changed = True
    dims = tensor.shape.dim
    if wanted is not None and len(wanted) != len(dims):
        raise NetworkError(f"input {value.name!r} has {len(dims)} dimensions but input_shape= gives {list(wanted)}")
    for axis, dim in enumerate(dims):
        fixed = dim.dim_value if dim.HasField("dim_value") else -1
        if fixed == 0 and dynamic is not None:
            fixed = -1
        if fixed == 0 or fixed < -1:
            raise NetworkError(f"input {value.name!r} has size {fixed} on axis {axis}; every size must be at least 1")
        if fixed > 0:
            if wanted is not None and axis > 0 and wanted[axis] != fixed:
                raise NetworkError(
                    f"input {value.name!r} is fixed to {fixed} on axis {axis}, but input_shape= says {wanted[axis]}; "
                    "leave input_shape out or export the model with dynamic axes"
                )
            continue
        size = 1 if axis == 0 else wanted[axis] if wanted is not None else dynamic
        if size is None:
            raise NetworkError(
                f"input {value.name!r} has an open size {dim.dim_param or '?'!r} on axis {axis}; say how large it is "
                "with input_shape=(1, ...)"
            )
        if size < 1:
            raise NetworkError(f"input_shape= has size {size} on axis {axis}; every size must be at least 1")
        dim.dim_value = size
        changed = True
    _check_elements(f"input {value.name!r}", [dim.dim_value for dim in dims], MAX_ELEMENTS)
    return changed


def _check_elements(what: str, sizes: Iterable[int], limit: int) -> None:
    sizes = list(sizes)
    if any(size < 0 for size in sizes) or prod(sizes) > limit:
        raise NetworkError(f"{what} has shape {sizes}, which no real tensor has; the file is broken")


def infer(model: onnx.ModelProto) -> Shapes:
    """All shapes of `model`, whose inputs are fixed and whose nodes are in topological order.

    Raises:
        NetworkError: shape inference refuses the model, or a shape is beyond `MAX_ELEMENTS`.
    """
    found = Shapes()
    for tensor in model.graph.initializer:
        _check_elements(f"initializer {tensor.name!r}", tensor.dims, _MAX_WEIGHTS)
        found.elements[tensor.name] = tensor.data_type
        if prod(tensor.dims) <= KEEP and (array := to_array(tensor)) is not None:
            found.constants[tensor.name] = array
    _read_shapes(_infer_once(model), model, found)
    for node in model.graph.node:
        if not _evaluate(node, found) and any(name in found.incomplete for name in node.output):
            _infer_node(node, model, found)
    for name, shape in found.shapes.items():
        if prod(shape) > MAX_ELEMENTS and name not in found.constants:
            raise NetworkError(f"value {name!r} would have shape {list(shape)}, which is too large to be real")
    return found


def _infer_once(model: onnx.ModelProto) -> onnx.ModelProto:
    try:
        return onnx.shape_inference.infer_shapes(model, check_type=False, strict_mode=False, data_prop=True)
    except _REFUSALS as error:
        # Recorded shapes that contradict the inferred ones are the usual cause: infer without them.
        bare = onnx.ModelProto()
        bare.CopyFrom(model)
        del bare.graph.value_info[:]
        for value in bare.graph.output:
            value.type.Clear()
        try:
            return onnx.shape_inference.infer_shapes(bare, check_type=False, strict_mode=False, data_prop=False)
        except _REFUSALS:
            raise NetworkError(f"the shapes of this model cannot be inferred: {str(error).strip()[:300]}") from error


def _read_shapes(inferred: onnx.ModelProto, model: onnx.ModelProto, found: Shapes) -> None:
    found.incomplete = {name for node in model.graph.node for name in node.output if name}
    graphs = [inferred.graph]
    while graphs:
        graph = graphs.pop()
        for value in (*graph.input, *graph.value_info, *graph.output):
            if value.type.HasField("tensor_type"):
                found.elements.setdefault(value.name, value.type.tensor_type.elem_type)
            if value.type.HasField("tensor_type") and value.type.tensor_type.HasField("shape"):
                dims = value.type.tensor_type.shape.dim
                found.shapes[value.name] = tuple(dim.dim_value if dim.dim_value > 0 else 1 for dim in dims)
                if all(dim.HasField("dim_value") for dim in dims):
                    found.incomplete.discard(value.name)
            elif not value.type.HasField("tensor_type"):  # sequences, maps, optionals have no shape
                found.incomplete.discard(value.name)
        for tensor in graph.initializer:
            found.shapes[tensor.name] = tuple(tensor.dims)
        for node in graph.node:
            if node.op_type in ("If", "Loop", "Scan"):
                graphs.extend(attribute.g for attribute in node.attribute if attribute.HasField("g"))


def _evaluate(node: onnx.NodeProto, found: Shapes) -> bool:
    """Evaluate a node whose inputs are known."""
    if not node.output or node.domain not in _STANDARD:
        return False
    value = constant_value(node, found)
    if value is None:
        return False
    name = node.output[0]
    found.constants[name], found.shapes[name] = value, value.shape
    found.incomplete.discard(name)
    return True


def _infer_node(node: onnx.NodeProto, model: onnx.ModelProto, found: Shapes) -> None:
    """Infer the outputs of one node again, now that the constants it reads are known.

    What stays open depends on data, or the operation is unknown: such sizes count as 1, and a value without any
    shape takes that of the first input.
    """
    inferred = _node_types(node, model, found) if node.domain in _STANDARD else {}
    first = next((found.shapes[name] for name in node.input if name in found.shapes), ())
    for name in node.output:
        tensor = inferred[name].tensor_type if name in inferred else None
        if tensor is not None and tensor.HasField("shape"):
            found.shapes[name] = tuple(dim.dim_value if dim.dim_value > 0 else 1 for dim in tensor.shape.dim)
            found.elements[name] = tensor.elem_type
        elif name:
            found.shapes.setdefault(name, first)
        found.incomplete.discard(name)


def _node_types(node: onnx.NodeProto, model: onnx.ModelProto, found: Shapes) -> dict[str, onnx.TypeProto]:
    opset = next((entry.version for entry in model.opset_import if entry.domain in _STANDARD), 1)
    names = [name for name in node.input if name]
    if any(name not in found.shapes for name in names) or node.op_type in ("If", "Loop", "Scan"):
        return {}
    types = {
        name: onnx.helper.make_tensor_type_proto(found.elements.get(name) or onnx.TensorProto.FLOAT, found.shapes[name])
        for name in names
    }
    data = {
        name: onnx.numpy_helper.from_array(np.ascontiguousarray(found.constants[name]), name)
        for name in names
        if name in found.constants and found.constants[name].dtype.kind in "iufb"
    }
    try:
        schema = onnx.defs.get_schema(node.op_type, opset)
        return dict(
            onnx.shape_inference.infer_node_outputs(
                schema, node, types, data, opset_imports=list(model.opset_import), ir_version=model.ir_version or 8
            )
        )
    except (onnx.defs.SchemaError, *_REFUSALS):
        return {}  # a node ONNX cannot infer is treated like an unknown one


def constant_value(node: onnx.NodeProto, found: Shapes) -> NDArray[Any] | None:
    """The value of the first output of `node`, if it follows from known constants and shapes."""
    if node.op_type == "Constant":
        return _constant(node)
    if node.op_type in ("Shape", "Size"):
        source = node.input[0] if node.input else ""
        if source in found.incomplete or source not in found.shapes:
            return None
        shape, attributes = found.shapes[source], attributes_of(node)
        if node.op_type == "Size":
            return np.asarray(prod(shape), dtype=np.int64)
        return np.asarray(shape[attributes.get("start", 0) : attributes.get("end")], dtype=np.int64)
    names = node.input[:1] if node.op_type == "CastLike" else node.input  # its second input only lends a type
    inputs = [found.constants.get(name) for name in names if name]
    known = [array for array in inputs if array is not None]
    if len(known) < len(inputs) or (not known and node.op_type != "ConstantOfShape"):
        return None
    return evaluate(node.op_type, known, attributes_of(node))


def _constant(node: onnx.NodeProto) -> NDArray[Any] | None:
    for attribute in node.attribute:
        if attribute.name == "value":
            return to_array(attribute.t)
        if attribute.name in ("value_float", "value_floats"):
            return np.asarray(_attribute(attribute), dtype=np.float32)
        if attribute.name in ("value_int", "value_ints"):
            return np.asarray(_attribute(attribute), dtype=np.int64)
    return None
