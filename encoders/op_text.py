"""Where an operator stands by its text: one fixed vector per op name.

TG-NAS (Qiu et al., 2024) embeds operators by a sentence embedding of their description, so that a predictor can
place an operator it was never trained on. Here the text is the op's name, its class and one line on what it computes.
Each word is a bag of character n-grams, each n-gram a fixed random vector of signs read off its hash:

    text(op) = unit(name n-grams) + .7 unit(class n-grams) + .7 unit(description n-grams), scaled to length 1

A random projection keeps cosines to about `1 / sqrt(WIDTH)`. A name outside the vocabulary has no class and no
description; it borrows those of the ops whose names resemble its own, in proportion to the cube of the cosine, and
the less the best of them resembles it.
"""

from __future__ import annotations

import hashlib
import re
from functools import cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from archcast.graphs.vocabulary import OP_CLASS, OPS

WIDTH: Final = 128
"""Length of a text vector."""

_GRAMS: Final = (3, 4, 5)
_WEIGHTS: Final = (1.0, 0.7, 0.7)  # name, class, description

_CHANCE: Final = 0.25  # the largest cosine of unrelated names

_CLASS_TEXT: Final[dict[str, str]] = {
    "io": "input output of the network",
    "constant": "constant value without input",
    "conv": "convolution, local spatial filter with weights",
    "linear": "linear matrix product",
    "normalization": "normalization of the mean and variance",
    "activation": "activation, pointwise nonlinearity",
    "pool": "pooling, spatial reduction without weights",
    "attention": "attention between tokens",
    "recurrent": "recurrent state over a sequence",
    "elementwise": "elementwise arithmetic",
    "reduce": "reduction over an axis",
    "index": "indexing and moving of elements",
    "resample": "resampling of the spatial grid",
    "graph": "graph message passing between neighbours",
    "spectral": "spectral transform of frequencies",
    "quantization": "quantization to integers",
    "control": "control flow",
    "unknown": "",
}

_DESCRIPTIONS: Final[dict[str, str]] = {
    "Input": "data enters",
    "Output": "result leaves",
    "Constant": "fixed tensor",
    "Zero": "no signal passes",
    "Random": "noise sample",
    "Range": "counting positions",
    "Conv": "sliding kernel mixes channels",
    "ConvTranspose": "transposed sliding kernel upsamples",
    "DeformConv": "sliding kernel with learnt offsets",
    "Gemm": "weights times features, dense fully connected layer",
    "MatMul": "product of two activations",
    "Einsum": "tensor contraction of activations",
    "Bilinear": "weights between two features",
    "BatchNormalization": "batch statistics per channel",
    "LayerNormalization": "statistics over the features of a token",
    "GroupNormalization": "statistics over a group of channels",
    "InstanceNormalization": "statistics per channel of a sample",
    "RMSNormalization": "root mean square of the features of a token",
    "LpNormalization": "unit vector norm",
    "LRN": "local response of neighbouring channels",
    "Relu": "rectified linear unit, negative part is zero",
    "LeakyRelu": "rectified linear unit, negative part is scaled",
    "PRelu": "rectified linear unit, negative slope is learnt",
    "Clip": "bounded between limits, relu6",
    "Elu": "exponential linear unit, negative part saturates",
    "Selu": "scaled exponential linear unit",
    "Celu": "continuous exponential linear unit",
    "Gelu": "gaussian error linear unit, smooth relu",
    "Sigmoid": "logistic gate between zero and one",
    "HardSigmoid": "piecewise linear gate between zero and one",
    "HardSwish": "input times piecewise linear gate, smooth relu",
    "Swish": "input times logistic gate, silu, smooth relu",
    "Mish": "input times tanh of softplus, smooth relu",
    "Tanh": "hyperbolic tangent between minus one and one",
    "Softplus": "smooth relu, log of one plus exp",
    "Softsign": "saturating ratio",
    "Softmax": "normalized exponential, probabilities over an axis",
    "LogSoftmax": "log of probabilities over an axis",
    "LogSigmoid": "log of a logistic gate",
    "Glu": "gated linear unit, one half gates the other",
    "ThresholdedRelu": "rectified above a threshold",
    "HardTanh": "bounded between minus one and one",
    "Shrink": "small values become zero",
    "Erf": "gaussian error function",
    "MaxPool": "largest value of a window",
    "AveragePool": "mean value of a window",
    "LpPool": "norm of a window",
    "GlobalAveragePool": "mean over all positions",
    "GlobalMaxPool": "largest value over all positions",
    "Attention": "softmax of query key products mixes values, multi head self attention",
    "LSTM": "long short term memory with gates",
    "GRU": "gated recurrent unit",
    "RNN": "plain recurrent tanh",
    "Add": "sum of two, residual shortcut",
    "Sub": "difference of two",
    "Mul": "product of two, gate or scale",
    "Div": "ratio of two",
    "Pow": "power, square",
    "Mod": "remainder",
    "Min": "smaller of two",
    "Max": "larger of two",
    "Sqrt": "square root",
    "Exp": "exponential",
    "Log": "natural logarithm",
    "Abs": "absolute value",
    "Neg": "sign change",
    "Reciprocal": "one over",
    "Sign": "sign of a number",
    "Floor": "rounding down",
    "Ceil": "rounding up",
    "Round": "rounding to the nearest",
    "Sin": "sine, periodic",
    "Cos": "cosine, periodic",
    "Tan": "tangent, periodic",
    "Asin": "inverse sine",
    "Acos": "inverse cosine",
    "Atan": "inverse tangent",
    "Sinh": "hyperbolic sine",
    "Cosh": "hyperbolic cosine",
    "Asinh": "inverse hyperbolic sine",
    "Acosh": "inverse hyperbolic cosine",
    "Atanh": "inverse hyperbolic tangent",
    "Where": "choice by a mask",
    "Equal": "comparison",
    "Greater": "comparison",
    "Less": "comparison",
    "And": "logic",
    "Or": "logic",
    "Not": "logic",
    "Xor": "logic",
    "Bitwise": "logic of bits",
    "BitShift": "shift of bits",
    "IsNaN": "test of a number",
    "IsInf": "test of a number",
    "ReduceMean": "mean over axes",
    "ReduceSum": "sum over axes",
    "ReduceMax": "largest over axes",
    "ReduceMin": "smallest over axes",
    "ReduceProd": "product over axes",
    "ReduceL1": "sum of absolute values over axes",
    "ReduceL2": "euclidean norm over axes",
    "ReduceLogSumExp": "log of summed exponentials over axes",
    "ReduceVar": "variance over axes",
    "ArgMax": "position of the largest",
    "ArgMin": "position of the smallest",
    "TopK": "largest few",
    "Sort": "sorted order",
    "CumSum": "running sum",
    "Gather": "rows looked up by index, embedding table",
    "GatherElements": "elements looked up",
    "GatherND": "slices looked up",
    "ScatterND": "slices written by index",
    "ScatterElements": "elements written by index",
    "Slice": "part of a tensor, split, crop",
    "Concat": "tensors joined along an axis, dense shortcut",
    "Pad": "border added",
    "Tile": "copies repeated",
    "Roll": "cyclic shift",
    "OneHot": "class indicator",
    "Trilu": "triangle mask, causal",
    "NonZero": "positions that are not zero",
    "Unique": "distinct values",
    "Compress": "selection by a mask",
    "Size": "number of elements",
    "Resize": "interpolation to another size, upsample",
    "DepthToSpace": "channels to positions, pixel shuffle",
    "SpaceToDepth": "positions to channels, pixel unshuffle",
    "GridSample": "interpolation at given points",
    "AffineGrid": "points of an affine map",
    "RoiAlign": "region cropped",
    "Im2Col": "windows unfolded into columns",
    "Col2Im": "columns folded into windows",
    "MaxUnpool": "window maximum undone",
    "GraphConv": "neighbour features averaged, then weights",
    "GraphAttention": "neighbours weighted by attention",
    "GraphSage": "sampled neighbours aggregated",
    "GraphIsomorphism": "neighbours summed, then perceptron",
    "GraphCheb": "chebyshev polynomial filter",
    "GraphArma": "autoregressive moving average filter",
    "GraphTransformer": "neighbours weighted by query key attention",
    "SegmentReduce": "reduction over each segment",
    "DFT": "fourier transform",
    "STFT": "short time fourier transform",
    "MelWeightMatrix": "mel frequency bands",
    "Window": "window function",
    "QuantizeLinear": "float to integer",
    "DequantizeLinear": "integer to float",
    "If": "branch",
    "Loop": "iteration",
    "Scan": "iteration over a sequence",
    "Sequence": "list of tensors",
    "Text": "strings",
    "Unknown": "",
}
"""What each op computes, in a few words that kindred ops share."""


