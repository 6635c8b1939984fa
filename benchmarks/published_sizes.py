"""Sizes of networks as their authors published them, or as their released code counts them.

Read by `benchmarks.builders_faithful` and by the tests of each space, so that no number stands in two places.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from archcast.graphs.graph import ComputationGraph

NASBENCH101: Final = (
    "0111010000000100000010000100000000100000010000000:"
    "input,conv1x1-bn-relu,conv3x3-bn-relu,conv3x3-bn-relu,conv3x3-bn-relu,maxpool3x3,output",
    2_694_282,
)
"""The inception-like example of the authors' repository."""

NATS_SIZES: Final = {"8:8:8:8:8": 11_714, "8:8:16:40:40": 107_826, "64:64:64:64:64": 713_674}
"""Three sizes stored in the official file NATS-sss-v1_0 (CIFAR-10)."""

EFFICIENTNET_B0: Final = 5_288_548
"""The official EfficientNet-B0: the same layers as in Accel-NASBench, with another activation."""

TRANSNAS_LARGEST: Final = "64-41414-3_33_333"

TRANSNAS_SIZES: Final = (
    ("taskonomy-scene", 47, 41_435_727),
    ("taskonomy-object", 75, 41_450_091),
    ("taskonomy-room-layout", 9, 41_416_233),
    ("taskonomy-jigsaw", 1000, 46_020_616),
    ("taskonomy-segmentation", 17, 52_435_793),
    ("taskonomy-normal", 3, 64_283_475),
    ("taskonomy-autoencoder", 3, 64_283_475),
)
"""Task, outputs and parameters of the largest cell with the released encoder and decoders, by an independent port.

The released configuration of scene has 47 outputs; the published tables of proxies were made with 63.
"""


def ofa_extreme(size: int, depth: int, kernel: int, expansion: int) -> str:
    """The once-for-all spec whose blocks are all alike."""
    return f"r{size}-d{str(depth) * 5}-k{str(kernel) * 5 * depth}-e{str(expansion) * 5 * depth}"


OFA_SIZES: Final = ((ofa_extreme(224, 4, 7, 6), 7_664_760), (ofa_extreme(128, 2, 3, 3), 3_410_792))
"""The largest and the smallest sub-network, counted by hand from the official definition of the supernet."""

MCOFA_PEAK: Final = 583_200
"""Values of activations and weights that the largest layer of a searched memory-optimized network holds.

It is the widening convolution of the fourth stage, with expansion 4, at 192 pixels.
"""


def mcofa_peak(graph: ComputationGraph) -> int:
    """What `MCOFA_PEAK` counts, of the first widening convolution of 360 to 1440 channels: input, weights, output."""
    layer = next(
        node for node in graph.nodes if node.op == "Conv" and node.get("in_channels") == 360 and node.shape[1] == 1440
    )
    _, channels, height, width = layer.shape
    return 360 * height * width + layer.params + channels * height * width


def thop_macs(graph: ComputationGraph) -> int:
    """MACs as the counter of Accel-NASBench gives them: it counts batch normalisation and pooling too."""
    total = graph.macs
    sources = dict(zip(graph.edge_index[1].tolist(), graph.edge_index[0].tolist(), strict=True))
    for position, node in enumerate(graph.nodes):
        if node.op == "BatchNormalization":
            total += 4 * int(np.prod(node.shape))
        elif node.op == "GlobalAveragePool":
            total += int(np.prod(graph.nodes[sources[position]].shape)) + int(np.prod(node.shape))
    return total


Edge = tuple[str, int]


def genotype(normal: Sequence[Edge], reduce: Sequence[Edge], concat: str = "range(2, 6)", reduced: str = "") -> str:
    """As the DARTS code prints it."""
    return (
        f"Genotype(normal={list(normal)}, normal_concat={concat}, reduce={list(reduce)}, "
        f"reduce_concat={reduced or concat})"
    )


def edges(text: str) -> list[Edge]:
    """`s3 1, k 0` -> [("sep_conv_3x3", 1), ("skip_connect", 0)]."""
    names = {
        **{f"s{k}": f"sep_conv_{k}x{k}" for k in (3, 5, 7)},
        **{f"d{k}": f"dil_conv_{k}x{k}" for k in (3, 5)},
        "k": "skip_connect",
        "m": "max_pool_3x3",
        "a": "avg_pool_3x3",
        "c": "conv_7x1_1x7",
    }
    return [(names[word.split()[0]], int(word.split()[1])) for word in text.split(",")]


