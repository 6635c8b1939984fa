"""`Tape`: what normalisations do, what is kept, and where values lie in the graph."""

# mypy: disable-error-code="arg-type,operator"
# Layers of a Sequential are typed "Tensor | Module"; casts would hide the formulas.

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from archcast.errors import NetworkError
from archcast.proxies.noise import input_noise
from archcast.proxies.tape import BatchNorm, Normalisations, Tape, batch_normalised


def net() -> nn.Sequential:
    torch.manual_seed(0)
    made = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(64, 2))
    nn.init.uniform_(made[1].weight, 0.5, 2)
    nn.init.normal_(made[1].bias)
    return made.eval()


def recorded(module: nn.Module, x: Tensor, norm: BatchNorm = BatchNorm.BATCH) -> tuple[Tape, Tensor]:
    tape = Tape(module.parameters(), norm)
    with tape:
        tape.input(x)
        return tape, module(x)


def test_batch_statistics_are_those_of_training_mode() -> None:
    module, x = net(), torch.randn(5, 3, 6, 6)
    _, found = recorded(module, x)
    running = module[1].running_mean.clone()
    assert torch.allclose(found, module.train()(x), atol=1e-5)
    assert not torch.equal(module[1].running_mean, running)


def test_recording_leaves_running_statistics_alone() -> None:
    module, x = net(), torch.randn(5, 3, 6, 6)
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    recorded(module, x)
    assert all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())


def test_skipped_normalisations_do_nothing() -> None:
    module, x = net(), torch.randn(5, 3, 6, 6)
    _, found = recorded(module, x, BatchNorm.SKIP)
    assert torch.allclose(found, nn.Sequential(module[0], *module[2:])(x), atol=1e-6)


@pytest.mark.parametrize("norm", BatchNorm)
def test_unrecorded_passes_agree(norm: BatchNorm) -> None:
    module, x = net(), torch.randn(5, 3, 6, 6)
    with Normalisations(norm):
        found = module(x)
    assert torch.allclose(found, recorded(module, x, norm)[1], atol=1e-6)


def test_inverse_deviations() -> None:
    x = torch.randn(6, 4, 5, 5) * 3
    result, inverse = batch_normalised(x, None, None, 1e-5)
    assert torch.allclose(inverse, 1 / x.std(dim=(0, 2, 3), unbiased=False), rtol=1e-4)
    assert torch.allclose(result, F.batch_norm(x, None, None, training=True), atol=1e-5)


def test_one_value_per_channel_is_refused() -> None:
    with pytest.raises(NetworkError, match="larger batch"):
        batch_normalised(torch.randn(1, 4, 1, 1), None, None, 1e-5)


def test_parameters_belong_to_the_value_that_uses_them() -> None:
    module, x = net(), torch.randn(2, 3, 6, 6)
    tape, _ = recorded(module, x)
    owners = tape.owners()
    assert [tape.nodes[owners[index]].op for index in range(len(tape.parameters))] == [
        "Conv", "Conv", "BatchNormalization", "BatchNormalization", "Gemm", "Gemm",
    ]  # fmt: skip


def test_places_follow_the_canonical_graph() -> None:
    module, x = net(), torch.randn(2, 3, 6, 6)
    tape, outputs = recorded(module, x)
    from archcast.graphs.canonical import canonicalise

    raw = tape.graph(outputs)
    graph, places = canonicalise(raw), tape.places(outputs, raw)
    for value, place in places.items():
        assert tape.nodes[value].op == graph.nodes[place].op


def test_overwritten_tensors_are_not_intact() -> None:
    layer, x = nn.Linear(3, 3), torch.randn(2, 3)
    tape = Tape(layer.parameters(), in_place=True)
    with tape:
        tape.input(x)
        y = layer(x)
        y.mul_(2)
    assert tape.intact(1) is None
    assert tape.intact(0) is x


def test_noise_has_unit_variance_and_falls_off_with_frequency() -> None:
    noise = input_noise((8, 3, 32, 32), torch.Generator().manual_seed(0))
    assert float(noise.std()) == pytest.approx(1, abs=1e-3)
    power = torch.fft.rfft2(noise).abs().square().mean(dim=(0, 1))[0]
    ratio = float(power[1:3].mean() / power[8:16].mean())
    assert ratio > 16  # white noise has 1, amplitude 1/f about (11/1.4)^2
    colours = torch.corrcoef(noise.transpose(0, 1).flatten(1))
    assert float(colours[0, 1]) > 0.3
    tokens = input_noise((4, 7, 16), torch.Generator().manual_seed(0))
    assert torch.equal(tokens, torch.randn((4, 7, 16), generator=torch.Generator().manual_seed(0)))
