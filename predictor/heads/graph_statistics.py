"""Our head on measured networks: node statistics as node features of the graph encoder, a Bayesian last layer on top.

ParZC reads the statistics of a network as one row, cut at the deepest labelled one. Here every node of the graph
carries its own statistics beside its operation and sizes; message passing and the readout by depth know where in the
network it stands, and networks of any size and shape go in. Without statistics the head reads structure alone.

Members are *cross-fitted*: each one learns from all folds of the labels but one.

1. Encoder and a linear map are trained by a ranking loss (`trained`).
2. On the embeddings of its labelled networks, each member fits a Bayesian linear layer in closed form (`LastLayer`):
   the exact posterior that a variational last layer approaches (cf. Harrison et al., "Variational Bayesian Last
   Layers", ICLR 2024).
3. The scores are the mean over members. The standard deviation of the error of a score is the root of the mean of the
   members' predictive variances, times a factor, so that nine of ten errors on the fold that each member has not seen
   lie within 1.645 of them, as nine of ten normal errors do. The mean of members errs less than each, so the
   deviations are a little wide. (How much members disagree is left out: no label has that of more than one member.)

Importing this module does not import torch.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from archcast.errors import BundleError, ConfigError, DataError
from archcast.predictor.calibration import standardised
from archcast.predictor.heads.networks import Networks
from archcast.predictor.heads.neural import LARGEST, check_sizes, on_meta, trained
from archcast.predictor.heads.node_statistics import NodeScale, require
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

    from archcast.encoders.graph_tensors import GraphTensors
    from archcast.predictor.heads.bayesian import LastLayer

FloatArray = NDArray[np.float64]

_LEAST = 4  # labels: two for each of two folds
_NORMAL = 1.645  # nine of ten normal errors lie within this many standard deviations
_LAYER_ARRAYS = ("center", "scale", "mean", "root", "constants")


@dataclass(frozen=True)
class GraphStatisticsConfig:
    """What a `GraphStatisticsHead` is made of."""

    statistics: tuple[str, ...] = ()
    """Statistics of nodes that are read; empty: all that the labelled networks come with, if any."""
    width: int = 48
    """Of a node's embedding."""
    layers: int = 3
    """Steps a message travels."""
    dim: int = 64
    """Of a network's embedding."""
    members: int = 3
    """Folds, and cross-fitted encoders; fewer where there are fewer than four labels for each."""
    loss: str = "hinge"
    """A name of `archcast.predictor.losses.LOSSES`."""
    training: HeadTraining = field(
        default_factory=lambda: HeadTraining(steps=100, batch_size=32, learning_rate=3e-3, weight_decay=0.05)
    )
    """Steps and rates of each member."""

    def __post_init__(self) -> None:
        check_sizes(self, width=(3, LARGEST), layers=(1, 64), dim=(1, LARGEST), members=(2, 64))


