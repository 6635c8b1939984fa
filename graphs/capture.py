"""`capture`: any network -> `ComputationGraph`."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor
from functools import partial
from pathlib import Path
from typing import Any

from archcast.errors import CaptureError, NetworkError, UnknownNameError
from archcast.graphs.graph import ComputationGraph

InputShape = Sequence[int] | Sequence[Sequence[int]]

SPEC_RESOLVERS: dict[str, str] = {
    "nasbench201": "archcast.datasets.spaces:capture_spec",
    "nasbench101": "archcast.datasets.spaces:capture_spec",
    "nas-bench-macro": "archcast.datasets.spaces:capture_spec",
    "nats-sss": "archcast.datasets.spaces:capture_spec",
    "transnas101-micro": "archcast.datasets.spaces:capture_spec",
    "transnas101-macro": "archcast.datasets.spaces:capture_spec",
    "darts": "archcast.datasets.spaces:capture_spec",
    "autoformer": "archcast.datasets.spaces:capture_spec",
    "vit-bench-autoformer": "archcast.datasets.spaces:capture_spec",
    "pit": "archcast.datasets.spaces:capture_spec",
    "nas-bench-bert": "archcast.datasets.spaces:capture_spec",
    "nas-bench-bert-trained": "archcast.datasets.spaces:capture_spec",
    "accel-nasbench": "archcast.datasets.spaces:capture_spec",
    "ofa-mobilenetv3": "archcast.datasets.spaces:capture_spec",
    "ofa-mobilenetv3-mcofa": "archcast.datasets.spaces:capture_spec",
    "mini-cells": "archcast.datasets.spaces:capture_spec",
    "mini-shapes": "archcast.datasets.spaces:capture_spec",
    "mini-transformers": "archcast.datasets.spaces:capture_spec",
    "mini-mixers": "archcast.datasets.spaces:capture_spec",
}
"""Prefix of a benchmark spec -> "module:function" that turns (prefix, spec) into a graph.

Named, not imported: this folder depends on nothing to the right of it.
"""

ZOOS = ("timm", "torchvision", "pytorchcv", "transformers")


def capture(network: Any, input_shape: InputShape | None = None, *, name: str = "") -> ComputationGraph:
    """The computation graph of any network.

    Args:
        network: a `torch.nn.Module`, a callable that returns one, a path to an ONNX file, an
            `onnx.ModelProto`, a `torch.export.ExportedProgram`, a zoo name (`"timm:resnet50"`,
            `"torchvision:..."`, `"pytorchcv:..."`, `"transformers:bert"`), a benchmark spec
            (`"nasbench201:|nor_conv_3x3~0|+..."`), or a graph, which is returned as it is.
        input_shape: shape of the input, or a list of shapes for several inputs, batch first (the batch is set
            to 1). By default the zoo's own size, or what the first layer needs.
        name: name of the graph; by default what `network` calls itself.

    Raises:
        NetworkError: `network` is none of the above.
        UnknownNameError: a zoo or benchmark name that does not exist.
        CaptureError: the network cannot be run or traced; the message lists every way that was tried.
    """
    if isinstance(network, ComputationGraph):
        return network
    return canonical(_front_end(network)(network, input_shape, name))


def canonical(graph: ComputationGraph) -> ComputationGraph:
    from archcast.graphs.canonical import canonicalise

    return canonicalise(graph)


def capture_all(
    networks: Iterable[Any],
    input_shape: InputShape | None = None,
    *,
    executor: Executor | None = None,
    progress: bool = True,
) -> list[ComputationGraph]:
    """`capture` for many networks, in order, with a progress bar.

    Args:
        executor: captures them at the same time: `archcast.ray_executor.RayExecutor` on many machines.

    Raises:
        NetworkError: one is no network, or cannot be run.
        WorkerError: one kills the workers that capture it.
    """
    from tqdm import tqdm

    from archcast.spreading import chunk_size, spread

    items = list(networks)
    graphs: dict[int, ComputationGraph] = {}
    capturing = spread(executor, partial(_capture_some, input_shape), items, chunk_size(len(items)))
    for row, graph in tqdm(capturing, "capture", total=len(items), disable=not progress):
        if isinstance(graph, Exception):
            raise graph
        graphs[row] = graph
    return [graphs[row] for row in range(len(items))]


def _capture_some(input_shape: InputShape | None, networks: list[Any]) -> list[ComputationGraph]:
    return [capture(network, input_shape) for network in networks]


FrontEnd = Callable[[Any, InputShape | None, str], ComputationGraph]


def _front_end(network: Any) -> FrontEnd:
    if isinstance(network, str) and not network.lower().endswith(".onnx") and not is_path(network):
        return _from_name
    if isinstance(network, (str, Path)) or type(network).__name__ == "ModelProto":
        return _from_onnx
    if type(network).__module__.startswith("torch.export"):
        return _from_exported
    if callable(network):  # nn.Module is callable too; torch is imported only now
        return _from_torch
    raise NetworkError(
        f"a {type(network).__name__} is not a network; give a torch.nn.Module, a callable that returns one, an ONNX "
        "file or model, an ExportedProgram, a zoo name such as 'timm:resnet50', or a benchmark spec"
    )


def is_path(text: str) -> bool:
    """Whether `text` names a file or folder that exists."""
    try:
        return Path(text).exists()
    except OSError:  # specs of some spaces are longer than a file name may be
        return False


def _from_name(network: str, input_shape: InputShape | None, name: str) -> ComputationGraph:
    prefix, _, spec = network.partition(":")
    if prefix in ZOOS:
        from archcast.graphs.tracing import trace
        from archcast.graphs.zoo import zoo_model

        model = zoo_model(prefix, spec)
        return trace(model.build, input_shape, name=name or network, feed_rule=model.feed)[0]
    if prefix in SPEC_RESOLVERS:
        module, function = SPEC_RESOLVERS[prefix].split(":")
        graph: ComputationGraph = getattr(importlib.import_module(module), function)(prefix, spec)
        return graph
    if not spec:
        raise UnknownNameError(
            f"{network!r} is neither a file nor a name with its zoo; write for example 'timm:{network}' or 'model.onnx'"
        )
    raise UnknownNameError(
        f"{network!r}: no zoo or benchmark is called {prefix!r}; known are {', '.join([*ZOOS, *SPEC_RESOLVERS])}"
    )


def _from_onnx(network: Any, input_shape: InputShape | None, name: str) -> ComputationGraph:
    from archcast.graphs.onnx_reader import read_onnx

    return read_onnx(network, name=name, input_shape=input_shape)


def _from_exported(network: Any, input_shape: InputShape | None, name: str) -> ComputationGraph:
    from archcast.graphs.exported import read_exported

    if input_shape is not None:
        raise CaptureError("an ExportedProgram fixes its own input shape; leave input_shape out")
    return read_exported(network, name=name)


def _from_torch(network: Any, input_shape: InputShape | None, name: str) -> ComputationGraph:
    from archcast.graphs.tracing import trace

    return trace(network, input_shape, name=name)[0]
