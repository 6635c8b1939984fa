"""Every proxy against an independent computation on a tiny network, written down again from its paper."""

# mypy: disable-error-code="arg-type,no-any-return,no-untyped-call,operator,list-item"
# Layers of a Sequential are typed "Tensor | Module"; casts would hide the formulas.

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from archcast.graphs.calls import Call
from archcast.graphs.modules import buildable
from archcast.proxies import measure
from archcast.proxies.passes import Passes
from archcast.proxies.sample_gradients import sample_gradient
from archcast.proxies.subject import prepared

BATCH = 8
SHAPE = (1, 3, 8, 8)


def plain_net() -> nn.Sequential:
    """Without batch normalisation, so that shares of samples are their own gradients."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 8, 3, stride=2, groups=2), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5),
    )  # fmt: skip


def normalised_net() -> nn.Sequential:
    torch.manual_seed(1)
    net = nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6), nn.ReLU(),
        nn.Conv2d(6, 8, 3, stride=2, bias=False), nn.BatchNorm2d(8), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5),
    )  # fmt: skip
    for layer in (net[1], net[4]):
        nn.init.uniform_(layer.weight, 0.5, 1.5)
        nn.init.normal_(layer.bias, 0, 0.2)
    return net


def data(net: nn.Module, batch: int = BATCH) -> tuple[Tensor, Tensor]:
    """The inputs and labels that the engine uses."""
    with prepared(buildable(net, SHAPE), batch=batch, seed=0) as subject:
        return subject.inputs()[0][0].contiguous(), subject.labels(5)


def weights_of(net: nn.Module) -> list[nn.Parameter]:
    return [parameter for parameter in net.parameters() if parameter.dim() > 1]


def loss_gradients(net: nn.Module) -> list[Tensor]:
    """Plain autograd, batch statistics, cross-entropy."""
    x, labels = data(net)
    return list(torch.autograd.grad(F.cross_entropy(net.train()(x), labels), weights_of(net)))


def scored(net: nn.Module, name: str) -> float:
    made = measure(net, [name], input_shape=SHAPE, batch=BATCH)
    assert not made.missing
    return made.scores[name]


@pytest.mark.parametrize("build", [plain_net, normalised_net])
@pytest.mark.parametrize(
    ("name", "formula"),
    [
        ("l2_norm", lambda w, _: w.norm()),
        ("grad_norm", lambda _, g: g.norm()),
        ("snip", lambda w, g: (w * g).abs().sum()),
        ("plain", lambda w, g: (w * g).sum()),
    ],
)
def test_weights_and_gradients(
    build: Callable[[], nn.Module], name: str, formula: Callable[[Tensor, Tensor], Tensor]
) -> None:
    net = build()
    expected = sum(float(formula(w.detach(), g)) for w, g in zip(weights_of(net), loss_gradients(net), strict=True))
    assert scored(build(), name) == pytest.approx(expected, rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("build", [plain_net, normalised_net])
def test_grasp(build: Callable[[], nn.Module]) -> None:
    net = build().train()
    x, labels = data(net)
    weights = weights_of(net)
    loss = F.cross_entropy(net(x[:4]), labels[:4])
    gradients = torch.autograd.grad(loss, weights, create_graph=True)
    flow = sum((g.detach() * g).sum() for g in gradients)
    products = torch.autograd.grad(flow, weights)
    expected = -sum(float((w.detach() * h).sum()) for w, h in zip(weights, products, strict=True))
    assert scored(build(), "grasp") == pytest.approx(expected, rel=1e-3, abs=1e-6)


def test_sizes() -> None:
    made = measure(plain_net(), ["params", "macs"], input_shape=SHAPE, batch=BATCH)
    assert made.scores["params"] == sum(p.numel() for p in plain_net().parameters())
    assert made.scores["macs"] == 64 * 6 * 27 + 9 * 8 * 3 * 9 + 8 * 5


def test_fisher() -> None:
    net = normalised_net().train()
    x, labels = data(net)
    kept: list[Tensor] = []
    for layer in net:
        x = layer(x)
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            x.retain_grad()
            kept.append(x)
    F.cross_entropy(x, labels).backward()
    expected = 0.0
    for activation in kept:
        assert activation.grad is not None
        product = (activation * activation.grad).detach()
        per_channel = product.flatten(2).sum(dim=2) if product.dim() == 4 else product
        expected += float(0.5 * per_channel.square().mean(dim=0).sum())
    assert scored(normalised_net(), "fisher") == pytest.approx(expected, rel=1e-4)


def test_synflow_by_hand() -> None:
    """Two layers: R = sum |V| |W| 1, and each layer's sum of |w| dR/d|w| is R itself."""
    torch.manual_seed(2)
    net = nn.Sequential(nn.Linear(4, 6, bias=False), nn.ReLU(), nn.Linear(6, 3, bias=False))
    flow = float((net[2].weight.abs() @ net[0].weight.abs() @ torch.ones(4)).sum())
    made = measure(net, ["synflow"], input_shape=(1, 4), batch=BATCH)
    assert made.scores["synflow"] == pytest.approx(math.log(2 * flow), rel=1e-5)
    assert made.nodes["synflow"][~np.isnan(made.nodes["synflow"])] == pytest.approx([math.log1p(flow)] * 2, rel=1e-5)


