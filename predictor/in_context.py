"""One network that ranks a pool from no labels or from a few: the pool is its input, labelled members are its context.

Members i of a pool are described by feature columns j, standardised among the context (zero-shot: among all), z_ij,
and the gate g_j of each column, which says how much it varies there (`archcast.encoders.pool`). Source pools k teach
one linear *expert* each (as in `archcast.predictor.ranker`). Without labels the score of a member is

    s_i = (1 - a t) prior_i + a t sum_j (sum_k w_k expert_kj) g_j z_ij + t sum_j v_j g_j z_ij,
    w_k ~ exp(r_k) similarity_k^p,   t = max_k similarity_k^p,

the prior being that of `archcast.predictor.prior`. With labels it is the posterior mean of a Gaussian process

    mean_i = (c_0 (1 - t) + c_1 t) s_i,
    cov(i, i') = b s_i s_i' + matern(d / l) [+ matern(e / l)],
    d^2 = sum_j q_j (z_ij - z_i'j)^2,   q_j ~ exp(group_j + own_j + u_j) g_j^m,   sum_j q_j = 1,

e being the distance of measured statistics, all weighted alike; predictions are averaged over lengths l, noises and
over leaving the measured kernel out, by their likelihood and learnt weights. v_j and u_j come from a set network over
columns: the token of column j (its gate, group and correlations with the prior and with sizes, what experts say of it,
its correlation with the labels), beside the mean of all tokens. All letters but s, z, g and d are learnt, over random
pools and random numbers of labels (`archcast.predictor.in_context_training`; Garnelo et al., "Conditional neural
processes", ICML 2018; Müller et al., "Transformers can do Bayesian inference", ICLR 2022; Wistuba and Grabocka,
"Few-shot Bayesian optimization with deep kernel surrogates", ICLR 2021). Untrained, the network is the prior without
labels, and a Gaussian process whose columns count as much as they vary with some.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from archcast.encoders.features import FEATURE_NAMES
from archcast.encoders.pool import Pool
from archcast.errors import DataError
from archcast.predictor.calibration import standardised
from archcast.predictor.prior import prior as capacity_prior

if TYPE_CHECKING:
    from torch import Tensor

FloatArray = NDArray[np.float64]
Weights = Mapping[str, NDArray[Any]]

ANCHORS: Final = (
    "capacity/log_all P0.2 E0.2", "capacity/log_signal P0.2 E0.2", "total/log_params", "total/log_macs",
    "total/log_memory", "path/longest weighted",
)  # fmt: skip
"""Columns that every other column is compared with."""

WIDTH: Final = 12
"""Hidden units of the set network over columns."""

LENGTHS: Final = 5
"""Lengths of the kernels that are averaged over."""

NOISES: Final = 4
"""Levels of noise that are averaged over."""

COLUMN_STEP: Final = 0.05
"""Scale of v_j, so that learning it starts as a whisper."""

_CLIP: Final = 4.0
_TOKENS: Final = len(ANCHORS) + 9
_GROUP: Final = 4  # numbers that describe a group of columns to the set network

ANCHOR_COLUMNS: Final = [FEATURE_NAMES.index(name) for name in ANCHORS]
"""Positions of `ANCHORS`."""


def _group(name: str) -> str:
    """Columns of one group mean the same of different parts of a network."""
    kind, _, rest = name.partition("/")
    if kind.startswith("stage"):
        return f"stage/{rest}"
    if kind in ("path", "signal", "motif"):
        return f"{kind}/{rest.split()[0]}"
    return f"total/{rest.split('_')[0]}" if kind == "total" else kind


GROUPS: Final = tuple(sorted({_group(name) for name in FEATURE_NAMES}))
"""Groups of columns."""

GROUP_OF: Final = np.asarray([GROUPS.index(_group(name)) for name in FEATURE_NAMES])
"""`[F]` the group of each column."""

CARRIES_OVER: Final = np.asarray([not name.startswith(("motif/", "signal/")) for name in FEATURE_NAMES], np.float64)
"""1 for columns that experts use: the wiring of one family of cells says nothing of another's."""