DARTS_V1: Final = genotype(
    edges("s3 1, s3 0, k 0, s3 1, k 0, s3 1, s3 0, k 2"),
    edges("m 0, m 1, k 2, m 0, m 0, k 2, k 2, a 0"),
    "[2, 3, 4, 5]",
)
DARTS_V2: Final = genotype(
    edges("s3 0, s3 1, s3 0, s3 1, s3 1, k 0, k 0, d3 2"), edges("m 0, m 1, k 2, m 1, m 0, k 2, k 2, m 1")
)
P_DARTS: Final = genotype(
    edges("k 0, d3 1, k 0, s3 1, s3 1, s3 3, s3 0, d5 4"), edges("a 0, s5 1, s3 0, d5 2, m 0, d3 1, d3 1, d5 3")
)
PC_DARTS: Final = genotype(
    edges("s3 1, k 0, s3 0, d3 1, s5 0, s3 1, a 0, d3 1"), edges("s5 1, m 0, s5 1, s5 2, s3 0, s3 3, s3 1, s3 2")
)
AMOEBANET: Final = genotype(
    edges("a 0, m 1, s3 0, s5 2, s3 0, a 3, s3 1, k 1, k 0, a 1"),
    edges("a 0, s3 1, m 0, s7 2, s7 0, a 1, m 0, m 1, c 0, s3 5"),
    "[4, 5, 6]",
    "[3, 4, 6]",
)

DARTS_SIZES: Final = {
    "DARTS_V1": (DARTS_V1, 3_169_414),
    "DARTS_V2": (DARTS_V2, 3_349_342),
    "P-DARTS": (P_DARTS, 3_433_798),
    "PC-DARTS": (PC_DARTS, 3_634_678),
    "AmoebaNet-A": (AMOEBANET, 3_145_078),
}
"""36 channels, 20 cells: the papers say 3.3 million (second order), 3.4, 3.6, and 3.1 for AmoebaNet-A in this code."""

NASBENCH301_CONFIGURATION: Final = {
    "edge_normal_0": "skip_connect",
    "edge_normal_1": "sep_conv_3x3",
    "edge_normal_2": "sep_conv_3x3",
    "edge_normal_3": "skip_connect",
    "edge_normal_5": "dil_conv_3x3",
    "edge_normal_7": "dil_conv_5x5",
    "edge_normal_10": "sep_conv_3x3",
    "edge_normal_11": "skip_connect",
    "edge_reduce_0": "max_pool_3x3",
    "edge_reduce_1": "avg_pool_3x3",
    "edge_reduce_2": "skip_connect",
    "edge_reduce_3": "dil_conv_5x5",
    "edge_reduce_6": "sep_conv_3x3",
    "edge_reduce_7": "sep_conv_5x5",
    "edge_reduce_11": "sep_conv_3x3",
    "edge_reduce_12": "dil_conv_3x3",
    "inputs_node_normal_3": "0_1",
    "inputs_node_normal_4": "0_2",
    "inputs_node_normal_5": "1_2",
    "inputs_node_reduce_3": "0_1",
    "inputs_node_reduce_4": "1_2",
    "inputs_node_reduce_5": "2_3",
}
"""The architecture of a result in the repository of NAS-Bench-301."""

NASBENCH301_SIZE: Final = 6_369_358
"""Its recorded parameters, with 50 channels, 20 cells and the auxiliary classifier."""


def _autoformer(embedding: int, heads: str, ratios: list[float]) -> str:
    return f"{embedding}:" + ",".join(f"{h}x{r:g}" for h, r in zip(heads.split(), ratios, strict=True))


AUTOFORMER_S: Final = _autoformer(384, "6 6 5 7 5 5 5 6 6 7 7 6 7", [3, 3.5, 3, 3.5, 4, 4, 4, 4, 4, 4, 4, 3.5, 4])
AUTOFORMER_B: Final = _autoformer(
    576, "9 9 9 9 9 10 9 9 10 9 10 9 9 10", [3.5, 3.5, 4, 3.5, 4, 3.5, 3.5, 3, 4, 4, 3, 4, 3, 3.5]
)

AUTOFORMER_MILLIONS: Final = {AUTOFORMER_S: 22.9, AUTOFORMER_B: 53.7}
"""Millions of parameters of the searched networks S and B; the paper says 22.9 and 54."""

PIT_SIZES: Final = {
    "Ti": (32, (2, 4, 8), 4_847_272),
    "XS": (48, (2, 4, 8), 10_618_888),
    "S": (48, (3, 6, 12), 23_461_912),
}
"""Base width, heads and parameters, as timm counts them, of the published PiTs: 4.9, 10.6 and 23.5 million."""

BERT_SIZES: Final = {
    "wma.4.1024x3,dct.2.1024x3,sdp.4.1024x3,sdp.4.1024x1": 13_330_176,
    "sdp.4.1024x1,dct.2.1024x1,dsc9.4.1024x3,dft.4.1024x1": 8_840_082,
    "dsc9.4.1024x1,dsc5.2.1024x1": 5_526_167,
    "dft.4.1024x3,sdp.4.1024x3": 9_585_920,
}
"""Encoders of hidden size 256 in the authors' table of measurements, which has no classifier."""
