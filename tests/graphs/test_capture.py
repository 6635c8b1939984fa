"""Capture of torch modules: what becomes a node, what does not, and who owns the parameters."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from archcast.errors import CaptureError
from archcast.graphs.capture import capture, capture_all
from archcast.graphs.graph import ComputationGraph
from archcast.graphs.nodes import batch_norm, conv, gemm, global_average_pool, plain


class Calls(nn.Module):
    """A module made of one function, with whatever layers it names."""

    def __init__(self, function: Callable[..., object], **layers: nn.Module | nn.Parameter) -> None:
        super().__init__()
        self.function = function
        for name, layer in layers.items():
            setattr(self, name, layer)

    def forward(self, *inputs: Tensor) -> object:
        return self.function(self, *inputs)


def graph_of(function: Callable[..., object], shape: object, **layers: nn.Module | nn.Parameter) -> ComputationGraph:
    return capture(Calls(function, **layers), shape)  # type: ignore[arg-type]


def inner(graph: ComputationGraph) -> list[str]:
    return [op for op in graph.ops if op not in ("Input", "Output")]


def edges(graph: ComputationGraph) -> list[tuple[int, int]]:
    return [(int(source), int(target)) for source, target in graph.edge_index.T]


def small_net() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(inplace=True),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Dropout(0.5),
        nn.Linear(8, 10),
    )


def test_layers_are_the_nodes_of_the_constructors() -> None:
    graph = capture(small_net(), (1, 3, 32, 32))
    hidden = (1, 8, 32, 32)
    assert graph.nodes == (
        plain("Input", (1, 3, 32, 32)),
        conv((1, 3, 32, 32), 8, 3, padding=1),
        batch_norm(hidden),
        plain("Relu", hidden),
        global_average_pool(hidden),
        gemm((1, 8), 10),
        plain("Output", (1, 10)),
    )
    assert edges(graph) == [(i, i + 1) for i in range(6)]
    assert graph.params == sum(p.numel() for p in small_net().parameters())


def test_module_callable_and_export_give_the_same_graph() -> None:
    module = small_net().eval()
    program = torch.export.export(module, (torch.zeros(1, 3, 32, 32),))
    graphs = [capture(module, (1, 3, 32, 32)), capture(small_net, (7, 3, 32, 32)), capture(program)]
    assert all(graph.nodes == graphs[0].nodes for graph in graphs)
    assert all(edges(graph) == edges(graphs[0]) for graph in graphs)
    assert capture(graphs[0]) is graphs[0]


def test_the_module_of_the_user_is_left_alone() -> None:
    module = small_net().train()
    module[1].eval()
    before = {key: tensor.clone() for key, tensor in module.state_dict().items()}
    flags = [part.training for part in module.modules()]
    identities = [id(parameter) for parameter in module.parameters()]
    capture(module, (1, 3, 32, 32))
    assert [part.training for part in module.modules()] == flags
    assert [id(parameter) for parameter in module.parameters()] == identities
    assert all(torch.equal(before[key], tensor) for key, tensor in module.state_dict().items())
    assert torch.backends.mha.get_fastpath_enabled()


def test_shared_modules_and_caches_are_left_alone() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Linear(4, 4)
            self.second = nn.Sequential(self.first, nn.utils.parametrizations.weight_norm(nn.Linear(4, 4)))

        def forward(self, x: Tensor) -> Tensor:
            self.cache = self.first(x)
            return self.second(self.cache)  # type: ignore[no-any-return]

    module = Net()
    graph = capture(module, (1, 4))
    assert graph.params == sum(p.numel() for p in module.parameters())
    assert not hasattr(module, "cache")
    assert {tensor.device.type for tensor in module.state_dict().values()} == {"cpu"}
    assert module(torch.ones(1, 4)).device.type == "cpu"


def test_views_and_no_ops_do_not_appear() -> None:
    def function(_: nn.Module, x: Tensor) -> Tensor:
        y = x.reshape(2, -1).t().contiguous().clone().detach().float()
        y = y.unsqueeze(0).transpose(1, 2).permute(0, 2, 1).squeeze(0)[None].expand(1, -1, -1)
        return F.dropout(F.pad(y, (0, 0)), training=False) + 0

    assert inner(graph_of(function, (1, 8))) == []


def test_in_place_operations_rebind_their_value() -> None:
    def function(_: nn.Module, x: Tensor) -> Tensor:
        y = x * 2
        y += x
        y.relu_()
        y[:, 0] = x[:, 1]
        return y

    graph = graph_of(function, (1, 4))
    assert graph.ops == ("Input", "Mul", "Add", "Relu", "Slice", "ScatterND", "Output")
    assert edges(graph) == [(0, 1), (1, 2), (0, 2), (2, 3), (0, 4), (3, 5), (4, 5), (5, 6)]


def test_in_place_changes_of_a_view_reach_its_base() -> None:
    def through_a_view(_: nn.Module, x: Tensor) -> Tensor:
        y = x * 2
        y.view(4).relu_()
        return y

    def through_a_part(_: nn.Module, x: Tensor) -> Tensor:
        y = x * 2
        y[:, :2].transpose(0, 1).relu_()
        return y

    def of_a_copy(_: nn.Module, x: Tensor) -> Tensor:
        y = x * 2
        y.clone().relu_()
        return y

    assert inner(graph_of(through_a_view, (1, 4))) == ["Mul", "Relu"]
    assert inner(graph_of(through_a_part, (1, 4))) == ["Mul", "Slice", "Relu", "ScatterND"]
    assert inner(graph_of(of_a_copy, (1, 4))) == ["Mul"]


def test_sum_from_zero_and_products_with_zero() -> None:
    assert inner(graph_of(lambda _, x: sum([x, x.relu()]), (1, 4))) == ["Relu", "Add"]
    assert inner(graph_of(lambda _, x: x.mul(0.0) + x, (1, 4))) == ["Zero", "Add"]


def test_only_the_parts_of_a_split_that_are_used_appear() -> None:
    def function(_: nn.Module, x: Tensor) -> Tensor:
        first, _unused, last = x.chunk(3, dim=1)
        (whole,) = torch.split(x, 6, dim=1)
        return torch.cat([first, last, whole], dim=1)

    assert inner(graph_of(function, (1, 6))) == ["Slice", "Slice", "Concat"]


def test_shared_and_unused_parameters_are_counted_once() -> None:
    shared = nn.Linear(4, 4)
    graph = graph_of(lambda m, x: m.layer(m.layer(x)), (1, 4), layer=shared, spare=nn.Linear(4, 2))
    assert [node.params for node in graph.nodes] == [0, 20, 0, 0]
    assert graph.unused_params == 10
    assert graph.params == 30
    assert graph.macs == 32


def test_tied_weights_of_embedding_and_head() -> None:
    table = nn.Embedding(50, 8)
    head = nn.Linear(8, 50, bias=False)
    head.weight = table.weight
    graph = capture(nn.Sequential(table, head), (1, 5))
    assert inner(graph) == ["Gather", "Gemm"]
    assert graph.params == 400
    assert graph.nodes[1].get("entries") == 50


def test_parameters_in_elementwise_operations_belong_to_their_reader() -> None:
    def function(module: nn.Module, x: Tensor) -> Tensor:
        token = module.token.expand(1, 1, 4)  # type: ignore[operator]
        return torch.cat([token, x], dim=1) + module.position * 2  # type: ignore[operator]

    parameters = {"token": nn.Parameter(torch.zeros(1, 1, 4)), "position": nn.Parameter(torch.zeros(3, 4))}
    graph = graph_of(function, (1, 2, 4), **parameters)
    assert [(node.op, node.params) for node in graph.nodes[1:3]] == [("Concat", 4), ("Add", 12)]


def test_a_standardised_weight_is_folded_into_its_convolution() -> None:
    def function(module: nn.Module, x: Tensor) -> Tensor:
        weight = module.conv.weight  # type: ignore[union-attr]
        return F.conv2d(x, (weight - weight.mean()) / weight.std() * module.gain)  # type: ignore[operator]

    gain = nn.Parameter(torch.ones(8, 1, 1, 1))
    graph = graph_of(function, (1, 3, 8, 8), conv=nn.Conv2d(3, 8, 3), gain=gain)
    assert inner(graph) == ["Conv"]
    assert graph.nodes[1].params == 3 * 8 * 9 + 8
    assert graph.unused_params == 8


@pytest.mark.parametrize("spelling", ["adaptive", "mean", "mean_keep", "avg_pool"])
def test_global_average_pooling_however_written(spelling: str) -> None:
    functions: dict[str, Callable[[Tensor], Tensor]] = {
        "adaptive": lambda x: F.adaptive_avg_pool2d(x, 1).flatten(1),
        "mean": lambda x: x.mean((-1, -2)),
        "mean_keep": lambda x: x.mean([2, 3], keepdim=True).flatten(1),
        "avg_pool": lambda x: F.avg_pool2d(x, 8).flatten(1),
    }
    graph = graph_of(lambda _, x: functions[spelling](x), (1, 4, 8, 8))
    assert graph.nodes[1] == global_average_pool((1, 4, 8, 8))


def test_activations_under_their_canonical_names() -> None:
    functions: list[tuple[Callable[[Tensor], Tensor], str, dict[str, object]]] = [
        (F.relu6, "Clip", {"min": 0.0, "max": 6.0}),
        (F.silu, "Swish", {}),
        (F.hardswish, "HardSwish", {}),
        (F.hardsigmoid, "HardSigmoid", {}),
        (F.gelu, "Gelu", {}),
        (lambda x: F.leaky_relu(x, 0.2), "LeakyRelu", {"alpha": 0.2}),
        (lambda x: F.elu(x), "Elu", {"alpha": 1.0}),
        (lambda x: x.softmax(-1), "Softmax", {"axis": 1}),
        (lambda x: x.clamp(min=-1), "Clip", {"min": -1.0}),
        (F.mish, "Mish", {}),
    ]
    for function, op, attributes in functions:
        node = graph_of(lambda _, x, function=function: function(x), (1, 4)).nodes[1]
        assert (node.op, dict(node.attributes)) == (op, attributes)


def test_attention_modules_are_opened() -> None:
    attention = nn.MultiheadAttention(16, 4, batch_first=True)
    graph = graph_of(lambda m, x: m.attention(x, x, x, need_weights=False)[0], (1, 6, 16), attention=attention)
    assert graph.op_counts["Gemm"] == 2
    assert graph.op_counts["Attention"] == 1
    assert graph.params == sum(p.numel() for p in attention.parameters())
    assert graph.macs == 6 * 16 * 48 + 6 * 16 * 16 + 2 * 6 * 6 * 16


def test_transformer_encoder_avoids_its_fused_fast_path() -> None:
    layer = nn.TransformerEncoderLayer(16, 4, 32, batch_first=True)
    graph = capture(nn.TransformerEncoder(layer, 2), (1, 6, 16))
    assert graph.op_counts["Attention"] == 2
    assert graph.op_counts["LayerNormalization"] == 4
    assert graph.op_counts["Gemm"] == 8
    assert not graph.unknown_ops


@pytest.mark.parametrize(("kind", "gates"), [(nn.LSTM, 4), (nn.GRU, 3), (nn.RNN, 1)])
def test_recurrent_layers(kind: type[nn.Module], gates: int) -> None:
    layer = kind(6, 5, num_layers=2, bidirectional=True, batch_first=True)
    graph = graph_of(lambda m, x: m.layer(x)[0], (1, 7, 6), layer=layer)
    assert inner(graph) == [kind.__name__]
    assert graph.params == sum(p.numel() for p in layer.parameters())
    assert graph.macs == 7 * 2 * gates * 5 * ((6 + 5) + (10 + 5))


def test_functions_of_several_operations_are_taken_apart() -> None:
    graph = graph_of(lambda _, x, y: torch.addcmul(x, y, y.cos()).rsqrt(), [(1, 4), (1, 4)])
    assert graph.ops == ("Input", "Input", "Cos", "Mul", "Add", "Sqrt", "Reciprocal", "Output")
    assert edges(graph)[1:4] == [(1, 3), (2, 3), (0, 4)]


def test_unknown_functions_are_counted_not_refused() -> None:
    graph = graph_of(lambda _, x: torch.special.erfcx(x).relu(), (1, 4))
    assert inner(graph) == ["Unknown", "Relu"]
    assert graph.unknown_ops == {"special_erfcx": 1}


def test_two_inputs_and_nested_outputs() -> None:
    graph = graph_of(lambda _, x, y: {"a": [x + y], "b": (y.relu(),)}, [(4, 8), (4, 8)])
    assert graph.ops == ("Input", "Input", "Add", "Relu", "Output", "Output")
    assert graph.shapes[0] == (1, 8)


def test_constants_on_the_cpu_join_the_meta_device() -> None:
    table = torch.arange(4.0)  # neither a parameter nor a buffer
    assert inner(graph_of(lambda _, x: x * table, (1, 4))) == ["Mul"]


def test_data_dependent_control_flow_falls_back_to_the_cpu() -> None:
    def function(_: nn.Module, x: Tensor) -> Tensor:
        return x.relu() if x.sum().item() > 0 else x.sigmoid()

    assert inner(graph_of(function, (1, 4))) == ["Relu"]


def test_the_result_does_not_depend_on_the_dtype_of_the_weights() -> None:
    assert capture(small_net().half(), (1, 3, 32, 32)).nodes == capture(small_net(), (1, 3, 32, 32)).nodes


def test_capture_all_keeps_the_order() -> None:
    graphs = capture_all([small_net, nn.Linear(4, 2)], progress=False)
    assert [graph.params for graph in graphs] == [322, 10]


def test_final_state_of_a_recurrent_layer_keeps_the_layer() -> None:
    class Reader(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lstm = nn.LSTM(16, 32, 2, batch_first=True)
            self.head = nn.Linear(32, 4)

        def forward(self, tokens: torch.Tensor) -> torch.Tensor:
            _, (hidden, _) = self.lstm(tokens)
            logits: torch.Tensor = self.head(hidden[-1])
            return logits

    graph = capture(Reader(), (1, 10, 16))
    assert graph.ops == ("Input", "LSTM", "Slice", "Gemm", "Output")
    assert graph.macs == 10 * 4 * 32 * ((16 + 32) + (32 + 32)) + 32 * 4


def test_weights_are_not_drawn_where_there_are_none() -> None:
    """Layers call `torch.nn.init` with `tensor=...`, custom ones with a position; neither may reach torch on meta."""
    ran: list[str] = []

    class Watch(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            ran.append(func.__name__)
            return func(*args, **(kwargs or {}))

    def build() -> nn.Module:
        layer = nn.Conv2d(3, 4, 3)
        nn.init.xavier_uniform_(layer.weight)
        return layer

    with Watch():  # type: ignore[no-untyped-call]  # torch
        assert capture(build, (1, 3, 8, 8)).params == 112
    assert any(name.startswith("empty") for name in ran)
    assert not [name for name in ran if "uniform" in name]


@pytest.mark.parametrize("enabled", [True, False])
def test_garbage_is_collected_afterwards_as_before(enabled: bool) -> None:
    def explode() -> nn.Module:
        raise ValueError("no network")

    before = gc.isenabled()
    try:
        (gc.enable if enabled else gc.disable)()
        capture(lambda: nn.Conv2d(3, 4, 3), (1, 3, 8, 8))
        assert gc.isenabled() == enabled
        with pytest.raises(CaptureError, match="no network"):
            capture(explode, (1, 3, 8, 8))
        assert gc.isenabled() == enabled
    finally:
        (gc.enable if before else gc.disable)()