@dataclass(frozen=True, eq=False)
class Described:
    """Networks as the network sees them, standardised by those that describe the pool.

    Attributes:
        rows: `[n, F]` z.
        gate: `[F]` g.
        prior: `[n]` prior scores, of zero mean and unit spread among those that describe the pool.
        measured: `[n, P]` standardised measured statistics; P may be 0.
    """

    rows: FloatArray
    gate: FloatArray
    prior: FloatArray
    measured: FloatArray


@dataclass(frozen=True, eq=False)
class Scale:
    """What describes a pool: the centre and spread of each column among some of its members.

    Attributes:
        center, scale: `[F]` of the features; scale is infinite for a constant column.
        center_measured, scale_measured: `[P]` of measured statistics.
        pool: the members, for gates and for the prior.
        prior_center, prior_scale: of the prior's scores.
    """

    center: FloatArray
    scale: FloatArray
    center_measured: FloatArray
    scale_measured: FloatArray
    pool: Pool
    prior_center: float = 0.0
    prior_scale: float = 1.0

    @classmethod
    def of(cls, features: FloatArray, measured: FloatArray | None = None) -> Scale:
        """That of the networks with `features` `[n, F]` and measured statistics `[n, P]`."""
        measured = np.zeros((len(features), 0)) if measured is None else measured
        pool = Pool.of(features.astype(np.float32))
        bare = cls(*_center_and_scale(features), *_center_and_scale(measured), pool)
        prior = bare.describe(features, measured).prior
        center, spread = float(prior.mean()), float(prior.std())
        return cls(bare.center, bare.scale, bare.center_measured, bare.scale_measured, pool, center, max(spread, 1e-6))

    def describe(self, features: FloatArray, measured: FloatArray | None = None) -> Described:
        """Some networks, `[m, F]` and `[m, P]`, in this pool."""
        measured = np.zeros((len(features), 0)) if measured is None else measured
        rows = np.clip((features - self.center) / self.scale, -_CLIP, _CLIP)
        gate = np.where(np.isfinite(self.scale), self.pool.gate, 0.0)
        prior = (capacity_prior(rows * gate, self.pool, False) - self.prior_center) / self.prior_scale
        columns = np.clip((measured - self.center_measured) / self.scale_measured, -_CLIP, _CLIP)
        return Described(rows, gate, np.clip(prior, -_CLIP, _CLIP), columns)


def describe_pool(features: FloatArray) -> Described:
    """All networks of a pool among themselves, `[n, F]`; the prior's kinds are in units of their spread there."""
    scale = Scale.of(features)
    described = scale.describe(features)
    return replace(described, prior=standardised(capacity_prior(described.rows * described.gate, scale.pool, True)))


