"""`read_onnx`: an ONNX model -> `ComputationGraph`.

The model is loaded without its weights, its shapes are inferred, and its nodes are walked in topological order:

- an *activation* depends on a model input and is the value of a node of the graph;
- a *constant* does not. It is folded away and remembers which initializers it was made of; the first
  node that uses the constant owns their parameters.

Trainable parameters are the floating-point initializers (and the integer ones that a quantized layer multiplies with),
without running statistics, single generated numbers and attention masks. ONNX does not mark parameters, so
a buffer that a model adds or multiplies counts as one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from math import prod
from pathlib import Path
from typing import Final

import onnx
import onnx.inliner

from archcast.errors import GraphError, NetworkError
from archcast.graphs.builder import edges_of
from archcast.graphs.canonical import canonicalise
from archcast.graphs.graph import ComputationGraph, Node, Shape
from archcast.graphs.nodes import plain, unknown
from archcast.graphs.onnx_files import load
from archcast.graphs.onnx_ops import NO_PARAMS, Call, Made, Value, View, handlers
from archcast.graphs.onnx_shapes import Shapes, attributes_of, constant_value, fix_inputs, infer

InputShape = Sequence[int] | Sequence[Sequence[int]]

_STANDARD: Final = ("", "ai.onnx")
_FLOATS: Final = frozenset(
    onnx.TensorProto.DataType.Value(name)
    for name in ("FLOAT", "FLOAT16", "BFLOAT16", "DOUBLE", "FLOAT8E4M3FN", "FLOAT8E5M2", "COMPLEX64", "COMPLEX128")
)
_QUANTIZED_WEIGHTS: Final = {
    "QLinearConv": (3, 8), "QLinearMatMul": (3,), "ConvInteger": (1,), "MatMulInteger": (1,), "DequantizeLinear": (0,),
}  # fmt: skip
"""Inputs of quantized ops that hold trained integers; their scales and zero points are not parameters."""
_WEIGHTS: Final = {
    "Conv": (1, 2), "ConvTranspose": (1, 2), "Gemm": (1, 2), "MatMul": (0, 1), "BatchNormalization": (1, 2),
    "LayerNormalization": (1, 2), "LSTM": (1, 2, 3), "GRU": (1, 2, 3), "RNN": (1, 2, 3), "PRelu": (1,),
}  # fmt: skip
"""Inputs of layers that hold weights even where a model writes them as `Constant` nodes."""
_SHAPE_ONLY: Final = frozenset({"Shape", "Size", "ConstantOfShape", "EyeLike"})
_FIRST_ONLY: Final = frozenset({"CastLike", "Expand", "Reshape", "Tile", "Slice", "Pad", "Unsqueeze", "Squeeze"})
"""Constants made by these take over no parameters, or only those of their first input."""
_LIFTED: Final = ("lifted_tensor", "_tensor_constant")
"""Names torch gives to numbers it finds in the code of a module."""
_CONTROL: Final = frozenset({"If", "Loop", "Scan"})


def read_onnx(
    source: str | Path | onnx.ModelProto,
    *,
    name: str = "",
    input_shape: InputShape | None = None,
    dynamic: int | None = None,
) -> ComputationGraph:
    """The computation graph of an ONNX model.

    Args:
        source: path of an `.onnx` file, or a model in memory. Weights and external data are not read.
        name: name of the graph; by default the file's.
        input_shape: shape of the input, or one shape per input, for sizes the model leaves open.
        dynamic: size to give to every open (or empty) axis that `input_shape` does not fix. The batch is 1 anyway.

    Raises:
        MissingDataError: the file or an external data file it names does not exist.
        NetworkError: not an ONNX file, truncated, inconsistent, with open sizes, or with data outside its folder.
        GraphError: the nodes form a cycle.
    """
    model = load(source)
    if not name:
        name = model.graph.name if isinstance(source, onnx.ModelProto) else Path(source).stem
    if model.functions:
        model = _inline(model)
    _sort(model.graph, name)
    fix_inputs(model, input_shape, dynamic)
    reader = _Reader(model, infer(model))
    return canonicalise(reader.graph(name))


def _inline(model: onnx.ModelProto) -> onnx.ModelProto:
    try:
        return onnx.inliner.inline_local_functions(model)
    except (RuntimeError, ValueError) as error:
        raise NetworkError(f"the functions of this model cannot be expanded: {str(error)[:300]}") from error


def _sort(graph: onnx.GraphProto, name: str) -> None:
    """Check that every value is made once, and bring the nodes into topological order."""
    made: dict[str, int] = {}
    for index, node in enumerate(graph.node):
        for output in node.output:
            if output and made.setdefault(output, index) != index:
                raise NetworkError(f"{name}: value {output!r} is made twice; names of values must be unique")
    known = {value.name for value in (*graph.input, *graph.initializer)}
    known |= {tensor.values.name for tensor in graph.sparse_initializer}
    for value in (*(value.name for value in graph.output), *(v for node in graph.node for v in _reads(node))):
        if value not in made and value not in known:
            raise NetworkError(f"{name}: value {value!r} is read but nothing makes it; an initializer may be missing")
    if not graph.output:
        raise NetworkError(f"{name}: the model has no outputs, so there is nothing to compute")
    reads = [{made[value] for value in _reads(node) if value in made} for node in graph.node]
    if all(source < index for index, sources in enumerate(reads) for source in sources):
        return
    order = _topological(reads, graph, name)
    nodes = [onnx.NodeProto.FromString(graph.node[index].SerializeToString()) for index in order]
    del graph.node[:]
    graph.node.extend(nodes)


def _topological(reads: list[set[int]], graph: onnx.GraphProto, name: str) -> list[int]:
    waiting = [len(sources) for sources in reads]
    readers: list[list[int]] = [[] for _ in reads]
    for index, sources in enumerate(reads):
        for source in sources:
            readers[source].append(index)
    ready = [index for index, count in enumerate(waiting) if not count]
    for index in ready:
        for reader in readers[index]:
            waiting[reader] -= 1
            if not waiting[reader]:
                ready.append(reader)
    if len(ready) < len(reads):
        stuck = next(graph.node[index] for index, count in enumerate(waiting) if count)
        raise GraphError(f"{name}: the graph is cyclic; node {stuck.name or stuck.op_type!r} depends on its own output")
    return ready


def _reads(node: onnx.NodeProto) -> list[str]:
    """Names a node reads, those its subgraphs take from outside included."""
    names = [value for value in node.input if value]
    for attribute in node.attribute:
        for graph in ([attribute.g] if attribute.HasField("g") else []) + list(attribute.graphs):
            inside = {value.name for value in (*graph.input, *graph.initializer)}
            inside |= {output for inner in graph.node for output in inner.output}
            inner_reads = (value for inner in graph.node for value in _reads(inner))
            outputs = (value.name for value in graph.output)
            names.extend(value for value in dict.fromkeys((*inner_reads, *outputs)) if value not in inside)
    return names


class _Reader:
    """Walks the nodes of a model and collects the nodes of the graph."""

    def __init__(self, model: onnx.ModelProto, found: Shapes) -> None:
        self.model, self.found = model, found
        self.opset = next((entry.version for entry in model.opset_import if entry.domain in _STANDARD), 1)
        self.nodes: list[Node] = []
        self.sources: list[tuple[int, ...]] = []
        self.used: list[frozenset[str]] = []
        self.sizes: dict[str, int] = {}
        self.values: dict[str, Value] = {}
        self.reads = Counter(name for node in model.graph.node for name in _reads(node))
        self.reads.update(value.name for value in model.graph.output)

    def graph(self, name: str) -> ComputationGraph:
        graph = self.model.graph
        self._declare_initializers(graph)
        for value in graph.input:
            if value.name not in self.values:
                shape = self.found.shapes.get(value.name, ())
                self.values[value.name] = self._add(plain("Input", shape), (), NO_PARAMS, shape)
        for node in graph.node:
            self._visit(node)
        for output in graph.output:
            made = self.values[output.name]  # _sort has checked that it is made
            shape = made.shape if made.node is None else self.nodes[made.node].shape  # views do not count
            self._add(plain("Output", shape), () if made.node is None else (made.node,), made.params, shape)
        return self._finish(name)

    def _finish(self, name: str) -> ComputationGraph:
        owned: set[str] = set()
        nodes = []
        for node, used in zip(self.nodes, self.used, strict=True):
            fresh = [parameter for parameter in used if parameter not in owned and parameter in self.sizes]
            owned.update(fresh)
            params = sum(self.sizes[parameter] for parameter in fresh)
            nodes.append(node if node.params == params else node.replace(params=params))
        total = sum(self.sizes.values()) + sum(node.macs for node in nodes)
        if total >= 2**62:
            raise NetworkError(f"{name}: {total:.3g} parameters and MACs are too many to be real; the file is broken")
        unused = sum(size for parameter, size in self.sizes.items() if parameter not in owned)
        return ComputationGraph(tuple(nodes), edges_of(self.sources), unused, name)

    def _declare_initializers(self, graph: onnx.GraphProto) -> None:
        sparse = [(tensor.values, tuple(tensor.dims)) for tensor in graph.sparse_initializer]
        for tensor, shape in (*((tensor, tuple(tensor.dims)) for tensor in graph.initializer), *sparse):
            params = frozenset([tensor.name]) if _is_parameter(tensor) else NO_PARAMS
            if params:
                self.sizes[tensor.name] = prod(tensor.dims)
            self.values[tensor.name] = Value(shape, array=self.found.constants.get(tensor.name), params=params)
        self._declare_constants(graph)
        integers = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer if tensor.name not in self.sizes}
        for node in graph.node:
            self._declare_statistics(node)
            for position in _QUANTIZED_WEIGHTS.get(node.op_type, ()):
                name = node.input[position] if position < len(node.input) else ""
                if name in integers:
                    self.sizes[name] = prod(integers[name])
                    self.values[name].params = frozenset([name])

    def _declare_constants(self, graph: onnx.GraphProto) -> None:
        """Some exporters write weights as `Constant` or `ConstantOfShape` nodes; those a layer reads are parameters."""
        weights: dict[str, Shape] = {}
        for node in graph.node:
            for attribute in node.attribute:
                tensor = attribute.t
                if attribute.name != "value" or tensor.data_type not in _FLOATS:
                    continue
                if node.op_type == "Constant":
                    weights[node.output[0]] = tuple(tensor.dims)
                elif node.op_type == "ConstantOfShape":
                    weights[node.output[0]] = self.found.shapes.get(node.output[0], ())
        for node in graph.node if weights else ():
            for position in _WEIGHTS.get(node.op_type, ()):
                name = node.input[position] if position < len(node.input) else ""
                if prod(weights.get(name, ())) > 1:
                    self.sizes[name] = prod(weights[name])
                    self.values[name] = Value(weights[name], params=frozenset([name]))

    def _declare_statistics(self, node: onnx.NodeProto) -> None:
        """Running statistics and quantisation scales are state, not parameters."""
        if node.op_type == "BatchNormalization":
            names = node.input[3:5]
        elif node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            names = node.input[1:3]
        elif node.op_type in ("QLinearConv", "QLinearMatMul"):
            names = [node.input[index] for index in (1, 2, 4, 5, 6, 7) if index < len(node.input)]
        elif node.op_type in ("Resize", "Upsample"):
            names = node.input[1:]
        else:
            return
        for name in names:
            if name in self.sizes:
                del self.sizes[name]
                self.values[name].params = NO_PARAMS

    def _add(self, node: Node, inputs: tuple[int, ...], params: frozenset[str], shape: Shape) -> Value:
        self.nodes.append(node)
        self.sources.append(inputs)
        self.used.append(params)
        return Value(shape, len(self.nodes) - 1)

    def _visit(self, node: onnx.NodeProto) -> None:
        inputs = [self.values.get(name) if name else None for name in node.input]
        if node.op_type == "If" and inputs and inputs[0] is not None and self._inline_branch(node, inputs[0]):
            return
        if node.op_type in _CONTROL:
            self._control(node)
            return
        present = [value for value in inputs if value is not None]
        params = NO_PARAMS.union(*(value.params for value in present))
        standard = node.domain in _STANDARD
        if all(value.node is None for value in present) and not (standard and node.op_type.startswith("Random")):
            if node.op_type in _SHAPE_ONLY:
                params = NO_PARAMS
            elif node.op_type in _FIRST_ONLY and inputs[0] is not None:
                params = inputs[0].params
            self._fold(node, params)
            return
        handler = handlers().get(node.op_type) if standard else None
        shapes = [self._shape(name, present) for name in node.output]
        if handler is None:
            made: Made = [unknown(_qualified(node), shape) for shape in shapes]
        else:
            call = Call(node.op_type, node.name, inputs, shapes, attributes_of(node), self.opset)
            if self._add_bias(node, call):
                return
            try:
                made = handler(call)
            except (ValueError, TypeError, IndexError) as error:
                if isinstance(error, NetworkError):
                    raise
                raise NetworkError(f"{node.op_type} node {node.name!r} does not fit its inputs: {error}") from error
        self._bind(node, made, present, params, shapes)

    def _shape(self, name: str, present: list[Value]) -> Shape:
        if name in self.found.shapes:
            return self.found.shapes[name]
        return present[0].shape if present else ()

    def _fold(self, node: onnx.NodeProto, params: frozenset[str]) -> None:
        """A node on constants alone."""
        if node.op_type.startswith("Constant") and node.output and node.output[0] in self.sizes:
            return  # a weight, already declared
        if node.output and node.output[0] not in self.found.constants:
            value = constant_value(node, self.found)
            if value is not None:
                self.found.constants[node.output[0]] = value
        for name in node.output:
            array = self.found.constants.get(name)
            shape = tuple(array.shape) if array is not None else self.found.shapes.get(name, ())
            self.values[name] = Value(shape, array=array, params=params)

    def _bind(
        self, node: onnx.NodeProto, made: Made, present: list[Value], params: frozenset[str], shapes: list[Shape]
    ) -> None:
        sources = tuple(value.node for value in present if value.node is not None)
        results: list[Node | View | None] = [*made] if isinstance(made, list) else [made]
        results += [None] * (len(node.output) - len(results))
        for name, result, shape in zip(node.output, results, shapes, strict=False):
            alone = self.reads[name] == 1
            if isinstance(result, View):
                old = result.value
                if node.op_type == "Squeeze" and old.exclusive and old.node is not None:
                    self._squeeze(old.node, shape)
                array = old.array if old.shape == shape else None
                value = Value(shape, old.node, array, old.params, alone and old.exclusive)
            elif name in self.found.constants and result is not None and result.op != "Zero":  # Shape of an activation
                value = Value(shape, array=self.found.constants[name])
            elif result is None:
                first = self.values[node.output[0]].node
                value = self._add(plain("Slice", shape), sources if first is None else (first,), NO_PARAMS, shape)
            else:
                value = self._add(result, sources, params, shape)
                value.exclusive = alone
            self.values[name] = value

    def _squeeze(self, index: int, shape: Shape) -> None:
        """Exporters write an indexed axis as a slice of length 1 and its removal; torch has one operation for both."""
        if self.nodes[index].op == "Slice":
            self.nodes[index] = self.nodes[index].replace(shape=shape)

    def _add_bias(self, node: onnx.NodeProto, call: Call) -> bool:
        """Fold `x W + b` into one `Gemm`."""
        if node.op_type != "Add" or len(call.inputs) != 2:
            return False
        left, right = call.required(0), call.required(1)
        value, bias = (left, right) if right.node is None else (right, left)
        if value.node is None or bias.node is not None or not bias.params or not value.exclusive:
            return False
        gemm = self.nodes[value.node]
        width = gemm.get("out_features")
        fits = prod(bias.shape) == width and bias.shape[-1] == width and value.shape[-1:] == (width,)
        if gemm.op != "Gemm" or gemm.get("bias") or not fits:
            return False
        self.nodes[value.node] = gemm.replace(attributes={**gemm.attributes, "bias": True})
        self.used[value.node] |= bias.params
        self.values[node.output[0]] = Value(call.shape, value.node, exclusive=self.reads[node.output[0]] == 1)
        return True

    def _inline_branch(self, node: onnx.NodeProto, condition: Value) -> bool:
        """Follow the branch of an `If` whose condition is known."""
        if condition.array is None or condition.array.size != 1:
            return False
        wanted = "then_branch" if bool(condition.array.reshape(-1)[0]) else "else_branch"
        branch = next((attribute.g for attribute in node.attribute if attribute.name == wanted), None)
        if branch is None:
            return False
        self._declare_initializers(branch)
        self.reads.update(name for inner in branch.node for name in _reads(inner))
        self.reads.update(value.name for value in branch.output)
        for inner in branch.node:
            self._visit(inner)
        for name, value in zip(node.output, branch.output, strict=False):
            if value.name not in self.values:
                return False
            self.values[name] = self.values[value.name]
        return True

    def _control(self, node: onnx.NodeProto) -> None:
        """`If`, `Loop`, `Scan`: one node that owns the parameters of its subgraphs."""
        read = [self.values[name] for name in _reads(node) if name in self.values]
        params = NO_PARAMS.union(*(value.params for value in read))
        for graph in _subgraphs(node):
            for tensor in graph.initializer:
                if _is_parameter(tensor):
                    key = f"{node.output[0] if node.output else node.name}/{tensor.name}"
                    self.sizes[key] = prod(tensor.dims)
                    params |= {key}
        sources = tuple(dict.fromkeys(value.node for value in read if value.node is not None))
        owner: int | None = None
        for name in node.output:
            shape = self.found.shapes.get(name, ())
            if owner is None:
                self.values[name] = self._add(plain(node.op_type, shape), sources, params, shape)
                owner = self.values[name].node
            else:
                self.values[name] = Value(shape, owner)


def _subgraphs(node: onnx.NodeProto) -> Iterable[onnx.GraphProto]:
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
            for inner in attribute.g.node:
                yield from _subgraphs(inner)


def _qualified(node: onnx.NodeProto) -> str:
    return node.op_type if node.domain in _STANDARD else f"{node.domain}.{node.op_type}"


def _is_parameter(tensor: onnx.TensorProto) -> bool:
    """Floating point, and neither a generated number nor an attention mask."""
    if tensor.data_type not in _FLOATS or not prod(tensor.dims):
        return False
    if tensor.name.rpartition(".")[2].startswith(_LIFTED):
        return False
    if prod(tensor.dims) == 1:
        generated = tensor.name.startswith(("onnx::", "/", "val_", "_val", "scalar_tensor", "const")) or not tensor.name
        return not generated and ("." in tensor.name or len(tensor.dims) > 0)
    return not tensor.name.endswith("mask")
