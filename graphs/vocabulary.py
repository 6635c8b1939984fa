"""The op vocabulary: one name for every operation a network can hold.

Names follow ONNX where ONNX has the operation (`Conv`, `Gemm`, `LayerNormalization`), and read like
ONNX where it has not (`Zero`, `Glu`, `GraphConv`). Each op belongs to one *class*, the
coarse kind that statistics and path features count by.

Conventions that both front ends (torch, ONNX) follow:

- `Gemm` is any product with a weight matrix, whatever the rank of its input; `MatMul` multiplies two activations.
- `Gather` with parameters is an embedding table.
- `GlobalAveragePool` is a mean over all spatial positions, however it was written.
- Every node has one output. Splitting ops (split, chunk, unbind) become one `Slice` per output used.
- Views and no-ops (reshape, transpose, flatten, expand, identity, dropout, casts) do not appear.
- `Zero` is a product with the constant 0: what follows it carries no signal.
"""

from __future__ import annotations

from typing import Final

_CLASSES: Final[dict[str, str]] = {
    "io": "Input Output",
    "constant": "Constant Zero Random Range",
    "conv": "Conv ConvTranspose DeformConv",
    "linear": "Gemm MatMul Einsum Bilinear",
    "normalization": "BatchNormalization LayerNormalization GroupNormalization InstanceNormalization"
    " RMSNormalization LpNormalization LRN",
    "activation": "Relu LeakyRelu PRelu Clip Elu Selu Celu Gelu Sigmoid HardSigmoid HardSwish Swish Mish"
    " Tanh Softplus Softsign Softmax LogSoftmax LogSigmoid Glu ThresholdedRelu HardTanh Shrink Erf",
    "pool": "MaxPool AveragePool LpPool GlobalAveragePool GlobalMaxPool",
    "attention": "Attention",
    "recurrent": "LSTM GRU RNN",
    "elementwise": "Add Sub Mul Div Pow Mod Min Max Sqrt Exp Log Abs Neg Reciprocal Sign Floor Ceil Round"
    " Sin Cos Tan Asin Acos Atan Sinh Cosh Asinh Acosh Atanh Where Equal Greater Less And Or Not Xor"
    " Bitwise BitShift IsNaN IsInf",
    "reduce": "ReduceMean ReduceSum ReduceMax ReduceMin ReduceProd ReduceL1 ReduceL2 ReduceLogSumExp ReduceVar"
    " ArgMax ArgMin TopK Sort CumSum",
    "index": "Gather GatherElements GatherND ScatterND ScatterElements Slice Concat Pad Tile Roll OneHot"
    " Trilu NonZero Unique Compress Size",
    "resample": "Resize DepthToSpace SpaceToDepth GridSample AffineGrid RoiAlign Im2Col Col2Im MaxUnpool",
    "graph": "GraphConv GraphAttention GraphSage GraphIsomorphism GraphCheb GraphArma GraphTransformer SegmentReduce",
    "spectral": "DFT STFT MelWeightMatrix Window",
    "quantization": "QuantizeLinear DequantizeLinear",
    "control": "If Loop Scan Sequence Text",
    "unknown": "Unknown",
}

OP_CLASS: Final[dict[str, str]] = {op: kind for kind, ops in _CLASSES.items() for op in ops.split()}
"""Canonical op name -> its class."""

OPS: Final[tuple[str, ...]] = tuple(OP_CLASS)
"""All canonical op names, in a fixed order (the order of op indices)."""

OP_INDEX: Final[dict[str, int]] = {op: index for index, op in enumerate(OPS)}

OP_CLASSES: Final[tuple[str, ...]] = tuple(_CLASSES)
"""All classes, in a fixed order."""
