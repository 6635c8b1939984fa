"""Linear regions, and the proxies of recurrent networks and transformers: answers known in advance, invariances."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from archcast.graphs.modules import buildable
from archcast.proxies.measurement import Measurements, measure
from archcast.proxies.passes import Passes
from archcast.proxies.proxy import SEQUENCE_PROXIES
from archcast.proxies.scores import linear_regions
from archcast.proxies.scores.w_pca import components
from archcast.proxies.subject import prepared

TOKENS, WIDTH = (1, 6), 8


def at(measured: Measurements, name: str) -> list[tuple[str, float]]:
    values = measured.nodes[name]
    return [(measured.ops[i], float(values[i])) for i in np.flatnonzero(~np.isnan(values))]


def passes_of(module: nn.Module, shape: tuple[int, ...], look: Callable[[Passes], Any], batch: int = 5) -> Any:
    """What `look` sees in the passes over a module."""
    with prepared(buildable(module, shape), batch=batch, seed=0) as subject:
        return look(Passes(subject))


class Attend(nn.Module):
    """One attention layer on embedded tokens, fused or written out, with queries and keys scaled by `sharpness`."""

    def __init__(self, kind: str = "fused", sharpness: float = 1.0, heads: int = 2) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.kind, self.sharpness, self.heads = kind, sharpness, heads
        self.words = nn.Embedding(20, WIDTH)
        self.qkv = nn.Linear(WIDTH, 3 * WIDTH)
        self.head = nn.Linear(WIDTH, 4)

    def forward(self, tokens: Tensor) -> Tensor:
        qkv = self.qkv(self.words(tokens)).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        query, key, value = qkv[0] * self.sharpness, qkv[1], qkv[2]
        if self.kind == "written":
            weights = (query @ key.transpose(-2, -1) / math.sqrt(query.shape[-1])).softmax(dim=-1)
            mixed = weights @ value
        elif self.kind == "causal":
            mixed = F.scaled_dot_product_attention(query, key, value, is_causal=True)
        elif self.kind == "masked":
            seen = torch.ones(query.shape[-2], query.shape[-2], dtype=torch.bool).tril()
            mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=seen)
        else:
            mixed = F.scaled_dot_product_attention(query, key, value)
        out: Tensor = self.head(mixed.transpose(1, 2).flatten(2))
        return out


def test_uniform_attention_is_confident_to_one_over_tokens() -> None:
    measured = measure(Attend(sharpness=0.0), "attention_confidence", input_shape=TOKENS)
    ((op, value),) = at(measured, "attention_confidence")
    assert op == "Attention"
    assert value == pytest.approx(1 / 6)
    assert measure(Attend(sharpness=0.0, kind="causal"), "attention_confidence", input_shape=TOKENS).scores[
        "attention_confidence"
    ] == pytest.approx(sum(1 / n for n in range(1, 7)) / 6)  # the n-th query sees n keys


def test_sharp_attention_is_sure() -> None:
    """Tokens that occur twice share the weight, so that it stays below 1."""
    soft, sharp = (
        measure(Attend(sharpness=scale), "attention_confidence", input_shape=TOKENS).scores["attention_confidence"]
        for scale in (1.0, 1e4)
    )
    assert soft < 0.6
    assert 0.8 < sharp <= 1.0


@pytest.mark.parametrize("name", ["attention_confidence", "head_importance"])
@pytest.mark.parametrize(("one", "other"), [("fused", "written"), ("causal", "masked")])
def test_two_ways_to_write_attention_measure_the_same(name: str, one: str, other: str) -> None:
    values = [measure(Attend(kind), [name], input_shape=TOKENS).scores[name] for kind in (one, other)]
    assert values[0] == pytest.approx(values[1], rel=1e-4)
    assert values[0] > 0


def test_head_importance_is_the_product_with_the_gradient() -> None:
    """The loss of each sample by itself: the derivative for a gate of each head, absolute, mean over samples."""
    network = Attend().double()

    def gated(passes: Passes) -> float:
        (tokens,), _ = passes.subject.inputs()
        total = 0.0
        for sample, label in zip(tokens, passes.labels, strict=True):
            gates = torch.ones(network.heads, 1, 1, dtype=torch.float64, requires_grad=True)
            qkv = network.qkv(network.words(sample[None])).unflatten(-1, (3, network.heads, -1)).permute(2, 0, 3, 1, 4)
            mixed = F.scaled_dot_product_attention(qkv[0], qkv[1], qkv[2]) * gates
            logits = network.head(mixed.transpose(1, 2).flatten(2)).mean(dim=1)
            (gradient,) = torch.autograd.grad(F.cross_entropy(logits.float(), label[None]), gates)
            total += float(gradient.abs().sum()) / len(tokens)
        return total

    expected = passes_of(network, TOKENS, gated)
    measured = measure(network, "head_importance", input_shape=TOKENS, batch=5)
    assert measured.scores["head_importance"] == pytest.approx(expected, rel=1e-4)


class Feed(nn.Module):
    """Two feed-forward layers on tokens: one through GELU whose hidden states fill `rank` directions, one gated."""

    def __init__(self, rank: int) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.words = nn.Embedding(50, WIDTH)
        self.inner, self.outer = nn.Linear(WIDTH, 32), nn.Linear(32, WIDTH)
        self.norm = nn.LayerNorm(WIDTH)
        self.gate, self.up, self.down = (nn.Linear(*sizes) for sizes in ((WIDTH, 12), (WIDTH, 12), (12, WIDTH)))
        self.head = nn.Sequential(nn.Linear(WIDTH, 6), nn.ReLU(), nn.Linear(6, 3))
        with torch.no_grad():
            basis = torch.linalg.qr(torch.randn(32, rank)).Q
            self.inner.weight.copy_(basis @ torch.linalg.qr(torch.randn(WIDTH, rank)).Q.T)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.words(tokens)
        x = x + self.outer(F.gelu(self.inner(x)))
        x = self.norm(x)
        x = x + self.down(F.silu(self.gate(x)) * self.up(x))
        out: Tensor = self.head(x.mean(dim=1))
        return out


@pytest.mark.parametrize("rank", [1, 3])
def test_w_pca_counts_the_directions_of_hidden_states(rank: int) -> None:
    """The classifier has hidden states too, but not of tokens; of a gated layer the activated half counts."""
    network = Feed(rank)
    measured = measure(network, "w_pca", input_shape=TOKENS)
    (first, second) = at(measured, "w_pca")
    assert first == ("Gemm", rank)
    assert second[0] == "Gemm"
    assert 2 < second[1] <= WIDTH
    weights = sum(parameter.numel() for parameter in network.parameters())
    assert measured.scores["w_pca"] == (first[1] + second[1]) * weights


def test_components_explain_99_percent_of_the_variance() -> None:
    deviations = torch.tensor([10.0, 3.0, 1.0, 0.5])  # variances 100, 9, 1, .25: shares .907, .989, .998
    states = torch.linalg.qr(torch.randn(500, 4, generator=torch.Generator().manual_seed(0))).Q
    states = (states - states.mean(dim=0)) * deviations + 7.0
    assert components(states) == 3
    assert components(torch.cat([states, torch.zeros(500, 800)], dim=1)) == 3  # wider than high
    assert components(torch.ones(9, 3)) == 0


class Recurrent(nn.Module):
    """A layer over tokens, by one call or step by step."""

    def __init__(self, kind: str, batch_first: bool = True, scale: float = 1.0) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.kind, self.batch_first, self.scale = kind, batch_first, scale
        self.words = nn.Embedding(20, WIDTH)
        self.layer = getattr(nn, kind.removesuffix("Cell"))(WIDTH, 16, batch_first=batch_first)
        self.cell = nn.GRUCell(WIDTH, 16)
        with torch.no_grad():
            for source, target in zip(self.layer.parameters(), self.cell.parameters(), strict=True):
                if source.shape == target.shape:
                    target.copy_(source)
        self.head = nn.Linear(16, 3)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.words(tokens) * self.scale
        if self.kind == "GRUCell":
            state = x.new_zeros(len(x), 16)
            for step in range(x.shape[1]):
                state = self.cell(x[:, step], state)
            out: Tensor = self.head(state)
            return out
        states, _ = self.layer(x if self.batch_first else x.transpose(0, 1))
        last: Tensor = self.head(states[:, -1] if self.batch_first else states[-1])
        return last


def covariance(network: nn.Module, batch: int = 8) -> list[tuple[str, float]]:
    return at(measure(network, "hidden_covariance", input_shape=TOKENS, batch=batch), "hidden_covariance")


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
def test_hidden_covariance_follows_its_formula(kind: str) -> None:
    network = Recurrent(kind)

    def states(passes: Passes) -> Tensor:
        (tokens,), _ = passes.subject.inputs()
        with torch.no_grad():
            found: Tensor = network.layer(network.words(tokens))[0].flatten(1)
        return found

    spectrum = np.linalg.eigvalsh(np.corrcoef(passes_of(network, TOKENS, states, 8).double().numpy())) + 1e-5
    expected = -(np.log(spectrum) + 1 / spectrum).sum()
    for same in (network, Recurrent(kind, batch_first=False)):
        ((op, value),) = covariance(same)
        assert op == kind
        assert value == pytest.approx(expected, rel=1e-3)


def test_cells_in_a_loop_are_one_layer() -> None:
    (one,), (other,) = covariance(Recurrent("GRU")), covariance(Recurrent("GRUCell"))
    assert one[0] == other[0] == "GRU"
    assert one[1] == pytest.approx(other[1], rel=1e-3)


def test_samples_that_are_remembered_alike_score_low() -> None:
    assert covariance(Recurrent("LSTM", scale=0.0))[0][1] < covariance(Recurrent("LSTM"))[0][1] - 1e3


def test_recurrence_over_one_sample_says_so() -> None:
    measured = measure(nn.LSTM(4, 6), "hidden_covariance")
    assert math.isnan(measured.scores["hidden_covariance"])
    assert "the first axis of its input must be the batch" in measured.missing["hidden_covariance"]


def test_images_have_no_sequence_proxies() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
    measured = measure(network, SEQUENCE_PROXIES, input_shape=(1, 3, 8, 8))
    assert set(measured.missing) == set(SEQUENCE_PROXIES)
    assert all("has no" in reason for reason in measured.missing.values())


def test_circle_crosses_every_unit_twice() -> None:
    """Without biases each unit is a half-space through the origin: a circle around it enters and leaves once."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(5, 70, bias=False), nn.ReLU(), nn.Linear(70, 2))
    measured = measure(network, "linear_regions", input_shape=(1, 5))
    assert at(measured, "linear_regions") == [("Relu", 140.0)]