def codes(net: nn.Sequential, x: Tensor) -> list[Tensor]:
    """`[B, units]` per ReLU, whether it is active."""
    found = []
    for layer in net.train():
        if isinstance(layer, nn.ReLU):
            found.append((x > 0).flatten(1))
        x = layer(x)
    return found


def test_naswot_by_loops() -> None:
    net = normalised_net()
    active = torch.cat(codes(net, data(net)[0]), dim=1).tolist()
    kernel = np.zeros((BATCH, BATCH))
    for i in range(BATCH):
        for j in range(BATCH):
            kernel[i, j] = sum(a == b for a, b in zip(active[i], active[j], strict=True))
    assert scored(normalised_net(), "naswot") == pytest.approx(np.linalg.slogdet(kernel)[1], rel=1e-4)


def test_swap_by_loops() -> None:
    net = normalised_net()
    active = torch.cat(codes(net, data(net)[0]), dim=1)
    patterns = {tuple(column) for column in active.T.tolist()}
    size = sum(p.numel() for p in net.parameters())
    assert scored(normalised_net(), "swap") == len(patterns)
    expected = len(patterns) * math.exp(-(((size - 1e6) / 1e6) ** 2))
    assert scored(normalised_net(), "swap_reg") == pytest.approx(expected)


def test_jacob_cov_sample_by_sample() -> None:
    net = plain_net().eval()
    rows = []
    for sample in data(net)[0]:
        one = sample[None].requires_grad_(True)
        rows.append(torch.autograd.grad(net(one).sum(), one)[0].flatten())
    values = np.linalg.eigvalsh(np.corrcoef(torch.stack(rows).double().numpy())) + 1e-5
    assert scored(plain_net(), "jacob_cov") == pytest.approx(-float(np.sum(np.log(values) + 1 / values)), rel=1e-3)


def sample_rows(of: Callable[[Tensor, Tensor], Tensor]) -> list[Tensor]:
    """Per weight `[B, P]` gradient of `of(logits, label)` of each sample, one backward pass each."""
    net = plain_net().eval()
    x, labels = data(net)
    rows = [torch.autograd.grad(of(net(x[i : i + 1]), labels[i : i + 1]), weights_of(net)) for i in range(BATCH)]
    return [torch.stack([row[layer].flatten() for row in rows]).double() for layer in range(3)]


def test_gradsign_sample_by_sample() -> None:
    rows = sample_rows(F.cross_entropy)
    expected = sum(float(row.sign().sum(dim=0).abs().sum()) for row in rows) / BATCH
    assert scored(plain_net(), "gradsign") == pytest.approx(expected, rel=1e-3)


