"""Zoo names, fall-backs, graph layers and the errors of capture."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from archcast.errors import CaptureError, MissingExtraError, NetworkError, UnknownNameError
from archcast.graphs.capture import capture
from archcast.graphs.tracing import trace
from archcast.graphs.zoo import zoo_model


@pytest.mark.parametrize(
    ("name", "params", "shape"),
    [
        ("timm:resnet18", 11_689_512, (1, 3, 224, 224)),
        ("torchvision:mobilenet_v3_small", 2_542_856, (1, 3, 224, 224)),
        ("torchvision:regnet_x_400mf", 5_495_976, (1, 3, 224, 224)),
        ("pytorchcv:resnet20_cifar10", 272_474, (1, 3, 32, 32)),
    ],
)
def test_zoo_names(name: str, params: int, shape: tuple[int, ...]) -> None:
    graph = capture(name)
    assert (graph.params, graph.shapes[0], graph.name) == (params, shape, name)
    assert graph.unused_params == 0
    assert not graph.unknown_ops


def test_zoo_names_take_another_input_shape() -> None:
    assert capture("timm:resnet18", (1, 3, 64, 64)).shapes[1] == (1, 64, 32, 32)


def test_transformers_families_by_their_default_configuration() -> None:
    graph = capture("transformers:distilbert")
    assert graph.op_counts["Attention"] == 6
    assert graph.shapes[0] == (1, 128)
    assert not graph.unknown_ops


def test_masks_that_depend_on_sizes_alone_need_no_data() -> None:
    model = zoo_model("transformers", "roformer")
    graph, route = trace(model.build, feed_rule=model.feed)
    assert route == "meta"
    assert graph.params > 100_000_000


def test_constructors_that_read_their_own_numbers_stay_on_meta() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            widths = torch.linspace(4, 8, 3).int().tolist()
            self.layers = nn.Sequential(*(nn.Linear(4, 4) for _ in widths))

        def forward(self, x: Tensor) -> Tensor:
            return self.layers(x)  # type: ignore[no-any-return]

    graph, route = trace(Net)
    assert (route, graph.params) == ("meta", 60)


def test_message_passing_layers_are_single_nodes() -> None:
    geometric = pytest.importorskip("torch_geometric.nn")
    network = geometric.GCN(16, 32, num_layers=2, out_channels=7)
    graph = capture(network, [(50, 16), (2, 120)])
    assert graph.ops == ("Input", "Input", "GraphConv", "Relu", "GraphConv", "Output")
    assert graph.params == sum(p.numel() for p in network.parameters())
    assert graph.nodes[2].macs == 50 * 16 * 32 + 120 * 32
    assert capture(geometric.GATConv(8, 4, heads=2)).nodes[2].op == "GraphAttention"
    assert "forward" not in vars(network.convs[0])


def test_unknown_zoo_name_proposes_close_ones() -> None:
    with pytest.raises(UnknownNameError, match=r"timm has no network called 'resnet5'; close: .*resnet50"):
        capture("timm:resnet5")
    with pytest.raises(UnknownNameError, match="no zoo or benchmark is called 'tim'"):
        capture("tim:resnet50")
    with pytest.raises(UnknownNameError, match="write for example 'timm:resnet50'"):
        capture("resnet50")
    with pytest.raises(UnknownNameError, match="transformers has no network called 'brt'"):
        capture("transformers:brt")


def test_a_missing_zoo_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(MissingExtraError, match=r"archcast\[zoo\]"):
        capture("timm:resnet18")


@pytest.mark.parametrize("network", [3, None, ["timm:resnet18"], torch.zeros(3)])
def test_what_is_not_a_network(network: object) -> None:
    with pytest.raises(NetworkError, match="is not a network"):
        capture(network)


def test_a_callable_must_return_a_module() -> None:
    with pytest.raises(NetworkError, match="returned a int"):
        capture(lambda: 3)


@pytest.mark.parametrize("shape", [(), (1, 0, 4), (1, -3), "224", (1, 3.5), [(1, 4), ()], (1, True), 7])
def test_malformed_input_shapes(shape: object) -> None:
    with pytest.raises(CaptureError, match="input_shape="):
        capture(nn.Linear(4, 2), shape)  # type: ignore[arg-type]


def test_wrong_input_shape_names_the_argument_and_every_stage() -> None:
    with pytest.raises(CaptureError, match=r"give input_shape=(.|\n)*- meta: (.|\n)*- cpu: (.|\n)*- export: "):
        capture(nn.Linear(4, 2), (1, 5))


def test_input_shape_that_cannot_be_guessed() -> None:
    with pytest.raises(CaptureError, match="does not tell the shape of the input; give input_shape"):
        capture(nn.ReLU())


def test_lazy_layers_are_refused() -> None:
    with pytest.raises(CaptureError, match="lazy layers"):
        capture(nn.Sequential(nn.LazyLinear(3)), (1, 4))


def test_compiled_modules_are_unwrapped_and_scripted_ones_refused() -> None:
    assert capture(torch.compile(nn.Linear(4, 2)), (1, 4)).params == 10
    scripted = torch.jit.trace(nn.Linear(4, 2), torch.zeros(1, 4))  # type: ignore[no-untyped-call]
    with pytest.raises(CaptureError, match="TorchScript"):
        capture(scripted, (1, 4))


def test_output_that_ignores_the_input() -> None:
    class Constant(nn.Module):
        def forward(self, _: Tensor) -> Tensor:
            return torch.ones(3)

    with pytest.raises(CaptureError, match="depends on its input"):
        capture(Constant(), (1, 4))


def test_an_onnx_path_that_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises((NetworkError, FileNotFoundError)):
        capture(tmp_path / "absent.onnx")