@dataclass(frozen=True, eq=False)
class InContextNetwork:
    """The network as plain data; torch is only imported to use it.

    Attributes:
        sources: `[K]` names of the pools that taught an expert.
        families: `[K]` the family of each.
        weights: name -> array (`initial_weights`), with `experts` and `gates` `[K, F]`.
    """

    sources: tuple[str, ...]
    families: tuple[str, ...]
    weights: Weights

    @classmethod
    def untrained(
        cls,
        sources: Sequence[str] = (),
        families: Sequence[str] = (),
        experts: FloatArray | None = None,
        gates: FloatArray | None = None,
        *,
        seed: int = 0,
    ) -> InContextNetwork:
        """The prior and a plain Gaussian process, with experts that are not heard yet."""
        none = np.zeros((0, len(FEATURE_NAMES)))
        weights = initial_weights(len(sources), seed)
        weights["experts"] = none if experts is None else experts
        weights["gates"] = none if gates is None else gates
        return cls(tuple(sources), tuple(families), weights)

    def zero_shot(self, features: NDArray[np.floating]) -> FloatArray:
        """`[n]` scores of the networks of a pool among themselves.

        Raises:
            DataError: other columns than `FEATURE_NAMES`.
        """
        import torch

        from archcast.predictor.in_context_process import Members, zero_shot

        described = describe_pool(_checked(features))
        with torch.inference_mode():
            return np.asarray(zero_shot(self.tensors, Members.of([described]))[0].numpy())

    def few_shot(
        self,
        features: NDArray[np.floating],
        targets: FloatArray,
        others: NDArray[np.floating],
        measured: FloatArray | None = None,
        others_measured: FloatArray | None = None,
    ) -> FloatArray:
        """`[m]` scores of `others` `[m, F]` in the context of `features` `[n, F]` with `targets` `[n]`.

        Args:
            features: of labelled networks.
            targets: normal scores of their labels.
            others: features of the networks asked about.
            measured: `[n, P]` measured statistics of the labelled networks.
            others_measured: `[m, P]` those of the others.

        Raises:
            DataError: other columns than `FEATURE_NAMES`.
        """
        import torch

        from archcast.predictor.in_context_process import Context, Members

        rows, asked = _checked(features), _checked(others)
        scale = Scale.of(rows, measured)
        known, wanted = scale.describe(rows, measured), scale.describe(asked, others_measured)
        with torch.inference_mode():
            context = Context.of(self.tensors, Members.of([known]), torch.from_numpy(targets)[None])
            return np.asarray(context.scores(self.tensors, Members.of([wanted]))[0].numpy())

    @cached_property
    def tensors(self) -> dict[str, Tensor]:
        """The weights as double precision tensors."""
        import torch

        return {name: torch.from_numpy(np.asarray(value, np.float64)) for name, value in self.weights.items()}


def initial_weights(sources: int, seed: int = 0) -> dict[str, NDArray[Any]]:
    """Everything that is learnt: name -> array. The seed draws the hidden units of the set network."""
    rng = np.random.default_rng(seed)
    inputs = _TOKENS + _GROUP
    return {
        "group": np.zeros(len(GROUPS)), "own": np.zeros(len(FEATURE_NAMES)), "gate power": np.zeros(1),
        "log lengths": np.linspace(np.log(0.7), np.log(12), LENGTHS),
        "log noises": np.linspace(np.log(0.003), np.log(1), NOISES),
        "log shares": np.zeros((2, LENGTHS, NOISES)), "log temperature": np.zeros(1),
        "mean": np.zeros(2), "log linear": np.full(2, -6.0),
        "experts share": np.zeros(1), "sharpness": np.full(1, 4.0), "reliability": np.zeros(sources),
        "token group": rng.normal(0, 0.3, (len(GROUPS), _GROUP)),
        "token in": rng.normal(0, inputs**-0.5, (WIDTH, inputs)), "token in bias": np.zeros(WIDTH),
        "token mix": rng.normal(0, (2 * WIDTH) ** -0.5, (WIDTH, 2 * WIDTH)), "token mix bias": np.zeros(WIDTH),
        "token out": np.zeros((2, WIDTH)),
    }  # fmt: skip


def _center_and_scale(columns: FloatArray) -> tuple[FloatArray, FloatArray]:
    """`[c]` mean and standard deviation of columns `[n, c]`; an infinite one where they are constant."""
    scale = columns.std(axis=0)
    return columns.mean(axis=0), np.where(scale > 1e-6, scale, np.inf)


def _checked(features: NDArray[np.floating]) -> FloatArray:
    if features.ndim != 2 or features.shape[1] != len(FEATURE_NAMES) or not len(features):
        raise DataError(
            f"features of shape {list(features.shape)}: the network reads [n, {len(FEATURE_NAMES)}], n > 0, as "
            "archcast.encoders.features.encode gives them"
        )
    return features.astype(np.float64)