def test_zico_sample_by_sample() -> None:
    expected = 0.0
    for row in sample_rows(F.cross_entropy):
        batches = torch.stack([row[: BATCH // 2].mean(dim=0), row[BATCH // 2 :].mean(dim=0)])
        deviation = batches.std(dim=0, unbiased=False)
        expected += math.log(float((batches.abs().mean(dim=0)[deviation > 0] / deviation[deviation > 0]).sum()))
    assert scored(plain_net(), "zico") == pytest.approx(expected, rel=1e-3)


def test_ntk_sample_by_sample() -> None:
    flat = torch.cat(sample_rows(lambda logits, _: logits.sum()), dim=1)
    values = np.linalg.eigvalsh((flat @ flat.T).numpy())
    assert scored(plain_net(), "ntk") == pytest.approx(-math.log(values[-1] / values[0]), rel=1e-2)


def test_meco() -> None:
    net = plain_net().eval()
    x, expected = data(net)[0][:1], 0.0
    for layer in net:
        x = layer(x)
        if isinstance(layer, nn.Conv2d):
            expected += np.linalg.eigvalsh(np.corrcoef(x[0].flatten(1).detach().double().numpy()))[0]
    assert scored(plain_net(), "meco") == pytest.approx(expected, rel=1e-3, abs=1e-6)


def chain() -> nn.Sequential:
    """Three blocks of equal resolution and a head; what AZ-NAS calls the features are the ends of the blocks."""
    torch.manual_seed(3)
    blocks = [nn.Sequential(nn.Conv2d(a, b, 3, padding=1), nn.ReLU()) for a, b in pairwise((3, 6, 8, 8))]
    return nn.Sequential(*blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5))


def features(net: nn.Sequential) -> list[Tensor]:
    x = data(net)[0]
    found = []
    for block in list(net)[:3]:
        x = block(x)
        found.append(x)
    return found


def test_az_expressivity_and_progressivity() -> None:
    entropies = []
    for feature in features(chain()):
        rows = feature.detach().permute(0, 2, 3, 1).flatten(0, 2).double().numpy()
        values = np.linalg.eigvalsh(np.cov(rows.T, bias=True)).clip(0)
        share = values / values.sum()
        entropies.append(float(-np.sum(share * np.log(share + 1e-8))))
    made = measure(chain(), ["az_expressivity", "az_progressivity"], input_shape=SHAPE, batch=BATCH)
    per_node = made.nodes["az_expressivity"]
    found = [per_node[node] for node, op in enumerate(made.ops) if op == "Relu"]
    assert found == pytest.approx(entropies, rel=1e-3)
    assert made.scores["az_progressivity"] == pytest.approx(_smallest_gain(per_node), rel=1e-3)


def _smallest_gain(per_node: Any) -> float:
    values = [float(value) for value in per_node if not math.isnan(value)]
    return min(after - before for before, after in pairwise(values))


def test_az_trainability() -> None:
    """Random signs sent back from each block's end; the spectral norm of their correlation with what arrives."""
    ends = features(chain())
    generator = torch.Generator().manual_seed(0)
    found = []
    for source, output in pairwise(ends):
        layout = output.contiguous(memory_format=torch.channels_last)  # the order in which signs are drawn
        signs = torch.empty_like(layout).bernoulli_(0.5, generator=generator) * 2 - 1
        (arrived,) = torch.autograd.grad(output, source, signs, retain_graph=True)
        left, right = (t.permute(0, 2, 3, 1).flatten(0, 2) for t in (arrived, signs))
        norm = float(torch.linalg.matrix_norm(left.T @ right / len(left), 2))
        found.append(-norm - 1 / (norm + 1e-6) + 2)
    made = measure(chain(), ["az_trainability"], input_shape=SHAPE, batch=BATCH)
    per_node = made.nodes["az_trainability"]
    assert [per_node[n] for n, op in enumerate(made.ops) if op == "Relu"][1:] == pytest.approx(found, rel=1e-3)


def test_vkdnw_against_jacobians() -> None:
    torch.manual_seed(2)
    net = nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 8, 3, stride=2), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4),
    )  # fmt: skip
    names = [name for name, _ in net.named_parameters()]
    values = {name: parameter.detach() for name, parameter in net.named_parameters()}
    firsts = torch.stack([values[name].flatten()[0] for name in names])
    information = torch.zeros(len(names), len(names), dtype=torch.float64)
    x = data(net)[0]
    for sample in x:

        def logits(entries: Tensor, one: Tensor = sample[None]) -> Tensor:
            changed = {
                name: torch.cat([entries[i : i + 1], values[name].flatten()[1:]]).reshape(values[name].shape)
                for i, name in enumerate(names)
            }
            return torch.func.functional_call(net, changed, (one,))[0]

        jacobian = torch.func.jacrev(logits)(firsts).double()
        p = logits(firsts).softmax(dim=0).double() * 0.95 + 0.05 / 4
        information += jacobian.T @ (torch.diag(p) - torch.outer(p, p)) @ jacobian / len(x)
    deciles = np.quantile(np.linalg.eigvalsh(information.numpy()).clip(0), np.arange(1, 10) / 10)
    share = deciles / deciles.sum()
    expected = len(names) - float(np.sum(share * np.log(share + 1e-12)))
    assert scored(net, "vkdnw") == pytest.approx(expected, rel=1e-4)


