"""Networks nobody would design: each ends in an `ArchcastError`, or in NaN with a reason, or in a true number."""

# mypy: disable-error-code="operator,no-any-return,assignment,arg-type,index,union-attr"
# Layers of a Sequential are typed "Tensor | Module"; casts would hide the formulas.

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from archcast.errors import ArchcastError, CaptureError, NetworkError
from archcast.proxies import Measurements, measure
from archcast.proxies.proxy import chosen

IMAGE, VECTOR = (1, 3, 8, 8), (1, 8)
GRADIENT = ("grad_norm", "snip", "plain", "fisher", "grasp", "zico", "gradsign", "synflow", "vkdnw", "jacob_cov", "ntk")
Forward = Callable[["Net", Tensor], Any]


class Net(nn.Module):
    """A small network whose forward method is given."""

    def __init__(self, forward: Forward, **attributes: Any) -> None:
        super().__init__()
        self.conv, self.norm, self.head = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.Linear(8, 10)
        self.calls = forward
        for name, value in attributes.items():
            setattr(self, name, value)

    def body(self, x: Tensor) -> Tensor:
        return F.relu(self.norm(self.conv(x))).mean((2, 3))

    def forward(self, x: Tensor) -> Any:
        return self.calls(self, x)


def measured(network: Any, shape: Any = IMAGE, proxies: Any = "full", **options: Any) -> Measurements:
    """Measurements, whose every value is a number or missing with a reason."""
    made = measure(network, proxies, input_shape=shape, batch=8, **options)
    for name, value in made.scores.items():
        assert math.isfinite(value) != (name in made.missing), name
        assert made.missing.get(name, "why").strip()
    return made


def vector_net(*, last: int = 3, activation: nn.Module | None = None) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 8), activation or nn.ReLU(), nn.Linear(8, last))


def scaled(factor: float) -> nn.Sequential:
    net = vector_net()
    with torch.no_grad():
        net[0].weight.mul_(factor)
        net[2].weight.mul_(factor)
    return net


def frozen() -> nn.Module:
    return vector_net().requires_grad_(False)


def sizes_mix(net: Net, x: Tensor) -> Tensor:
    return net.head(net.body(x.reshape(-1, 3, 4, 4)))


def fails_at_batches(net: Net, x: Tensor) -> Tensor:
    if len(x) != 1:
        raise IndexError("one at a time")
    return net.head(net.body(x))


REFUSED: dict[str, tuple[Callable[[], Any], Any, str]] = {
    "NaN outputs": (lambda: Net(lambda net, x: net.head(net.body(x)) * math.nan), IMAGE, "not finite"),
    "infinite outputs": (lambda: scaled(1e30), VECTOR, "not finite"),
    "NaN weights": (lambda: scaled(math.nan), VECTOR, "0.weight holds NaN"),
    "argmax": (lambda: Net(lambda net, x: net.head(net.body(x)).argmax(1)), IMAGE, "no floating-point output"),
    "integers": (lambda: Net(lambda net, x: net.head(net.body(x)).long()), IMAGE, "no floating-point output"),
    "None": (lambda: Net(lambda *_: None), IMAGE, "no floating-point output"),
    "text": (lambda: Net(lambda *_: "logits"), IMAGE, "no floating-point output"),
    "one number": (lambda: Net(lambda net, x: net.head(net.body(x)).sum()), IMAGE, "1 rows for a batch of 8"),
    "batch averaged": (lambda: Net(lambda net, x: net.head(net.body(x)).mean(0, True)), IMAGE, "1 rows"),
    "batch last": (lambda: Net(lambda net, x: net.head(net.body(x)).T), IMAGE, "10 rows for a batch of 8"),
    "batch reshaped": (lambda: Net(sizes_mix), IMAGE, "32 rows for a batch of 8"),
    "fixed batch": (lambda: Net(lambda net, x: net.head(net.body(x.view(1, 3, 8, 8)))), IMAGE, "input_shape"),
    "one sample only": (lambda: Net(fails_at_batches), IMAGE, "IndexError: one at a time"),
    "ignores its input": (lambda: Net(lambda net, x: net.head(torch.ones(len(x), 8))), IMAGE, "depends on its input"),
    "all frozen": (frozen, VECTOR, "requires_grad_"),
    "no parameters": (nn.ReLU, VECTOR, "no parameters"),
    "lazy": (lambda: nn.Sequential(nn.LazyLinear(4)), VECTOR, "lazy"),
    "complex": (lambda: nn.Linear(8, 8, dtype=torch.complex64), VECTOR, "complex"),
    "two precisions": (lambda: nn.Sequential(nn.Linear(8, 8).double(), nn.Linear(8, 4)), VECTOR, "dtype"),
    "wrong shape": (vector_net, (1, 9), "input_shape"),
    "no shape": (lambda: nn.Sequential(nn.BatchNorm1d(4)), None, "input_shape"),
    "not a network": (lambda: 3, None, "not a network"),
    "returns no module": (lambda: lambda: 3, None, "must return a torch.nn.Module"),
}


