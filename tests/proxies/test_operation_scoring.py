"""Zero-Cost-PT on toy supernets and on the supernet of NAS-Bench-201."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from archcast.datasets.nasbench201 import OPERATIONS, NASBench201
from archcast.datasets.nasbench201_module import TinyNetwork
from archcast.datasets.nasbench201_supernet import DECISIONS, NASBench201Supernet
from archcast.datasets.nasbench201_supernet import discretise as to_spec
from archcast.errors import ConfigError, NetworkError, UnknownNameError
from archcast.proxies.operation_scoring import Choices, decisions, discretise, score_operations, search_operations

SHAPE = (1, 3, 8, 8)


class Toy(nn.Module):
    """Two decisions, each between a convolution and layers that compute nothing; the first one is shared."""

    class Choice(nn.Module):
        def __init__(self, decision: str) -> None:
            super().__init__()
            self.decision = decision
            useful = nn.Sequential(nn.Conv2d(6, 6, 3, padding=1), nn.ReLU())
            self.candidates = nn.ModuleDict({"nothing": nn.Dropout(1.0), "useful": useful, "skip": nn.Identity()})
            self.kept: tuple[str, ...] = tuple(self.candidates)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.stack([self.candidates[name](x) * (name != "nothing") for name in self.kept]).sum(dim=0)

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3, padding=1)
        self.choices = nn.Sequential(self.Choice("first"), self.Choice("first"), self.Choice("second"))
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.head(self.choices(self.stem(x)))
        return out


def small() -> NASBench201Supernet:
    return NASBench201Supernet(cells=1, width=0.25)


def seeded() -> NASBench201Supernet:
    torch.manual_seed(0)
    return small()


def test_layers_of_one_decision_are_decided_together() -> None:
    assert {name: len(layers) for name, layers in decisions(Toy()).items()} == {"first": 2, "second": 1}
    cells = decisions(NASBench201Supernet(cells=2))
    assert {name: len(layers) for name, layers in cells.items()} == dict.fromkeys(DECISIONS, 6)


@pytest.mark.parametrize("proxy", ["synflow", "naswot", "macs"])
def test_the_useful_operation_is_worth_most(proxy: str) -> None:
    torch.manual_seed(0)
    toy = Toy()
    worth = score_operations(toy, proxy, input_shape=SHAPE)
    assert list(worth) == ["first", "second"]
    for operations in worth.values():
        assert list(operations) == ["nothing", "useful", "skip"]
        assert operations["nothing"] == pytest.approx(0, abs=1e-9)
        assert max(operations, key=lambda name: operations[name]) == "useful"
    assert discretise(toy, proxy, input_shape=SHAPE) == {"first": "useful", "second": "useful"}


def test_the_supernet_is_left_as_it_was() -> None:
    toy = Toy()
    state = {name: tensor.clone() for name, tensor in toy.state_dict().items()}
    discretise(toy, "synflow", input_shape=SHAPE)
    assert all(layer.kept == ("nothing", "useful", "skip") for layers in decisions(toy).values() for layer in layers)
    assert all(torch.equal(tensor, state[name]) for name, tensor in toy.state_dict().items())


def test_it_is_restored_after_an_error_too() -> None:
    toy = Toy()
    toy.head[2] = nn.Linear(7, 4)  # does not fit
    with pytest.raises(Exception, match="shapes cannot be multiplied"):
        discretise(toy, "synflow", input_shape=SHAPE)
    assert all(len(layer.kept) == 3 for layers in decisions(toy).values() for layer in layers)


def test_what_is_needed_for_a_measurement_is_worth_infinitely_much() -> None:
    toy = Toy()
    for layer in decisions(toy)["second"]:
        layer.kept = ("nothing", "skip")
    worth = score_operations(toy, "synflow", input_shape=SHAPE)["second"]
    assert worth["skip"] == math.inf
    assert discretise(toy, "synflow", input_shape=SHAPE)["second"] == "skip"


def test_scores_are_a_function_of_weights_and_seed() -> None:
    torch.manual_seed(0)
    supernet = Toy()
    one = score_operations(supernet, "naswot", input_shape=SHAPE, seed=1)
    assert one == score_operations(supernet, "naswot", input_shape=SHAPE, seed=1)
    assert one != score_operations(supernet, "naswot", input_shape=SHAPE, seed=2)


def test_search_validates_what_it_finds() -> None:
    seen = []

    def network(choices: Choices) -> nn.Module:
        seen.append(dict(choices))
        decided = Toy()
        for decision, layers in decisions(decided).items():
            for layer in layers:
                layer.kept = (choices[decision],)
        return decided

    found = search_operations(Toy, network, "macs", orders=3, validation=2, input_shape=SHAPE)
    assert found.choices == {"first": "useful", "second": "useful"}
    assert seen == [found.choices]  # three orders led to one network, which was scored once
    assert found.score == found.proposals[0][1] > 0


def test_a_decided_supernet_is_the_network_of_the_spec() -> None:
    choices = dict(zip(DECISIONS, [*OPERATIONS, "nor_conv_3x3"], strict=True))
    supernet = NASBench201Supernet(num_classes=7).eval()
    for decision, layers in decisions(supernet).items():
        for layer in layers:
            layer.kept = (choices[decision],)
    spec = to_spec(choices)
    assert NASBench201().parse(spec).operations == tuple(choices.values())
    network = TinyNetwork(tuple(choices.values()), num_classes=7).eval()
    weights = supernet.state_dict()
    chosen = {f"edges.{edge}.": f"edges.{edge}.candidates.{name}." for edge, name in enumerate(choices.values())}
    renamed = {}
    for key in network.state_dict():
        source = key
        for short, long in chosen.items():
            source = source.replace(short, long)
        renamed[key] = weights[source]
    network.load_state_dict(renamed)
    image = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(network(image), supernet(image))


def test_removing_zero_changes_nothing_and_weights_stay() -> None:
    supernet, image = seeded().eval(), torch.randn(2, *SHAPE[1:])
    before = supernet(image)
    for layers in decisions(supernet).values():
        for layer in layers:
            layer.kept = tuple(name for name in OPERATIONS if name != "none")
    torch.testing.assert_close(supernet(image), before)


def test_refusals() -> None:
    with pytest.raises(ConfigError, match="ChoiceLayer"):
        discretise(nn.Linear(3, 3))
    with pytest.raises(UnknownNameError, match="no proxy"):
        discretise(small(), "clairvoyance", input_shape=SHAPE)
    with pytest.raises(NetworkError, match="does not exist for this supernet"):
        score_operations(Toy(), "w_pca", input_shape=SHAPE)
    with pytest.raises(ConfigError, match="at least 1"):
        search_operations(small, to_spec, orders=0)
    with pytest.raises(ConfigError, match="undecided edges"):
        to_spec({DECISIONS[0]: "skip_connect"})
    with pytest.raises(ConfigError, match="one channel"):
        NASBench201Supernet(width=0.0)
    uneven = Toy()
    decisions(uneven)["first"][1].kept = ("skip",)
    with pytest.raises(ConfigError, match="different candidates"):
        discretise(uneven, input_shape=SHAPE)
