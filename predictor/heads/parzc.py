"""ParZC: node-wise zero-cost statistics -> score (Dong et al., "ParZC: Parametric Zero-Cost Proxies for Efficient NAS",
AAAI 2025).

A zero-cost proxy sums a statistic over the nodes of a network as if every node counted alike. ParZC learns what to make
of the statistics of all nodes: a mixer over segments of the row of statistics, with Bayesian linear layers (`Mixer`),
trained by a smooth Kendall tau (`archcast.predictor.losses.diffkendall_parzc`). Paper and released code differ:

| | `variant="paper"` | `variant="released"` |
|---|---|---|
| mixing | segments, then channels | channels twice (widths x 4 and x 1/2) |
| loss | rank loss + `kl_weight` * KL of the Bayesian weights | rank loss |
| prediction | mean weights | one draw of the weights |

What the paper leaves open is as in the code: the inputs (`layer_rows`), 256 = 16 x 16, width 512, depth 4. It does not
give the weight of the KL term; ours counts the mean over weights.

Importing this module does not import torch.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from archcast.errors import ConfigError
from archcast.predictor.heads.networks import Networks
from archcast.predictor.heads.neural import LARGEST, ScoreLine, check_sizes, on_meta, raw_scores, trained
from archcast.predictor.heads.node_statistics import layer_counts, layer_rows, require
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
    from torch import Tensor

    from archcast.predictor.heads.parzc_mixer import Mixer

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class ParZCConfig:
    """What a `ParZCHead` is made of."""

    variant: str = "paper"
    """paper or released."""
    statistics: tuple[str, ...] = ("grad_norm", "snip", "synflow")
    """Statistics of nodes that are read."""
    segments: int = 16
    """Segments of the row of statistics."""
    segment: int = 16
    """Length of each."""
    width: int = 512
    """Of what a segment is embedded in."""
    depth: int = 4
    """Blocks of the mixer."""
    dropout: float = 0.1
    """Inside of them."""
    rho: float = -5.0
    """Start of the Bayesian weights: standard deviation softplus(rho) = .0067."""
    prior: float = 0.1
    """Standard deviation of their prior."""
    kl_weight: float = 0.01
    """Of their mean KL divergence in the loss; of no use for the released variant."""
    loss: str = "diffkendall_parzc"
    """A name of `archcast.predictor.losses.LOSSES`."""
    training: HeadTraining = field(default_factory=lambda: HeadTraining(steps=300, batch_size=32, learning_rate=1e-3))
    """Steps and rates."""

    def __post_init__(self) -> None:
        if self.variant not in ("paper", "released"):
            raise ConfigError(f"variant={self.variant!r}: choose paper or released")
        if not self.statistics:
            raise ConfigError("statistics is empty: name at least one statistic of nodes")
        check_sizes(self, segments=(1, LARGEST), segment=(1, LARGEST), width=(1, LARGEST), depth=(0, 64))
        if not 0 <= self.dropout < 1 or not self.prior > 0 or self.kl_weight < 0:
            raise ConfigError("dropout must lie in 0..1 (1 excluded), prior above 0, kl_weight not below 0")


@dataclass(frozen=True, eq=False)
class ParZCHead:
    """A trained ParZC. Build it with `ParZCHead.fit`.

    Attributes:
        config: what it is made of.
        length: layers of a network that are read: those of the deepest labelled one.
        weights: of the `Mixer`.
        line: its scores to targets.
        seed: of the noise of the released variant.
    """

    config: ParZCConfig
    length: int
    weights: Weights
    line: ScoreLine
    seed: int = 0

    kind: ClassVar[str] = "parzc"

    @classmethod
    def fit(
        cls, networks: Networks, targets: FloatArray, *, seed: int = 0, config: ParZCConfig | None = None
    ) -> ParZCHead:
        """Fit to `networks` with statistics of nodes, and `targets` `[n]`.

        Raises:
            DataError: a statistic was not measured.
        """
        import torch

        config = config or ParZCConfig()
        require(networks, config.statistics, "ParZC")
        length = max(int(layer_counts(networks, config.statistics).max(initial=0)), 1)
        rows = torch.from_numpy(layer_rows(networks, config.statistics, length))

        def penalty(model: Any) -> Tensor:
            value: Tensor = config.kl_weight * model.kl()
            return value

        bayesian = config.variant == "paper" and config.kl_weight > 0
        model, weights = trained(
            lambda: _mixer(length, config), lambda some: rows[torch.from_numpy(some)], targets, config.loss,
            config.training, seed, penalty if bayesian else None,
        )  # fmt: skip
        noise = seed if config.variant == "released" else None
        raw = raw_scores(model, lambda some: rows[some], len(rows), seed=noise)
        return cls(config, length, weights, ScoreLine.fit(raw, targets), seed)

    def predict(self, networks: Networks) -> FloatArray:
        """`[m]` scores.

        Raises:
            DataError: a statistic was not measured.
        """
        import torch

        require(networks, self.config.statistics, "ParZC")
        rows = torch.from_numpy(layer_rows(networks, self.config.statistics, self.length))
        model = load_weights(_mixer(self.length, self.config), self.weights)
        noise = self.seed if self.config.variant == "released" else None
        return self.line(raw_scores(model, lambda some: rows[some], len(rows), seed=noise))

    def state(self) -> HeadState:
        """The head as data."""
        settings = {"config": settings_of(self.config), "length": self.length, "seed": self.seed}
        line = {"line": np.asarray([self.line.slope, self.line.offset])}
        return HeadState(self.kind, settings, {**line, **{f"mixer.{k}": v for k, v in self.weights.items()}})

    @classmethod
    def from_state(cls, state: HeadState) -> ParZCHead:
        """The head that `state` describes.

        Raises:
            BundleError: it does not fit together.
        """
        check_kind(state, cls.kind)
        config = config_of(ParZCConfig, state.settings.get("config"), "parzc")
        sizes = config_of(_Sizes, {k: v for k, v in state.settings.items() if k != "config"}, "parzc")
        shapes = weight_shapes(on_meta(lambda: _mixer(sizes.length, config)))
        check_shapes(state.arrays, {"line": (2,), **{f"mixer.{name}": s for name, s in shapes.items()}}, "parzc")
        slope, offset = (float(value) for value in state.arrays["line"])
        return cls(config, sizes.length, part(state.arrays, "mixer."), ScoreLine(slope, offset), sizes.seed)


@dataclass(frozen=True)
class _Sizes:
    """What stands beside the config of a stored head."""

    length: int
    seed: int

    def __post_init__(self) -> None:
        check_sizes(self, length=(1, 2**20), seed=(0, 2**31))


def _mixer(length: int, config: ParZCConfig) -> Mixer:
    from archcast.predictor.heads.parzc_mixer import Mixer

    return Mixer(length * len(config.statistics), config)