def test_zen_with_running_statistics() -> None:
    """As released: N(0, 1) weights, two passes in training mode, then what the running variances hold.

    They hold the unbiased variance, which differs by one part in the number of positions.
    """
    shape = (1, 3, 32, 32)
    with prepared(buildable(normalised_net(), shape), batch=BATCH, seed=0) as subject:
        passes = Passes(subject)
        tape, change = passes.white
        variances = []
        for value, node in enumerate(tape.nodes):
            if node.op == "BatchNormalization":
                norm = nn.BatchNorm2d(tape.results[value].shape[1]).train()
                before = tape.calls[value].tensors[0]
                for _ in range(2):
                    norm(before)
                assert norm.running_var is not None
                variances.append(float(norm.running_var.mean()))
    expected = math.log(change) + sum(0.5 * math.log(variance) for variance in variances)
    assert len(variances) == 2
    score = measure(normalised_net(), ["zen"], input_shape=shape, batch=BATCH).scores["zen"]
    assert score == pytest.approx(expected, abs=1e-2)
    assert change == pytest.approx(_change_before_pooling(shape), rel=1e-3)


def _change_before_pooling(shape: tuple[int, ...]) -> float:
    """Mean over samples of the change of the last feature map, with weights drawn layer by layer."""
    net = normalised_net().train()
    generator = torch.Generator().manual_seed(0)
    for weight in weights_of(net):
        weight.data = torch.randn(weight.shape, generator=generator)
    with prepared(buildable(normalised_net(), shape), batch=BATCH, seed=0) as subject:
        (x,), (noise,) = (subject.inputs(stream, white=True)[0] for stream in (2, 3))
    with torch.no_grad():
        before, after = net[:6](x[:4]), net[:6](x[:4] + 1e-2 * noise[:4])
    return float((before - after).abs().flatten(1).sum(dim=1).mean())


CONVOLUTIONS = [
    nn.Conv1d(4, 6, 3, stride=2, padding=1, groups=2),
    nn.Conv1d(4, 8, 2, dilation=3, bias=False),
    nn.Conv2d(4, 6, 3),
    nn.Conv2d(4, 8, (3, 1), stride=(2, 1), padding=(1, 0), groups=4),
    nn.Conv2d(4, 6, 3, padding=2, dilation=2, groups=2),
    nn.Conv2d(4, 6, 1, stride=2, bias=False),
    nn.Linear(9, 5),
]


@pytest.mark.parametrize("layer", CONVOLUTIONS, ids=str)
def test_shares_of_samples_against_autograd(layer: nn.Module) -> None:
    torch.manual_seed(4)
    axes = {nn.Conv1d: (4, 9), nn.Conv2d: (4, 9, 9), nn.Linear: (7, 9)}[type(layer)]
    x = torch.randn(3, *axes)
    output = layer(x)
    arriving = torch.randn_like(output)
    shares = sample_gradient(recorded(layer, x, output), arriving, [layer.weight])
    assert shares is not None
    for sample in range(len(x)):
        (expected,) = torch.autograd.grad(layer(x[sample : sample + 1]), layer.weight, arriving[sample : sample + 1])
        assert shares[sample].sort().values == pytest.approx(expected.flatten().sort().values, abs=1e-4)
        assert float(shares[sample] @ in_order(layer.weight, layer)) == pytest.approx(
            float((expected * layer.weight).sum()), abs=1e-3
        )


def in_order(weight: Tensor, layer: nn.Module) -> Tensor:
    """`[P]` the weight in the documented order: group, output, kernel, input channel."""
    weight = weight.detach()
    return weight.movedim(1, -1).flatten() if isinstance(layer, (nn.Conv1d, nn.Conv2d)) else weight.flatten()


def recorded(layer: nn.Module, x: Tensor, output: Tensor) -> Call:
    name = {nn.Conv1d: "conv1d", nn.Conv2d: "conv2d", nn.Linear: "linear"}[type(layer)]
    args: tuple[Any, ...] = (x, layer.weight, layer.bias)
    if isinstance(layer, (nn.Conv1d, nn.Conv2d)):
        args += (layer.stride, layer.padding, layer.dilation, layer.groups)
    return Call(name, args, {}, output, [x], tuple(x.shape), None)  # nothing asks for values


def test_a_vector_of_two_axes() -> None:
    layer, x = nn.Linear(9, 5), torch.randn(3, 9)
    output = layer(x)
    shares = sample_gradient(recorded(layer, x, output), torch.ones_like(output), [layer.weight])
    assert shares is not None
    assert torch.allclose(shares.reshape(3, 5, 9), x[:, None].expand(3, 5, 9))
