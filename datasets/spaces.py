"""Names of the search spaces, and graphs and modules from prefixed specs such as `nasbench201:|nor_conv_3x3~0|+...`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from archcast.datasets.accel_nasbench import AccelNASBench
from archcast.datasets.autoformer import AutoFormer, ViTBenchAutoFormer
from archcast.datasets.darts import Darts
from archcast.datasets.mini_cells import MiniCells
from archcast.datasets.mini_mixers import MiniMixers
from archcast.datasets.mini_shapes import MiniShapes
from archcast.datasets.mini_transformers import MiniTransformers
from archcast.datasets.nas_bench_bert import NASBenchBert, NASBenchBertTrained
from archcast.datasets.nasbench101 import NASBench101
from archcast.datasets.nasbench201 import NASBench201
from archcast.datasets.nasbench_macro import NASBenchMacro
from archcast.datasets.nats_sss import NatsSizeSpace
from archcast.datasets.ofa_mobilenetv3 import MemoryOptimizedOFA, OFAMobileNetV3
from archcast.datasets.pit import PiT
from archcast.datasets.space import SearchSpace
from archcast.datasets.transnas101_macro import TransNas101Macro
from archcast.datasets.transnas101_micro import TransNas101Micro
from archcast.datasets.zoo_space import PytorchcvZoo, TorchvisionZoo
from archcast.errors import UnknownNameError
from archcast.graphs.graph import ComputationGraph

if TYPE_CHECKING:
    from archcast.graphs.modules import Buildable

SPACES: Final[dict[str, SearchSpace[Any]]] = {
    "nasbench101": NASBench101(),
    "nasbench201": NASBench201(),
    "nas-bench-macro": NASBenchMacro(),
    "nats-sss": NatsSizeSpace(),
    "transnas101-micro": TransNas101Micro(),
    "transnas101-macro": TransNas101Macro(),
    "darts": Darts(),
    "autoformer": AutoFormer(),
    "vit-bench-autoformer": ViTBenchAutoFormer(),
    "pit": PiT(),
    "nas-bench-bert": NASBenchBert(),
    "nas-bench-bert-trained": NASBenchBertTrained(),
    "accel-nasbench": AccelNASBench(),
    "ofa-mobilenetv3": OFAMobileNetV3(),
    "ofa-mobilenetv3-mcofa": MemoryOptimizedOFA(),
    "mini-cells": MiniCells(),
    "mini-shapes": MiniShapes(),
    "mini-transformers": MiniTransformers(),
    "mini-mixers": MiniMixers(),
    "zoo-torchvision": TorchvisionZoo(),
    "zoo-pytorchcv": PytorchcvZoo(),
}
"""Benchmark name -> its space, with 32 x 32 colour images."""


def get_space(name: str) -> SearchSpace[Any]:
    """The space called `name`.

    Raises:
        UnknownNameError: there is none; the message lists the names.
    """
    if name not in SPACES:
        raise UnknownNameError(f"there is no search space called {name!r}; use one of {', '.join(SPACES)}")
    return SPACES[name]


def capture_spec(prefix: str, spec: str) -> ComputationGraph:
    """The graph of one spec of the space `prefix`, with ten classes.

    Raises:
        UnknownNameError: there is no such space.
        SpecError: `spec` does not belong to it.
    """
    return get_space(prefix).graph(spec)


def build_spec(prefix: str, spec: str, small: bool = False) -> Buildable:
    """What builds the network of one spec of the space `prefix`, or its small stand-in, with its own number of classes.

    Raises:
        UnknownNameError: there is no such space.
        SpecError: `spec` does not belong to it.
    """
    space = get_space(prefix)
    return (space.small() if small else space).buildable(spec)
