"""`measure`: repeats itself, leaves everything as it was, and its nodes are those of `capture`."""

# mypy: disable-error-code="arg-type,index"
# Layers of a Sequential are typed "Tensor | Module"; casts would hide the formulas.

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import archcast
from archcast.errors import ConfigError, NetworkError, UnknownNameError
from archcast.proxies import PROXY_NAMES, get_proxy, measure
from archcast.proxies.proxy import chosen

CELL = "nasbench201:|nor_conv_3x3~0|+|nor_conv_1x1~0|avg_pool_3x3~1|+|skip_connect~0|none~1|nor_conv_1x1~2|"
SHAPE = (1, 3, 16, 16)
FEW = ["params", "macs", "snip", "naswot", "zen", "synflow", "fisher"]


def net() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(inplace=True), nn.Dropout(0.5),
        nn.Conv2d(8, 8, 3, stride=2), nn.BatchNorm2d(8), nn.Hardswish(inplace=True),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4),
    )  # fmt: skip


def test_the_same_seed_gives_the_same_numbers() -> None:
    first, again = (measure(net, input_shape=SHAPE, batch=4, seed=5) for _ in range(2))
    other = measure(net, input_shape=SHAPE, batch=4, seed=6)
    assert dict(first.scores) == pytest.approx(dict(again.scores), rel=0, abs=0, nan_ok=True)
    assert first.ops == again.ops
    for name, values in first.nodes.items():
        assert np.array_equal(values, again.nodes[name], equal_nan=True)
    assert first.scores["snip"] != other.scores["snip"]
    assert first.scores["params"] == other.scores["params"]


def test_the_module_and_the_generators_stay_as_they_were() -> None:
    torch.manual_seed(0)
    module = net().train()
    module[4].weight.requires_grad_(False)
    module[9].weight.grad = torch.ones_like(module[9].weight)
    before = copy.deepcopy(module)
    gradients = [parameter.grad for parameter in module.parameters()]
    identities = [id(parameter) for parameter in module.parameters()]
    pointers = [parameter.data_ptr() for parameter in module.parameters()]
    states = torch.get_rng_state(), np.random.get_state()[1].tolist()
    measure(module, input_shape=SHAPE, batch=4)
    assert torch.equal(torch.get_rng_state(), states[0])
    assert np.random.get_state()[1].tolist() == states[1]
    assert [id(parameter) for parameter in module.parameters()] == identities
    assert [parameter.data_ptr() for parameter in module.parameters()] == pointers
    for (name, now), then in zip(module.state_dict().items(), before.state_dict().values(), strict=True):
        assert torch.equal(now, then), name
    for now, then in zip(module.parameters(), before.parameters(), strict=True):
        assert now.requires_grad == then.requires_grad
        assert now.stride() == then.stride()
    assert all(p.grad is gradient for p, gradient in zip(module.parameters(), gradients, strict=True))
    for now, then in zip(module.modules(), before.modules(), strict=True):
        assert now.training == then.training
        assert getattr(now, "inplace", None) == getattr(then, "inplace", None)
        assert not now._forward_hooks


def test_training_mode_and_grad_mode_do_not_matter() -> None:
    torch.manual_seed(0)
    module = net()
    expected = measure(module.eval(), FEW, input_shape=SHAPE, batch=4).scores
    with torch.no_grad():
        found = measure(module.train(), FEW, input_shape=SHAPE, batch=4).scores
    assert dict(found) == pytest.approx(dict(expected))


def test_fresh_draws_other_weights() -> None:
    module = net()
    given = measure(module, ["l2_norm"], input_shape=SHAPE, batch=2).scores["l2_norm"]
    fresh = [measure(module, ["l2_norm"], input_shape=SHAPE, batch=2, fresh=True).scores["l2_norm"] for _ in range(2)]
    assert fresh[0] == fresh[1] != given
    assert measure(module, ["l2_norm"], input_shape=SHAPE, batch=2).scores["l2_norm"] == given


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table, self.cell = nn.Embedding(30, 8), nn.LSTM(8, 8, num_layers=2, batch_first=True)
        self.head = nn.Linear(8, 30)

    def forward(self, tokens: Tensor) -> Tensor:
        made: Tensor = self.head(self.cell(self.table(tokens))[0])
        return made