@dataclass(frozen=True, eq=False)
class GraphStatisticsHead:
    """Trained encoders with Bayesian last layers. Build it with `GraphStatisticsHead.fit`.

    Attributes:
        config: what it is made of; `statistics` are those that were found.
        scale: of the statistics.
        members: weights of the encoders.
        layers: their last layers, which answer in standardised targets.
        level, unit: mean and standard deviation of the targets.
        factor: from the deviations that members state to those that their errors on unseen labels have.
    """

    config: GraphStatisticsConfig
    scale: NodeScale
    members: tuple[Weights, ...]
    layers: tuple[LastLayer, ...]
    level: float
    unit: float
    factor: float

    kind: ClassVar[str] = "graph-statistics"

    @classmethod
    def fit(
        cls,
        networks: Networks,
        targets: FloatArray,
        *,
        seed: int = 0,
        config: GraphStatisticsConfig | None = None,
        warm_start: Mapping[str, NDArray[Any]] | None = None,
    ) -> GraphStatisticsHead:
        """Fit to `networks` with graphs, and statistics of their nodes if there are any, and to `targets` `[n]`.

        Args:
            warm_start: weights of a `GraphEncoder` to start from; what the statistics add starts anew.

        Raises:
            DataError: no graphs, a statistic that was asked for is missing, or fewer than four labels.
            ConfigError: `warm_start` is of another size than the config.
        """
        from archcast.predictor.heads.bayesian import LastLayer

        config = config or GraphStatisticsConfig()
        names = config.statistics or tuple(networks.nodes)
        require(networks, names, "the head on graph statistics")
        if len(targets) < _LEAST:
            raise DataError(f"{len(targets)} labels are too few to learn and calibrate; give {_LEAST} or more")
        config = replace(config, statistics=names)
        scale, wanted = NodeScale.fit(networks, names), standardised(targets)
        tensors = _tensors(networks, scale, config)
        folds = _folds(len(targets), config.members, seed)
        members, layers, ratios = [], [], []
        for fold in range(folds.max() + 1):
            known, held = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
            model, weights = trained(
                lambda: _model(config, warm_start), lambda some, known=known: tensors.take(known[some]),  # type: ignore[misc]
                wanted[known], config.loss, config.training, seed * 1000 + fold,
            )  # fmt: skip
            rows = _embeddings(model, tensors)
            layer = LastLayer.fit(rows[known], wanted[known])
            mean, variance = layer(rows[held])
            ratios.append(np.abs(wanted[held] - mean) / np.sqrt(variance))
            members.append({name: value for name, value in weights.items() if name.startswith("encoder.")})
            layers.append(layer)
        factor = float(np.quantile(np.concatenate(ratios), 0.9)) / _NORMAL
        return cls(
            config, scale, tuple(members), tuple(layers), float(targets.mean()), float(targets.std()), factor
        )  # fmt: skip

    def predict(self, networks: Networks) -> FloatArray:
        """`[m]` scores.

        Raises:
            DataError: no graphs, or a statistic that the head was fitted with is missing.
        """
        return self.forecast(networks)[0]

    def spread(self, networks: Networks) -> FloatArray:
        """`[m]` standard deviations of target - score, of networks like the labelled ones."""
        return self.forecast(networks)[1]

    def forecast(self, networks: Networks) -> tuple[FloatArray, FloatArray]:
        """`predict` and `spread` at the cost of one."""
        require(networks, self.config.statistics, "this head")
        tensors = _tensors(networks, self.scale, self.config)
        means, variances = [], []
        for weights, layer in zip(self.members, self.layers, strict=True):
            model = load_weights(_encoder_only(self.config), weights)
            mean, variance = layer(_embeddings(model, tensors))
            means.append(mean)
            variances.append(variance)
        spread = self.factor * np.sqrt(np.mean(variances, axis=0))
        return self.unit * np.mean(means, axis=0) + self.level, self.unit * spread

    def state(self) -> HeadState:
        """The head as data."""
        arrays = {f"nodes.{name}": getattr(self.scale, name) for name in ("unit", "center", "spread")}
        arrays["scores"] = np.asarray([self.level, self.unit, self.factor])
        for number, (weights, layer) in enumerate(zip(self.members, self.layers, strict=True)):
            arrays |= {f"{number}.{name}": value for name, value in weights.items()}
            constants = np.asarray([layer.offset, layer.noise])
            values = (layer.center, layer.scale, layer.mean, layer.root, constants)
            arrays |= {f"{number}.layer.{name}": value for name, value in zip(_LAYER_ARRAYS, values, strict=True)}
        return HeadState(self.kind, {"config": settings_of(self.config), "fitted": len(self.members)}, arrays)

    @classmethod
    def from_state(cls, state: HeadState) -> GraphStatisticsHead:
        """The head that `state` describes.

        Raises:
            BundleError: it does not fit together.
        """
        check_kind(state, cls.kind)
        config = config_of(GraphStatisticsConfig, state.settings.get("config"), cls.kind)
        count = state.settings.get("fitted")
        if type(count) is not int or not 1 <= count <= config.members or len(state.settings) != 2:
            raise BundleError(f"{cls.kind}: fitted must be 1..{config.members}, not {count!r}; fit the head again")
        check_shapes(state.arrays, _shapes(config, count), cls.kind)
        arrays = state.arrays
        if any((values <= 0).any() for name, values in arrays.items() if name.endswith((".scale", ".spread", ".unit"))):
            raise BundleError(f"{cls.kind}: scales must be positive; the bundle is damaged, fit the head again")
        level, unit, factor = (float(value) for value in arrays["scores"])
        members = tuple(part(arrays, f"{number}.encoder.") for number in range(count))
        named = tuple({f"encoder.{name}": value for name, value in member.items()} for member in members)
        layers = tuple(_layer(part(arrays, f"{number}.layer.")) for number in range(count))
        return cls(config, NodeScale(**part(arrays, "nodes.")), named, layers, level, unit, factor)


