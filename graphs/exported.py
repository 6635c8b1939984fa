"""`torch.export` programs -> graph, without running them: shapes come from the fake tensors torch left in the program.

An exported program names aten operators instead of torch functions. Most share the name and the order of arguments with
the function, and go through the same handlers; those that do not are brought into that order first.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.fx import Node as FxNode
from torch.utils import _pytree as pytree

from archcast.errors import CaptureError
from archcast.graphs.feeds import Feed
from archcast.graphs.graph import ComputationGraph
from archcast.graphs.recording import Recorder

META = torch.device("meta")


def export_and_read(module: nn.Module, feed: Feed, name: str, device: torch.device) -> ComputationGraph:
    """Export `module` on `device`, non-strictly and then as a draft, and read the program.

    Raises:
        CaptureError: both exports failed; the message holds both reasons.
    """
    positional, named = feed.tensors(device)
    failures = []
    everything: dict[str, Any] = {**named, **feed.constants}
    exports: tuple[Callable[[], torch.export.ExportedProgram], ...] = (
        lambda: torch.export.export(module, positional, everything, strict=False),
        lambda: torch.export.draft_export(module, positional, everything),
    )
    for stage, export in zip(("export", "draft_export"), exports, strict=True):
        try:
            return read_exported(export(), name=name)
        except Exception as error:  # reported below, with the other export's
            failures.append(f"{stage}: {type(error).__name__}: {' '.join(str(error).split())[:300]}")
    raise CaptureError("; ".join(failures))


def read_exported(program: torch.export.ExportedProgram, *, name: str = "") -> ComputationGraph:
    """The graph of an exported program.

    Raises:
        CaptureError: no output depends on an input.
    """
    signature = program.graph_signature
    parameters = {target: _stand_in(program.state_dict[target]) for target in signature.parameters}
    aliases: dict[int, torch.Tensor] = {}  # two names of one parameter are one stand-in
    for target in signature.parameters:
        tensor = program.state_dict[target]
        parameters[target] = aliases.setdefault(id(tensor), parameters[target])
    recorder = Recorder(parameters.values())
    values: dict[FxNode, Any] = {}
    inputs = set(signature.user_inputs)
    for node in program.graph.nodes:
        if node.op == "placeholder":
            target = signature.inputs_to_parameters.get(node.name)
            values[node] = parameters[target] if target else _value(node)
            if node.name in inputs and isinstance(values[node], torch.Tensor):
                recorder.input(values[node])
        elif node.op == "call_function":
            values[node] = _note(recorder, node, values)
        elif node.op == "get_attr":
            values[node] = _value(node)
        elif node.op == "output":
            outputs = [values[part] for part in node.all_input_nodes if part.name in set(signature.user_outputs)]
            return recorder.graph(outputs, name=name or "exported program")
    raise CaptureError("the exported program has no output; export the module again")


def _stand_in(tensor: torch.Tensor) -> torch.Tensor:
    """A meta tensor of the same shape; sizes that depend on data count as 1."""
    sizes = [size if isinstance(size, int) else _hint(size) for size in tensor.shape]
    return torch.empty(sizes, dtype=tensor.dtype, device=META)


def _hint(size: Any) -> int:
    hint = getattr(getattr(size, "node", None), "hint", None)
    return int(hint) if hint is not None else 1


def _value(node: FxNode) -> Any:
    def plain(item: Any) -> Any:
        if isinstance(item, torch.Tensor):
            return _stand_in(item)
        return _hint(item) if isinstance(item, (torch.SymInt, torch.SymFloat, torch.SymBool)) else item

    return pytree.tree_map(plain, node.meta.get("val"))


def _note(recorder: Recorder, node: FxNode, values: dict[FxNode, Any]) -> Any:
    """Record one call; returns its result."""
    args: Any = torch.fx.map_arg(node.args, values.__getitem__)
    kwargs: Any = torch.fx.map_arg(node.kwargs, values.__getitem__)
    if node.target is operator.getitem:
        return args[0][args[1]]
    name = str(getattr(node.target, "__name__", node.target)).split(".")[0]
    result = _value(node)
    if rule := _REORDER.get(name):
        name, args, kwargs = rule(args, kwargs)
    recorder.note(name, tuple(args), dict(kwargs), result)
    if name.endswith("_") and not name.startswith("__") and isinstance(result, torch.Tensor):
        recorder.note("alias_", (result,), {}, args[0])
    return result


Reordered = tuple[str, tuple[Any, ...], dict[str, Any]]
Rule = Callable[[tuple[Any, ...], dict[str, Any]], Reordered]


def _rename(name: str) -> Rule:
    return lambda args, kwargs: (name, args, kwargs)


def _batch_norm(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Reordered:
    source, weight, bias, mean, variance, *_ = args
    return "batch_norm", (source, mean, variance, weight, bias), kwargs


def _embedding(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Reordered:
    return "embedding", (args[1], args[0]), kwargs


def _convolution(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Reordered:
    source, weight, bias, stride, padding, dilation, transposed, output_padding, groups = args
    rank = weight.dim() - 2
    if transposed:
        rest = (source, weight, bias, stride, padding, output_padding, groups, dilation)
        return f"conv_transpose{rank}d", rest, kwargs
    return f"conv{rank}d", (source, weight, bias, stride, padding, dilation, groups), kwargs


def _group_norm(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Reordered:
    source, weight, bias, _, _, _, groups, *_ = args
    return "group_norm", (source, groups, weight, bias), kwargs


def _slice(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Reordered:
    return "__getitem__", (args[0], slice(None)), kwargs


def _index(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Reordered:
    return "__getitem__", (args[0], tuple(args[1])), kwargs


def _pad(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Reordered:
    return "pad", args, kwargs


def _interpolate(mode: str) -> Rule:
    return lambda args, _: ("interpolate", (args[0],), {"mode": mode})


_REORDER: dict[str, Rule] = {
    "batch_norm": _batch_norm, "_native_batch_norm_legit_no_training": _batch_norm, "native_batch_norm": _batch_norm,
    "_native_batch_norm_legit": _batch_norm, "cudnn_batch_norm": _batch_norm,
    "embedding": _embedding, "convolution": _convolution, "native_layer_norm": _rename("layer_norm"),
    "native_group_norm": _group_norm, "slice": _slice, "select": _slice, "index": _index, "constant_pad_nd": _pad,
    "reflection_pad2d": _pad, "replication_pad2d": _pad, "reflection_pad1d": _pad, "replication_pad1d": _pad,
    "upsample_nearest1d": _interpolate("nearest"), "upsample_nearest2d": _interpolate("nearest"),
    "upsample_nearest3d": _interpolate("nearest"), "upsample_bilinear2d": _interpolate("bilinear"),
    "upsample_linear1d": _interpolate("linear"), "upsample_bicubic2d": _interpolate("bicubic"),
    "upsample_trilinear3d": _interpolate("trilinear"), "_upsample_bicubic2d_aa": _interpolate("bicubic"),
    "_upsample_bilinear2d_aa": _interpolate("bilinear"),
    "_softmax": _rename("softmax"), "_safe_softmax": _rename("softmax"), "_log_softmax": _rename("log_softmax"),
    "_adaptive_avg_pool2d": _rename("adaptive_avg_pool2d"), "_unsafe_view": _rename("view"),
    "view_copy": _rename("view"), "lift_fresh_copy": _rename("clone"), "lift_fresh": _rename("clone"),
    "_scaled_dot_product_flash_attention_for_cpu": _rename("scaled_dot_product_attention"),
    "_scaled_dot_product_efficient_attention": _rename("scaled_dot_product_attention"),
    "_to_copy": _rename("to"), "_assert_tensor_metadata": _rename("size"),
}  # fmt: skip
"""Name of an aten operator -> how its call reads as the torch function that has a handler."""