def zoo(name: str, **options: Any) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        models = pytest.importorskip("torchvision").models
        module: nn.Module = getattr(models, name)(weights=None, **options)
        return module

    return build


def bert() -> nn.Module:
    transformers = pytest.importorskip("transformers")
    config = transformers.BertConfig(
        vocab_size=50, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32
    )
    module: nn.Module = transformers.BertModel(config, add_pooling_layer=False)
    return module


def nasbench101() -> str:
    rng = np.random.default_rng(0)
    from archcast.datasets.spaces import get_space

    return f"nasbench101:{get_space('nasbench101').sample(rng)}"


ALIGNED: dict[str, tuple[Callable[[], Any], Any]] = {
    "nasbench201": (lambda: CELL, None),
    "nasbench101": (nasbench101, None),
    "resnet18": (lambda: zoo("resnet18"), (1, 3, 32, 32)),
    "mobilenet_v3_small": (lambda: zoo("mobilenet_v3_small"), (1, 3, 32, 32)),
    "vit_b_16": (lambda: zoo("vit_b_16", image_size=32), (1, 3, 32, 32)),
    "lstm": (lambda: Recurrent, (1, 6)),
    "bert": (lambda: bert, (1, 6)),
}


SLOW = ("vit_b_16", "nasbench101")


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name for name in ALIGNED]
)
def test_nodes_are_those_of_capture(name: str) -> None:
    make, shape = ALIGNED[name]
    network = make()
    made = measure(network, ["params", "macs", "snip"], input_shape=shape, batch=2)
    graph = archcast.capture(network, shape)
    assert made.ops == graph.ops
    assert np.nansum(made.nodes["params"]) == made.scores["params"] == graph.params - graph.unused_params
    assert np.array_equal(np.nan_to_num(made.nodes["params"]), [node.params for node in graph.nodes])
    assert made.scores["macs"] == pytest.approx(graph.macs)
    assert np.array_equal(np.nan_to_num(made.nodes["macs"]), [node.macs for node in graph.nodes])
    assert np.nansum(made.nodes["snip"]) == pytest.approx(made.scores["snip"], rel=1e-4)


def test_names_and_their_modes() -> None:
    fast, full = {proxy.name for proxy in chosen("fast")}, {proxy.name for proxy in chosen("full")}
    assert fast < full == set(PROXY_NAMES)
    assert chosen("none") == ()
    assert [proxy.name for proxy in chosen("snip, zen,snip")] == ["snip", "zen"]
    assert measure(net, "none", input_shape=SHAPE).scores == {}
    with pytest.raises(UnknownNameError, match="snip"):
        chosen("snap")


@pytest.mark.parametrize("name", PROXY_NAMES)
def test_every_proxy_explains_itself(name: str) -> None:
    proxy = get_proxy(name)
    for text in (proxy.paper, proxy.formula, proxy.unit, proxy.invariances, proxy.reads):
        assert text
        assert "\n" not in text
    assert proxy.sign in (1, -1)


def test_scores_grow_with_what_they_measure() -> None:
    """Wider networks have more of everything that counts units."""

    def wide(width: int) -> nn.Module:
        return nn.Sequential(
            nn.Conv2d(3, width, 3), nn.BatchNorm2d(width), nn.ReLU(), nn.Conv2d(width, width, 3), nn.ReLU(),
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 4),
        )  # fmt: skip

    small, large = (measure(lambda w=w: wide(w), input_shape=SHAPE, batch=8).scores for w in (4, 32))
    for name in ("params", "macs", "l2_norm", "synflow", "swap", "zen", "gradsign", "naswot"):
        assert large[name] > small[name], name


@pytest.mark.parametrize("batch", [1, 0, -3])
def test_a_batch_of_one_is_refused(batch: int) -> None:
    with pytest.raises(ConfigError, match="at least 2"):
        measure(net, batch=batch)


def test_what_holds_no_module_is_refused() -> None:
    with pytest.raises(NetworkError, match="no runnable module"):
        measure(archcast.capture(CELL))


def test_values_are_finite_or_missing() -> None:
    made = measure(CELL, "full", batch=4)
    for name in PROXY_NAMES:
        assert math.isfinite(made.scores[name]) != (name in made.missing)
    assert made.seconds > 0
    assert made.name == CELL
