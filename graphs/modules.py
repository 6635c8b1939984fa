"""Any network as a PyTorch module with real weights, for those who run it (`archcast.proxies`)."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from archcast.errors import NetworkError, UnknownNameError
from archcast.graphs.capture import SPEC_RESOLVERS, ZOOS, InputShape, is_path
from archcast.graphs.feeds import Feed, feed_of
from archcast.graphs.graph import ComputationGraph, Shape

SPEC_BUILDER = "archcast.datasets.spaces:build_spec"
"""The function (prefix, spec, small) -> `Buildable`; named, not imported, as in `SPEC_RESOLVERS`."""


@dataclass(frozen=True)
class Buildable:
    """How to make a network and what to feed it with.

    Attributes:
        name: what the network calls itself.
        build: gives the module; a module that was given is given back as it is.
        feed: tells the inputs from the built module; None where the first layer must tell.
        feed_key: text that identifies the feed, for caches.
        identity: text that identifies the network, for caches; empty where only its graph does.
    """

    name: str
    build: Callable[[], nn.Module]
    feed: Callable[[nn.Module], Feed] | None = None
    feed_key: str = ""
    identity: str = ""


def buildable(network: Any, input_shape: InputShape | None = None, *, small: bool = False) -> Buildable:
    """`network` as something that can be built and run.

    Args:
        network: as for `archcast.capture`, but for graphs and exported programs, which hold no module.
        input_shape: shape or shapes of the inputs, batch first.
        small: for benchmark specs, their cheap stand-ins (`SearchSpace.small`); other networks are what they are.

    Raises:
        NetworkError: `network` cannot be run; the message says why.
        UnknownNameError: a zoo or benchmark name that does not exist.
    """
    if isinstance(network, Buildable):
        return network
    made = _buildable(network, small)
    if input_shape is None:
        return made
    return Buildable(made.name, made.build, lambda module: feed_of(module, input_shape), str(input_shape))


def fixed_feed(shape: Shape, module: nn.Module) -> Feed:
    """The feed of one input of `shape`, whatever the module."""
    return feed_of(module, shape)


def _buildable(network: Any, small: bool) -> Buildable:
    if isinstance(network, str) and not network.lower().endswith(".onnx") and not is_path(network):
        return _from_name(network, small)
    if isinstance(network, (str, Path)) or type(network).__name__ == "ModelProto":
        return _from_onnx(network)
    if isinstance(network, nn.Module):
        return Buildable(type(network).__name__, lambda: getattr(network, "_orig_mod", network))
    if isinstance(network, ComputationGraph) or type(network).__module__.startswith("torch.export"):
        raise NetworkError(
            f"a {type(network).__name__} holds no runnable module; give the torch module, the ONNX file or the name "
            "it was made from"
        )
    if callable(network):
        return Buildable(getattr(network, "__name__", type(network).__name__), lambda: _checked(network()))
    raise NetworkError(
        f"a {type(network).__name__} is not a network; give a torch.nn.Module, a callable that returns one, an ONNX "
        "file or model, a zoo name such as 'timm:resnet50', or a benchmark spec"
    )


def _checked(module: Any) -> nn.Module:
    if not isinstance(module, nn.Module):
        raise NetworkError(f"the callable returned a {type(module).__name__}; it must return a torch.nn.Module")
    return module


def _from_name(network: str, small: bool) -> Buildable:
    prefix, _, spec = network.partition(":")
    if prefix in ZOOS:
        from archcast.graphs.zoo import zoo_model

        model = zoo_model(prefix, spec)
        return Buildable(network, model.build, model.feed)
    if prefix in SPEC_RESOLVERS:
        module_name, function = SPEC_BUILDER.split(":")
        made: Buildable = getattr(importlib.import_module(module_name), function)(prefix, spec, small)
        return made
    if not spec:
        raise UnknownNameError(
            f"{network!r} is neither a file nor a name with its zoo; write for example 'timm:{network}' or 'model.onnx'"
        )
    raise UnknownNameError(
        f"{network!r}: no zoo or benchmark is called {prefix!r}; known are {', '.join([*ZOOS, *SPEC_RESOLVERS])}"
    )


def _from_onnx(network: Any) -> Buildable:
    from archcast.graphs.onnx_modules import onnx_feed, onnx_module

    name = str(getattr(getattr(network, "graph", None), "name", "")) or str(network)
    return Buildable(Path(name).name, lambda: onnx_module(network), lambda _: onnx_feed(network))