@pytest.mark.filterwarnings("ignore:Complex modules")
@pytest.mark.parametrize("case", REFUSED)
def test_is_refused_with_what_to_do(case: str) -> None:
    build, shape, message = REFUSED[case]
    with pytest.raises(ArchcastError, match=message):
        measured(build(), shape)


def test_torchscript_is_refused() -> None:
    with pytest.warns(), pytest.raises(CaptureError, match="TorchScript"):
        measured(torch.jit.script(vector_net()), VECTOR)


@pytest.mark.parametrize("inside", [False, True])
def test_no_gradient_leaves_what_needs_none(inside: bool) -> None:
    def forward(net: Net, x: Tensor) -> Tensor:
        if inside:
            with torch.no_grad():
                return net.head(net.body(x))
        return net.head(net.body(x)).detach()

    made = measured(Net(forward))
    for name in GRADIENT:
        assert "no gradient" in made.missing[name], name
    assert {"naswot", "l2_norm", "params", "macs", "swap"}.isdisjoint(made.missing)


def test_a_detached_body_is_told() -> None:
    made = measured(Net(lambda net, x: net.head(net.body(x).detach())))
    assert any("1 of 2 weights get no gradient" in text for text in made.notes)
    assert "no gradient" in made.missing["jacob_cov"]
    assert made.scores["snip"] > 0


def test_without_activations_and_with_one_output() -> None:
    made = measured(nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 3)), VECTOR)
    assert "activation" in made.missing["naswot"]
    assert "activation" in made.missing["swap"]
    one = measured(vector_net(last=1), VECTOR)
    assert one.scores["snip"] > 0


def test_what_has_no_layers_to_sum_is_missing_not_zero() -> None:
    made = measured(vector_net(), VECTOR)
    assert "no layer" in made.missing["meco"]
    assert "no layer" in made.missing["az_expressivity"]


def test_frozen_parts_are_left_out_and_noted() -> None:
    net = vector_net()
    net[0].requires_grad_(False)
    made = measured(net, VECTOR)
    assert "2 of 4 parameter tensors are frozen" in made.notes[0]
    assert made.scores["l2_norm"] == pytest.approx(float(net[2].weight.detach().norm()), rel=1e-5)


class Counting(nn.Module):
    """Multiplies its output by the number of times it was called."""

    def __init__(self, where: str) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.net, self.where = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(288, 4)), where
        self.register_buffer("steps", torch.zeros(()))
        self.number, self.seen, self.tensor = 0, [0], torch.zeros(())

    def forward(self, x: Tensor) -> Tensor:
        self.steps += 1
        self.number += 1
        self.seen[0] += 1
        self.tensor += 1
        factor = {"buffer": self.steps, "number": self.number, "list": self.seen[0], "tensor": self.tensor}[self.where]
        return self.net(x) * factor


@pytest.mark.parametrize("where", ["buffer", "number", "list", "tensor"])
def test_state_is_put_back_between_passes(where: str) -> None:
    """Scores are those of a network that was called for the first time, which multiplies by one."""
    net = Counting(where)
    plain = measured(net.net, IMAGE)
    made = measured(net, IMAGE)
    assert any("changes its own state" in text for text in made.notes)
    for name, value in made.scores.items():
        if name != "macs":
            assert value == pytest.approx(plain.scores[name], rel=1e-3, abs=1e-5, nan_ok=True), name
    assert (float(net.steps), net.number, net.seen, float(net.tensor)) == (0, 0, [0], 0)


def test_writing_to_the_weights_is_refused_and_undone() -> None:
    def forward(net: Net, x: Tensor) -> Tensor:
        with torch.no_grad():
            net.head.weight.mul_(1.5)
        return net.head(net.body(x))

    net = Net(forward)
    before = net.head.weight.detach().clone()
    with pytest.raises(NetworkError, match=r"writes to its own parameters \(head.weight\)"):
        measured(net)
    assert torch.equal(net.head.weight, before)


@pytest.mark.parametrize(
    "noise",
    [lambda x: F.dropout(x, 0.5), lambda x: x + random.random(), lambda x: x + float(np.random.rand())],
    ids=["dropout", "random", "numpy"],
)
def test_random_forward_passes_are_noted_and_repeat(noise: Callable[[Tensor], Tensor]) -> None:
    net = Net(lambda net, x: net.head(noise(net.body(x))))
    states = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()
    first, second = measured(net), measured(net)
    assert any("draws random numbers" in text for text in first.notes)
    assert first.scores == pytest.approx(second.scores, nan_ok=True)
    assert torch.equal(torch.get_rng_state(), states[0])
    assert random.getstate() == states[1]
    assert np.random.get_state()[1].tolist() == states[2]


