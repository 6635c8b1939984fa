"""Layers of graph neural networks (torch_geometric): one message-passing layer is one node.

Inside, such a layer gathers and scatters along edges, which says nothing about the operation; the recorder would show a
dozen index operations. `as_single_nodes` lets each run unseen and records `GraphConv`, `GraphAttention` ... instead.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from archcast.graphs.graph import AttributeValue, Node

if TYPE_CHECKING:
    from archcast.graphs.recording import Recorder

OP_OF_LAYER: dict[str, str] = {
    "GATConv": "GraphAttention", "GATv2Conv": "GraphAttention", "SuperGATConv": "GraphAttention",
    "FusedGATConv": "GraphAttention", "AGNNConv": "GraphAttention", "RGATConv": "GraphAttention",
    "SAGEConv": "GraphSage", "GINConv": "GraphIsomorphism", "GINEConv": "GraphIsomorphism",
    "ChebConv": "GraphCheb", "ARMAConv": "GraphArma", "TransformerConv": "GraphTransformer",
}  # fmt: skip
"""Class of a message-passing layer -> op; all others are `GraphConv`."""


def message_passing_layers(module: nn.Module) -> list[nn.Module]:
    """The outermost message-passing layers of `module`; empty if torch_geometric was never imported."""
    package = sys.modules.get("torch_geometric.nn.conv")
    base = getattr(package, "MessagePassing", None)
    if base is None:
        return []
    layers = [part for part in module.modules() if isinstance(part, base)]
    inside = {id(part) for layer in layers for part in layer.modules() if part is not layer}
    return [layer for layer in layers if id(layer) not in inside]


@contextlib.contextmanager
def as_single_nodes(module: nn.Module, recorder: Recorder) -> Iterator[None]:
    """Inside the block, `recorder` sees each message-passing layer of `module` as one call."""
    layers = message_passing_layers(module)
    for layer in layers:
        layer.forward = _recorded(layer, layer.forward, recorder)
    try:
        yield
    finally:
        for layer in layers:
            del layer.forward  # the instance's own; the class keeps its method


def _recorded(layer: nn.Module, forward: Callable[..., Any], recorder: Recorder) -> Callable[..., Any]:
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        with torch._C.DisableTorchFunction():
            result = forward(*args, **kwargs)
        recorder.layer(graph_node(layer, args, result), (*args, *kwargs.values()), list(layer.parameters()), result)
        return result

    return wrapper


def graph_node(layer: nn.Module, args: tuple[Any, ...], result: Any) -> Node:
    """The node of a message-passing layer on features (nodes, width) and edges (2, edges).

    MACs = nodes x weights of all matrices + edges x output width (the mixing along edges).
    """
    features = args[0][0] if isinstance(args[0], tuple) else args[0]
    output = result[0] if isinstance(result, tuple) else result
    edges = next(
        (arg.shape[-1] for arg in args[1:] if isinstance(arg, torch.Tensor) and not arg.is_floating_point()), 0
    )
    kind = type(layer).__name__
    attributes: dict[str, AttributeValue] = {"layer": kind, "out_channels": int(output.shape[-1])}
    attributes["in_channels"] = int(features.shape[-1])
    if isinstance(heads := getattr(layer, "heads", None), int) and heads > 1:
        attributes["heads"] = heads
    weights = sum(parameter.numel() for parameter in layer.parameters() if parameter.dim() == 2)
    macs = int(features.shape[0]) * weights + int(edges) * int(output.shape[-1])
    return Node(OP_OF_LAYER.get(kind, "GraphConv"), attributes, tuple(output.shape), 0, macs)
