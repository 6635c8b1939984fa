"""Perceptrons on rows of numbers: features, or embeddings of any encoder. A small ensemble, any loss.

Importing this module does not import torch.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from archcast.errors import BundleError, ConfigError
from archcast.predictor.heads.networks import Networks
from archcast.predictor.heads.neural import LARGEST, ScoreLine, check_sizes, on_meta, raw_scores, trained
from archcast.predictor.heads.state import (
    HeadState,
    check_kind,
    check_shapes,
    config_of,
    load_weights,
    part,
    settings_of,
    weight_shapes,
)
from archcast.predictor.heads.training import HeadTraining, Weights

if TYPE_CHECKING:
    from torch import nn

FloatArray = NDArray[np.float64]

_CLIP = 4.0  # standard deviations: one odd network must not drive every unit
_CONSTANT = 1e9  # scale of a column that tells nothing: it stays 0 whatever comes


@dataclass(frozen=True)
class MLPConfig:
    """What an `MLPHead` is made of."""

    hidden: tuple[int, ...] = (128, 128)
    """Widths of the hidden layers."""
    dropout: float = 0.1
    """After each of them."""
    members: int = 3
    """Perceptrons; their scores are averaged."""
    loss: str = "margin"
    """A name of `archcast.predictor.losses.LOSSES`."""
    training: HeadTraining = field(
        default_factory=lambda: HeadTraining(steps=300, batch_size=64, learning_rate=2e-3, weight_decay=0.05)
    )
    """Steps and rates of each."""

    def __post_init__(self) -> None:
        if not all(1 <= width <= LARGEST for width in self.hidden) or len(self.hidden) > 64:
            raise ConfigError(f"hidden={self.hidden}: give at most 64 widths of 1..{LARGEST}")
        check_sizes(self, members=(1, 64))
        if not 0 <= self.dropout < 1:
            raise ConfigError(f"dropout={self.dropout} must lie in 0..1, 1 excluded")


@dataclass(frozen=True, eq=False)
class MLPHead:
    """Trained perceptrons. Build it with `MLPHead.fit`.

    Attributes:
        config: what it is made of.
        center, scale: `[F]` standardisation of the rows, which are then clipped at four deviations.
        members: weights of each perceptron.
        lines: the scores of each to targets.
    """

    config: MLPConfig
    center: FloatArray
    scale: FloatArray
    members: tuple[Weights, ...]
    lines: tuple[ScoreLine, ...]

    kind: ClassVar[str] = "mlp"

    @classmethod
    def fit(cls, networks: Networks, targets: FloatArray, *, seed: int = 0, config: MLPConfig | None = None) -> MLPHead:
        """Fit to the features of `networks` and `targets` `[n]`."""
        import torch

        config = config or MLPConfig()
        center, spread = networks.features.mean(axis=0), networks.features.std(axis=0)
        scale = np.where(spread > 1e-6, spread, _CONSTANT)
        rows = torch.from_numpy(_standardise(networks.features, center, scale))
        members, lines = [], []
        for member in range(config.members):
            model, weights = trained(
                lambda: _perceptron(len(center), config), lambda some: rows[torch.from_numpy(some)],
                targets, config.loss, config.training, seed * 1000 + member,
            )  # fmt: skip
            members.append(weights)
            lines.append(ScoreLine.fit(raw_scores(model, lambda some: rows[some], len(rows)), targets))
        return cls(config, center, scale, tuple(members), tuple(lines))

    def predict(self, networks: Networks) -> FloatArray:
        """`[m]` mean scores."""
        return np.asarray(self._each(networks).mean(axis=0))

    def spread(self, networks: Networks) -> FloatArray:
        """`[m]` standard deviation of the scores over members: how much they disagree, which is not calibrated."""
        return np.asarray(self._each(networks).std(axis=0))

    def _each(self, networks: Networks) -> FloatArray:
        import torch

        rows = torch.from_numpy(_standardise(networks.features, self.center, self.scale))
        scores = []
        for weights, line in zip(self.members, self.lines, strict=True):
            model = load_weights(_perceptron(len(self.center), self.config), weights)
            scores.append(line(raw_scores(model, lambda some: rows[some], len(rows))))
        return np.stack(scores)

    def state(self) -> HeadState:
        """The head as data."""
        lines = np.asarray([[line.slope, line.offset] for line in self.lines])
        arrays = {"center": self.center, "scale": self.scale, "lines": lines}
        for number, member in enumerate(self.members):
            arrays |= {f"{number}.{name}": value for name, value in member.items()}
        return HeadState(self.kind, settings_of(self.config), arrays)

    @classmethod
    def from_state(cls, state: HeadState) -> MLPHead:
        """The head that `state` describes.

        Raises:
            BundleError: it does not fit together.
        """
        check_kind(state, cls.kind)
        config = config_of(MLPConfig, state.settings, "mlp")
        center = state.arrays.get("center", np.zeros(0))
        if center.ndim != 1 or not len(center):
            raise BundleError("mlp: center must have one number per feature; fit the head again")
        weights = weight_shapes(on_meta(lambda: _perceptron(len(center), config)))
        shapes: dict[str, tuple[int, ...]] = {"center": center.shape, "scale": center.shape}
        shapes["lines"] = (config.members, 2)
        shapes |= {f"{n}.{name}": shape for n in range(config.members) for name, shape in weights.items()}
        check_shapes(state.arrays, shapes, "mlp")
        if (state.arrays["scale"] <= 0).any():
            raise BundleError("mlp: scale must be positive; the bundle is damaged, fit the head again")
        members = tuple(part(state.arrays, f"{number}.") for number in range(config.members))
        lines = tuple(ScoreLine(float(slope), float(offset)) for slope, offset in state.arrays["lines"])
        return cls(config, center, state.arrays["scale"], members, lines)


def _standardise(features: FloatArray, center: FloatArray, scale: FloatArray) -> NDArray[np.float32]:
    rows = (features - center) / scale
    # What was constant among the labelled networks says nothing, however far away it is later.
    return np.where(scale < _CONSTANT, np.clip(rows, -_CLIP, _CLIP), 0).astype(np.float32)


def _perceptron(inputs: int, config: MLPConfig) -> nn.Module:
    from torch import nn

    widths = (inputs, *config.hidden)
    layers: list[nn.Module] = []
    for before, after in pairwise(widths):
        layers += [nn.Linear(before, after), nn.GELU(), nn.Dropout(config.dropout)]
    return nn.Sequential(*layers, nn.Linear(widths[-1], 1))