def test_dropout_layers_are_inert() -> None:
    def net(*extra: nn.Module) -> nn.Module:
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(8, 8), nn.ReLU(), *extra, nn.Linear(8, 3)).train()

    made = measured(net(nn.Dropout(0.9)), VECTOR)
    assert made.notes == ()
    assert made.scores == pytest.approx(measured(net(), VECTOR).scores, nan_ok=True)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_other_precisions(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(288, 4)).to(dtype)
    made = measured(net)
    assert made.scores["snip"] > 0
    assert any("precision" in text for text in made.notes) == (dtype is not torch.float64)


class Once(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x.clamp(min=0)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return gradient * (ctx.saved_tensors[0] > 0)


def test_no_second_derivative_is_told() -> None:
    made = measured(Net(lambda net, x: net.head(Once.apply(net.norm(net.conv(x))).mean((2, 3)))))
    assert "second derivative" in made.missing["grasp"]
    assert made.scores["snip"] > 0


def stale(net: Net, x: Tensor) -> Tensor:
    features = net.conv(x)
    features[:, :4].relu_()
    return net.head(features.mean((2, 3)))


def fresh(net: Net, x: Tensor) -> Tensor:
    features = net.conv(x)
    return net.head(torch.cat([features[:, :4].relu(), features[:, 4:]], dim=1).mean((2, 3)))


def stale_layer(net: Net, x: Tensor) -> Tensor:
    features = net.norm(net.conv(x))
    net.act(features)
    return net.head(features.mean((2, 3)))


def stale_input(net: Net, x: Tensor) -> Tensor:
    x.relu_()
    return net.head(net.body(x))


@pytest.mark.parametrize(
    ("in_place", "out_of_place"),
    [
        (stale, fresh),
        (stale_layer, lambda net, x: net.head(net.body(x))),
        (stale_input, lambda net, x: net.head(net.body(x.relu()))),
    ],
    ids=["view", "layer", "input"],
)
def test_results_of_operations_in_place_are_seen(in_place: Forward, out_of_place: Forward) -> None:
    def scores(forward: Forward) -> dict[str, float]:
        torch.manual_seed(0)
        net = Net(forward, act=nn.ReLU(inplace=True))
        made = measured(net, IMAGE, ["snip", "synflow", "grad_norm", "zen"])
        assert net.act.inplace is True
        return dict(made.scores)

    assert scores(in_place) == pytest.approx(scores(out_of_place), rel=1e-4)


class TwoInputs(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.left, self.right, self.head = nn.Linear(6, 8), nn.Linear(5, 8), nn.Linear(8, 3)

    def forward(self, x: Tensor, y: Tensor) -> dict[str, Any]:
        return {"nothing": None, "logits": self.head(F.relu(self.left(x) + self.right(y)))}


class Shared(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.Linear(8, 8), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> tuple[Tensor, None]:
        return self.head(F.relu(self.body(F.relu(self.body(x))))), None

    def __deepcopy__(self, memo: Any) -> Shared:
        raise TypeError("not copied")


def test_two_inputs_shared_weights_dicts_tuples_no_copies() -> None:
    assert measured(TwoInputs(), [(1, 6), (1, 5)]).scores["params"] == 7 * 8 + 6 * 8 + 9 * 3
    shared = measured(Shared(), VECTOR)
    assert shared.scores["params"] == 9 * 8 + 9 * 3
    assert shared.scores["macs"] == 2 * 64 + 24
    assert shared.scores["snip"] > 0


def test_control_flow_on_values_is_noted() -> None:
    made = measured(Net(lambda net, x: net.head(net.body(x) if x.sum() > 0 else net.body(-x))))
    assert any("control flow" in text for text in made.notes)


@pytest.mark.parametrize("batch_first", [False, True])
def test_layers_that_want_the_sequence_first_are_noted(batch_first: bool) -> None:
    class Last(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cells, self.head = nn.LSTM(8, 8, batch_first=batch_first), nn.Linear(8, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.cells(x)[0])

    made = measure(Last(), ["grad_norm"], input_shape=(1, 6, 8), batch=4)
    assert any("LSTM with batch_first=False" in note for note in made.notes) is not batch_first


def test_huge_outputs_are_numbers_or_missing() -> None:
    made = measured(scaled(1e12), VECTOR)
    assert made.missing["fisher"] == "the value is not finite"


def test_a_network_that_is_all_zeros() -> None:
    made = measured(scaled(0.0), VECTOR)
    assert made.scores["l2_norm"] == 0
    assert {"synflow", "jacob_cov"} <= set(made.missing)


@pytest.mark.slow
def test_twenty_thousand_layers() -> None:
    pairs = [layer for _ in range(10_000) for layer in (nn.Linear(2, 2), nn.ReLU())]
    made = measured(nn.Sequential(*pairs, nn.Linear(2, 3)), (1, 2), ["params", "snip", "synflow"])
    assert made.scores["params"] == 10_000 * 6 + 9
    assert len(made.ops) == 20_003


def test_full_is_everything() -> None:
    assert set(measured(vector_net(), VECTOR).scores) == {proxy.name for proxy in chosen("full")}