@cache
def op_text(op: str, name: str = "") -> NDArray[np.float32]:
    """`[WIDTH]` unit vector of an op; the same in every process.

    Args:
        op: a name of the vocabulary.
        name: what an `Unknown` op is called.
    """
    if op != "Unknown":
        return _unit(_name_vector(op) + _meaning_vector(op))
    own = _name_vector(name)
    if not own.any():
        return own
    known = [other for other in OPS if other != "Unknown"]
    alike = np.maximum(np.stack([_name_vector(other) for other in known]) @ own, 0) ** 3
    meaning = alike @ np.stack([_meaning_vector(other) for other in known])
    trust = max(float(np.cbrt(alike.max())) - _CHANCE, 0) / (1 - _CHANCE)
    return _unit(own + np.float32(trust * np.hypot(*_WEIGHTS[1:])) * _unit(meaning))


@cache
def _name_vector(name: str) -> NDArray[np.float32]:
    words = _words(name)
    return _unit(_bag([*words, "".join(words)] if len(words) > 1 else words))  # whole, for `ReLU` and `conv2d`


def _meaning_vector(op: str) -> NDArray[np.float32]:
    kind, description = _words(_CLASS_TEXT[OP_CLASS[op]]), _words(_DESCRIPTIONS[op])
    result: NDArray[np.float32] = _WEIGHTS[1] * _unit(_bag(kind)) + _WEIGHTS[2] * _unit(_bag(description))
    return result


def _words(text: str) -> list[str]:
    """`HardSwish`, `hard_swish` and `hard swish` are the words hard, swish."""
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", text)
    return re.findall(r"[a-z]+|[0-9]+", spaced.lower())


def _bag(words: list[str]) -> NDArray[np.float32]:
    total = np.zeros(WIDTH, np.float32)
    for word in words:
        marked = f"<{word}>"
        grams = {marked} | {marked[i : i + n] for n in _GRAMS for i in range(len(marked) - n + 1)}
        total += _unit(np.sum([_signs(gram) for gram in sorted(grams)], axis=0))
    return total


@cache
def _signs(gram: str) -> NDArray[np.float32]:
    digest = np.frombuffer(hashlib.blake2b(gram.encode(), digest_size=WIDTH // 8).digest(), np.uint8)
    return np.unpackbits(digest).astype(np.float32) * 2 - 1


def _unit(vector: NDArray[np.float32]) -> NDArray[np.float32]:
    length = float(np.linalg.norm(vector))
    return vector.astype(np.float32) / np.float32(length if length > 0 else 1)