def _layer(arrays: Mapping[str, FloatArray]) -> LastLayer:
    from archcast.predictor.heads.bayesian import LastLayer

    offset, noise = (float(value) for value in arrays["constants"])
    return LastLayer(arrays["center"], arrays["scale"], arrays["mean"], arrays["root"], offset, noise)


def _shapes(config: GraphStatisticsConfig, count: int) -> dict[str, tuple[int, ...]]:
    weights = weight_shapes(on_meta(lambda: _encoder_only(config)))
    wide = (config.dim,)
    layer = dict(zip(_LAYER_ARRAYS, (wide, wide, wide, wide * 2, (2,)), strict=True))
    shapes: dict[str, tuple[int, ...]] = {
        f"nodes.{name}": (len(config.statistics),) for name in ("unit", "center", "spread")
    }
    for number in range(count):
        shapes |= {f"{number}.{name}": shape for name, shape in weights.items()}
        shapes |= {f"{number}.layer.{name}": shape for name, shape in layer.items()}
    return {**shapes, "scores": (3,)}


def _folds(count: int, members: int, seed: int) -> NDArray[np.int64]:
    """`[count]` fold of each label; every fold has at least four of them, or there are two folds."""
    used = max(2, min(members, count // 4))
    return np.random.default_rng(seed).permutation(count) % used


def _tensors(networks: Networks, scale: NodeScale, config: GraphStatisticsConfig) -> GraphTensors:
    from archcast.encoders.graph_tensors import GraphTensors

    assert networks.graphs is not None  # `require` has refused that
    return GraphTensors.of(networks.graphs, scale(networks, config.statistics))


def _encoder_only(config: GraphStatisticsConfig) -> nn.Sequential:
    """The encoder as the part `encoder` of a module, so that its weights keep their names."""
    from torch import nn

    from archcast.encoders.gcn import GraphEncoder, GraphEncoderConfig

    sizes = GraphEncoderConfig(
        width=config.width, layers=config.layers, dim=config.dim, measured=len(config.statistics)
    )  # fmt: skip
    return nn.Sequential(OrderedDict(encoder=GraphEncoder(sizes)))


def _model(config: GraphStatisticsConfig, warm_start: Mapping[str, NDArray[Any]] | None) -> nn.Module:
    """Encoder and a linear map to one score."""
    from torch import nn

    model = _encoder_only(config)
    if warm_start is not None:
        _start_from(model, warm_start)
    model.add_module("score", nn.Linear(config.dim, 1, bias=False))
    return model


def _start_from(model: nn.Module, weights: Mapping[str, NDArray[Any]]) -> None:
    """Put the weights of an encoder that was trained elsewhere into `model`, but for those of its statistics."""
    import torch

    for name, own in model.get_submodule("encoder").state_dict().items():
        if name not in weights or name.startswith(("embed.measured", "embed.not_measured")):
            continue
        if own.shape != weights[name].shape:
            raise ConfigError(
                f"warm_start: {name} has shape {list(weights[name].shape)}, the config asks for {list(own.shape)}; "
                "give the config the width, layers and dim of those weights"
            )
        own.copy_(torch.from_numpy(np.array(weights[name], np.float32)))


def _embeddings(model: nn.Module, tensors: GraphTensors, chunk: int = 256) -> FloatArray:
    """`[G, dim]` embeddings of all networks."""
    import torch

    encoder: Any = model.get_submodule("encoder")
    with torch.inference_mode():
        parts = [
            encoder(tensors.take(torch.arange(start, min(start + chunk, tensors.size)))).double().numpy()
            for start in range(0, tensors.size, chunk)
        ]
    return np.concatenate([np.zeros((0, encoder.config.dim)), *parts])
