"""Table of ONNX operations: what each node becomes in the graph.

A handler takes a `Call` and returns a node, a `View` (another name of an input), or a list of them, one per output;
outputs it leaves out (masks, states, statistics) are parts of the first one. `HANDLERS` is keyed by op type; layers
with weights are in `onnx_ops_layers`. Attributes are those the torch side sets.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from archcast.errors import NetworkError
from archcast.graphs.graph import Node, Shape
from archcast.graphs.nodes import attributed, concat, embedding, plain, reduction

NO_PARAMS: frozenset[str] = frozenset()


@dataclass(slots=True)
class Value:
    """A tensor of the model: the output of node `node`, or a constant (`node` is None).

    A constant has an `array` if it is small, and the `params` (names of initializers) it was computed from.
    `exclusive` says that nothing else reads the node's output through this or another name.
    """

    shape: Shape
    node: int | None = None
    array: NDArray[Any] | None = None
    params: frozenset[str] = NO_PARAMS
    exclusive: bool = False

    @property
    def trained(self) -> bool:
        """False for a constant without parameters, such as the zero bias some exporters write."""
        return self.node is not None or bool(self.params)


@dataclass(slots=True)
class View:
    """The output is another name of `value`."""

    value: Value


@dataclass(slots=True)
class Call:
    """One node of the model. `inputs` keeps the gaps of omitted inputs; `shapes` has one entry per output."""

    op: str
    name: str
    inputs: list[Value | None]
    shapes: list[Shape]
    attributes: dict[str, Any]
    opset: int

    @property
    def shape(self) -> Shape:
        return self.shapes[0] if self.shapes else ()

    @property
    def before(self) -> Shape:
        """Shape of the first input."""
        return self.inputs[0].shape if self.inputs and self.inputs[0] is not None else ()

    def input(self, position: int) -> Value | None:
        return self.inputs[position] if position < len(self.inputs) else None

    def required(self, position: int) -> Value:
        value = self.input(position)
        if value is None:
            raise NetworkError(f"{self.op} node {self.name!r} lacks its input {position}; the file is broken")
        return value

    def trained(self, position: int) -> bool:
        """Whether an optional input, such as a bias, is there and trained."""
        value = self.input(position)
        return value is not None and value.trained

    def array(self, position: int) -> NDArray[Any] | None:
        """The value of a small constant input."""
        value = self.input(position)
        return value.array if value is not None else None

    def scalar(self, position: int) -> float | None:
        array = self.array(position)
        return float(array.reshape(-1)[0]) if array is not None and array.size == 1 else None

    def integers(self, name: str, default: tuple[int, ...] = ()) -> tuple[int, ...]:
        value = self.attributes.get(name, default)
        if not isinstance(value, (list, tuple)) or not all(isinstance(item, int) for item in value):
            raise self._wrong(name, "a list of integers", value)
        return tuple(value)

    def integer(self, name: str, default: int = 0) -> int:
        value = self.attributes.get(name, default)
        if not isinstance(value, int):
            raise self._wrong(name, "an integer", value)
        return value

    def number(self, name: str, default: float) -> float:
        value = self.attributes.get(name, default)
        if not isinstance(value, (int, float)):
            raise self._wrong(name, "a number", value)
        return float(value)

    def text(self, name: str, default: str) -> str:
        value = self.attributes.get(name, default)
        if not isinstance(value, str):
            raise self._wrong(name, "a string", value)
        return value

    def _wrong(self, name: str, wanted: str, value: object) -> NetworkError:
        return NetworkError(f"{self.op} node {self.name!r}: attribute {name!r} should be {wanted}, not {value!r:.80}")


Made = Node | View | list[Node | View]
Handler = Callable[[Call], Made]

_VIEWS = """Identity Reshape Transpose Flatten Squeeze Unsqueeze Expand Dropout Cast CastLike OptionalGetElement
Optional BitCast SplitToSequence"""

_SAME = """Relu Sigmoid Tanh Swish Mish HardSwish HardSigmoid Softplus Softsign Selu Erf PRelu Shrink Sub Pow Mod Sqrt
Exp Log Abs Neg Reciprocal Sign Floor Ceil Round Sin Cos Tan Asin Acos Atan Sinh Cosh Asinh Acosh Atanh Where Equal
And Or Not Xor IsNaN IsInf BitShift GatherElements GatherND Trilu OneHot TopK GridSample AffineGrid Col2Im
NonZero Unique Compress MaxUnpool DFT STFT MelWeightMatrix"""
"""Ops that archcast calls by their ONNX name and that need no attributes."""

SIMPLE = {
    **{name: name for name in _SAME.split()},
    "Glu": "SwiGLU",
    "Greater": "Greater GreaterOrEqual",
    "Less": "Less LessOrEqual",
    "Bitwise": "BitwiseAnd BitwiseOr BitwiseNot BitwiseXor",
    "ScatterND": "ScatterND TensorScatter",
    "ScatterElements": "ScatterElements Scatter",
    "CumSum": "CumSum CumProd",
    "Range": "Range EyeLike",
    "RoiAlign": "RoiAlign MaxRoiPool",
    "Window": "HannWindow HammingWindow BlackmanWindow",
    "Random": "RandomNormal RandomNormalLike RandomUniform RandomUniformLike Bernoulli Multinomial",
    "Constant": "ConstantOfShape Constant",
    "Size": "Shape Size NonMaxSuppression",
    "LpNormalization": "LpNormalization MeanVarianceNormalization",
    "Sequence": "SequenceConstruct SequenceEmpty SequenceErase SequenceInsert SequenceLength SequenceMap"
    " ConcatFromSequence ReverseSequence OptionalHasElement",
    "Text": "StringNormalizer StringConcat StringSplit RegexFullMatch TfIdfVectorizer ImageDecoder",
}  # fmt: skip

_REDUCTIONS = """ReduceMean ReduceSum ReduceMax ReduceMin ReduceProd ReduceL1 ReduceL2 ReduceLogSumExp ReduceSumSquare
ReduceLogSum"""
_REDUCTION_NAMES = {"ReduceSumSquare": "ReduceSum", "ReduceLogSum": "ReduceLogSumExp"}


def view(call: Call) -> Made:
    return View(call.required(0))


def simple(op: str) -> Handler:
    def handler(call: Call) -> Made:
        return [plain(op, shape) for shape in call.shapes]

    return handler


def _is_constant(call: Call, position: int, number: float) -> bool:
    """Whether an input is made of `number` alone and leaves the shape of the result to the other input."""
    value = call.input(position)
    if value is None or value.array is None or value.params or not value.array.size:
        return False
    return value.array.dtype.kind in "iuf" and bool(np.all(value.array == number))


def neutral(op: str, number: float, *, both: bool = True) -> Handler:
    """Add 0, Sub 0, Mul 1, Div 1 do nothing."""

    def handler(call: Call) -> Made:
        if len(call.inputs) == 1:
            return View(call.required(0))
        for position in (1, 0) if both else (1,):
            other = call.required(1 - position)
            if (
                _is_constant(call, position, number)
                and other.node is not None
                and prod(other.shape) == prod(call.shape)
            ):
                return View(other)
        return plain(op, call.shape)

    return handler


def multiply(call: Call) -> Made:
    if any(_is_constant(call, position, 0) for position in (0, 1)):
        return plain("Zero", call.shape)
    return neutral("Mul", 1)(call)


def variadic(op: str) -> Handler:
    """Sum, Mean, Min, Max of any number of inputs; of one it is the input itself."""

    def handler(call: Call) -> Made:
        if len(call.inputs) == 1:
            return View(call.required(0))
        if op in ("Min", "Max") and call.scalar(1) is not None and not call.required(1).params:
            bound = "max" if op == "Min" else "min"
            return attributed("Clip", call.shape, **{bound: float(call.scalar(1) or 0.0)})
        return plain(op, call.shape)

    return handler


def reduce(op: str) -> Handler:
    def handler(call: Call) -> Made:
        rank = len(call.before)
        array = call.array(1)
        axes = call.integers("axes") if array is None else tuple(int(axis) for axis in array.reshape(-1))
        if not axes:
            if call.integer("noop_with_empty_axes"):
                return View(call.required(0))
            axes = tuple(range(rank))
        if prod(call.shape) == prod(call.before) and op in ("ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin"):
            return View(call.required(0))
        return reduction(op, call.before, axes, call.shape)

    return handler


def extremum(op: str) -> Handler:
    """ArgMax, ArgMin."""

    def handler(call: Call) -> Made:
        return reduction(op, call.before, (call.integer("axis"),), call.shape)

    return handler


def _rounded(number: float) -> float:
    """A float32 of the file as the number that was meant: 0.1, not 0.10000000149011612."""
    return float(f"{number:.6g}")


def clip(call: Call) -> Made:
    bounds = {"min": call.scalar(1), "max": call.scalar(2)}
    if call.opset < 11:
        bounds = {name: call.number(name, 0.0) for name in ("min", "max") if name in call.attributes}
    numbers = {name: _rounded(bound) for name, bound in bounds.items() if bound is not None and abs(bound) < 3e38}
    return attributed("Clip", call.shape, **numbers)


def with_number(op: str, default: float) -> Handler:
    def handler(call: Call) -> Made:
        return attributed(op, call.shape, alpha=_rounded(call.number("alpha", default)))

    return handler


def gelu(call: Call) -> Made:
    approximate = call.text("approximate", "none")
    return (
        plain("Gelu", call.shape) if approximate == "none" else attributed("Gelu", call.shape, approximate=approximate)
    )


def softmax(op: str) -> Handler:
    def handler(call: Call) -> Made:
        axis = call.integer("axis", 1 if call.opset < 13 else -1)
        return attributed(op, call.shape, axis=axis % max(len(call.shape), 1))

    return handler


def cat(call: Call) -> Made:
    parts = [value for value in call.inputs if value is not None and prod(value.shape) > 0]
    if len(parts) == 1:
        return View(parts[0])
    axis = call.integer("axis", 1) % max(len(call.shape), 1)
    if not all(len(part.shape) == len(call.shape) for part in parts) or not parts:
        return attributed("Concat", call.shape, axis=axis)
    return concat(tuple(part.shape for part in parts), axis)


def _keeps_all(index: NDArray[Any], shape: Shape, axis: int) -> bool:
    """Whether indexing `axis` picks every entry in order, as an exported `as_strided` does."""
    return bool(shape) and np.array_equal(index.reshape(-1), np.arange(shape[axis % len(shape)]))


def gather(call: Call) -> Made:
    """An embedding, a `Slice` by a constant index, or rows picked by position."""
    data, index = call.required(0), call.required(1)
    if data.node is None and data.params and len(data.shape) == 2 and index.node is not None:
        return embedding(call.shape, *data.shape)
    if index.node is None and data.node is not None:
        if index.array is not None and _keeps_all(index.array, data.shape, call.integer("axis")):
            return View(data)
        if prod(call.shape) == prod(data.shape) and prod(index.shape) == 1:
            return View(data)
        if prod(index.shape) == 1:
            return plain("Slice", call.shape)
    return plain("Gather", call.shape)


def cut(call: Call) -> Made:
    """Slice; a view where nothing is dropped."""
    return View(call.required(0)) if call.shape == call.before else plain("Slice", call.shape)


def split(call: Call) -> Made:
    if len(call.shapes) == 1:
        return View(call.required(0))
    return [plain("Slice", shape) for shape in call.shapes]


def tile(call: Call) -> Made:
    return View(call.required(0)) if prod(call.shape) == prod(call.before) else plain("Tile", call.shape)


def pad(call: Call) -> Made:
    if call.shape == call.before:
        return View(call.required(0))
    return plain("Pad" if prod(call.shape) >= prod(call.before) else "Slice", call.shape)


def resize(call: Call) -> Made:
    if call.shape == call.before:
        return View(call.required(0))
    mode = call.text("mode", "nearest")
    if mode in ("linear", "cubic"):
        mode = {"linear": {3: "linear", 4: "bilinear", 5: "trilinear"}, "cubic": {4: "bicubic"}}[mode].get(
            len(call.shape), mode
        )
    return attributed("Resize", call.shape, mode=mode)


def shuffle(call: Call) -> Made:
    return attributed(call.op, call.shape, block=call.integer("blocksize", 1))


def _table() -> dict[str, Handler]:
    table: dict[str, Handler] = dict.fromkeys(_VIEWS.split(), view)
    for op, names in SIMPLE.items():
        table.update(dict.fromkeys(names.split(), simple(op)))
    table.update({name: reduce(_REDUCTION_NAMES.get(name, name)) for name in _REDUCTIONS.split()})
    table |= {
        "Add": neutral("Add", 0), "Sub": neutral("Sub", 0, both=False), "Mul": multiply,
        "Div": neutral("Div", 1, both=False), "Sum": variadic("Add"), "Mean": variadic("Add"), "Min": variadic("Min"),
        "Max": variadic("Max"), "ArgMax": extremum("ArgMax"), "ArgMin": extremum("ArgMin"), "Clip": clip, "Gelu": gelu,
        "LeakyRelu": with_number("LeakyRelu", 0.01), "Elu": with_number("Elu", 1.0), "Celu": with_number("Celu", 1.0),
        "ThresholdedRelu": with_number("ThresholdedRelu", 1.0), "Softmax": softmax("Softmax"),
        "LogSoftmax": softmax("LogSoftmax"), "Hardmax": softmax("Softmax"), "Concat": cat, "Gather": gather,
        "Slice": cut, "SequenceAt": simple("Slice"), "Split": split, "Tile": tile, "Pad": pad, "Resize": resize,
        "Upsample": resize, "CenterCropPad": pad, "DepthToSpace": shuffle, "SpaceToDepth": shuffle,
    }  # fmt: skip
    from archcast.graphs.onnx_ops_layers import LAYERS

    return {**table, **LAYERS}


HANDLERS: dict[str, Handler] = {}
"""Op type -> its handler; filled by `handlers` on first use, because the layers import this module."""


def handlers() -> dict[str, Handler]:
    if not HANDLERS:
        HANDLERS.update(_table())
    return HANDLERS