class Shrinking(nn.Module):
    """Tells the heights it is fed with; below `least` it refuses."""

    def __init__(self, least: int, tell: Callable[[int], None]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.least, self.tell = least, tell
        self.conv, self.head = nn.Conv2d(3, 4, 3, padding=1), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        self.tell(x.shape[2])
        assert x.shape[2] >= self.least
        out: Tensor = self.head(self.conv(x).relu().mean(dim=(2, 3)))
        return out


@pytest.mark.parametrize(("least", "height"), [(1, 8), (9, 16), (17, 32)])
def test_linear_regions_take_the_smallest_resolution(least: int, height: int) -> None:
    heights: list[int] = []
    measured = measure(Shrinking(least, heights.append), "linear_regions", input_shape=(1, 3, 32, 32))
    assert not measured.missing
    assert heights[-1] == height
    assert 0 < measured.scores["linear_regions"] < linear_regions.POINTS * 4 * height**2


def test_linear_regions_do_not_depend_on_scale() -> None:
    one, other = (
        nn.Sequential(nn.Conv2d(3, 8, 3, bias=False), nn.ReLU(), nn.Flatten(), nn.Linear(288, 3)) for _ in range(2)
    )
    other.load_state_dict({name: 3 * weight for name, weight in one.state_dict().items()})
    scores = [measure(net, "linear_regions", input_shape=(1, 3, 8, 8)).scores["linear_regions"] for net in (one, other)]
    assert scores[0] == scores[1] > 0


def test_tokens_have_no_linear_regions() -> None:
    measured = measure(Attend(), "linear_regions", input_shape=TOKENS)
    assert "no floating-point input" in measured.missing["linear_regions"]


def test_linear_regions_tell_cells_apart() -> None:
    """More convolutions bend space more often; a cell of skips has the activations of the stem's reductions only."""
    conv, skip = "nor_conv_3x3", "skip_connect"
    cells = [f"nasbench201:|{op}~0|+|{op}~0|{op}~1|+|{op}~0|{op}~1|{op}~2|" for op in (conv, skip)]
    many, few = (measure(cell, "linear_regions").scores["linear_regions"] for cell in cells)
    assert many > 3 * few > 0


def test_transformers_of_the_zoo_have_them_in_every_layer() -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.BertConfig(
        hidden_size=32, num_hidden_layers=3, num_attention_heads=4, intermediate_size=64, vocab_size=100
    )
    weights, found = None, {}
    for kind in ("sdpa", "eager"):
        module = transformers.BertForSequenceClassification._from_config(config, attn_implementation=kind)
        weights = weights or module.state_dict()
        module.load_state_dict(weights)
        found[kind] = measure(module, SEQUENCE_PROXIES, input_shape=(1, 16))
        for name in SEQUENCE_PROXIES[1:]:
            assert len(at(found[kind], name)) == 3
    for name in SEQUENCE_PROXIES[1:]:
        assert found["sdpa"].scores[name] == pytest.approx(found["eager"].scores[name], rel=1e-3)


def test_small_vision_transformers_have_them() -> None:
    timm = pytest.importorskip("timm")
    module = timm.create_model("vit_tiny_patch16_224", img_size=32, depth=2, num_classes=5)
    measured = measure(module, ("linear_regions", *SEQUENCE_PROXIES[1:]), input_shape=(1, 3, 32, 32), batch=4)
    assert not measured.missing
    assert [op for op, _ in at(measured, "attention_confidence")] == ["Attention"] * 2
    assert [op for op, _ in at(measured, "w_pca")] == ["Gemm"] * 2
    assert 0.2 <= measured.scores["attention_confidence"] < 1  # four patches and the class token
