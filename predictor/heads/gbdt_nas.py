"""GBDT-NAS (Luo et al., "Accuracy Prediction with Non-neural Model for Neural Architecture Search", 2020), and its
pruning of a search space by SHAP values.

The predictor is LightGBM with 31 leaves, learning rate .05 and 100 rounds on rows that describe an architecture,
one-hot as in the paper or any other; random training architectures below 85 % accuracy are dropped first
(`drop_below`). Everything else is LightGBM's default, also that a leaf holds at least 20 networks: with 60 labels a
tree has at most three leaves.

Pruning. The SHAP value of a feature at a network is what the feature adds to its forecast (exact for trees: Lundberg et
al., 2020; LightGBM's `pred_contrib`). Averaged over the networks that have a *feature value*, it tells whether this
value helps or hurts; values that hurt most are banned, and candidates that have one of them need not be looked at.
One-hot columns have the values 0 and 1; only 1, the presence of an operation, can be banned, as in the paper. Columns
of more than eight values are cut into quarters, and each quarter is a value.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from archcast.errors import BundleError, ConfigError, DataError
from archcast.predictor.bundle_checks import check_trees
from archcast.predictor.heads.gbdt import GBDTHead, trees_only
from archcast.predictor.heads.networks import Networks
from archcast.predictor.heads.state import HeadState, check_kind, check_shapes, config_of, settings_of

FloatArray = NDArray[np.float64]

_DISTINCT = 8  # a column of more values than this is cut into quarters


@dataclass(frozen=True)
class GBDTNASConfig:
    """How a `GBDTNASHead` is fitted."""

    leaves: int = 31
    """Of a tree."""
    rounds: int = 100
    """Trees."""
    learning_rate: float = 0.05
    """Share of a tree that counts."""
    drop_below: float | None = None
    """Labelled networks of a lower target are dropped; the paper's 85 % accuracy is 85 here. None: all are kept."""

    def __post_init__(self) -> None:
        if not 2 <= self.leaves <= 100_000 or not 1 <= self.rounds <= 100_000 or not 0 < self.learning_rate <= 1:
            raise ConfigError("leaves must be 2 or more, rounds 1 or more, and learning_rate in 0..1")


@dataclass(frozen=True)
class GBDTNASHead:
    """Boosted trees, and the rows they were fitted to, which say what the values of features are worth.

    Attributes:
        config: how it was fitted.
        text: the trees in LightGBM's own format.
        rows: `[n, F]` features of the labelled networks that were not dropped.
        targets: `[n]` their targets.
    """

    config: GBDTNASConfig
    text: str
    rows: FloatArray
    targets: FloatArray

    kind: ClassVar[str] = "gbdt-nas"

    @classmethod
    def fit(
        cls, networks: Networks, targets: FloatArray, *, seed: int = 0, config: GBDTNASConfig | None = None
    ) -> GBDTNASHead:
        """Fit to the features of `networks` and `targets` `[n]`; nothing is drawn, so every `seed` gives the same.

        Raises:
            DataError: fewer than two labelled networks are left.
        """
        import lightgbm

        config = config or GBDTNASConfig()
        kept = targets >= (-np.inf if config.drop_below is None else config.drop_below)
        if kept.sum() < 2:
            raise DataError(
                f"{kept.sum()} labelled networks reach drop_below={config.drop_below}; lower it, or use None"
            )
        rows, targets = networks.features[kept], np.array(targets[kept], np.float64)
        parameters = {
            "objective": "regression", "num_leaves": config.leaves, "learning_rate": config.learning_rate,
            "seed": seed, "num_threads": 1, "deterministic": True, "force_row_wise": True, "verbose": -1,
        }  # fmt: skip
        dataset = lightgbm.Dataset(rows, targets, params={"verbose": -1})
        return cls(
            config, trees_only(lightgbm.train(parameters, dataset, config.rounds).model_to_string()), rows, targets
        )

    @cached_property
    def _trees(self) -> GBDTHead:
        return GBDTHead(self.text)

    def predict(self, networks: Networks) -> FloatArray:
        """`[m]` scores."""
        return self._trees.predict(networks)

    def contributions(self, networks: Networks) -> FloatArray:
        """`[m, F]` SHAP value of every feature at every network; with the mean score they sum to `predict`."""
        values = self._trees.booster.predict(networks.features, pred_contrib=True, num_threads=1)
        return np.asarray(values[:, :-1], np.float64)

    def pruning(self, *, keep: float = 0.5, support: int = 5) -> Pruning:
        """The feature values to ban, worst first, while at least a share `keep` of the labelled networks remains.

        Args:
            keep: share of the labelled networks that must survive; the best one always does.
            support: labelled networks that must have a value for it to be judged.
        """
        if not 0 < keep <= 1 or support < 1:
            raise ConfigError("keep must lie in 0..1 (0 excluded) and support be 1 or more")
        found = sorted(self._values(support), key=lambda entry: entry[-1])
        alive, best = np.ones(len(self.rows), dtype=bool), int(self.targets.argmax())
        banned = []
        for column, low, high, harm in found:
            hit = _between(self.rows[:, column], low, high)
            after = alive & ~hit
            if harm < 0 and not hit[best] and after.sum() < alive.sum() and after.mean() >= keep:
                alive = after
                banned.append((column, low, high, harm))
        table = np.asarray(banned, np.float64).reshape(-1, 4)
        return Pruning(table[:, 0].astype(np.int64), table[:, 1], table[:, 2], table[:, 3])

    def _values(self, support: int) -> list[tuple[int, float, float, float]]:
        """Column, lowest and highest number, and mean SHAP value of every feature value that enough networks have."""
        shap = self.contributions(Networks(self.rows))
        found = []
        for column in np.flatnonzero(np.abs(shap).sum(axis=0) > 0):
            numbers = self.rows[:, column]
            for low, high in _intervals(numbers):
                has = _between(numbers, low, high)
                if has.sum() >= support:
                    found.append((int(column), low, high, float(shap[has, column].mean())))
        return found

    def state(self) -> HeadState:
        """The head as data; the trees are text."""
        settings = {"config": settings_of(self.config), "trees": self.text}
        return HeadState(self.kind, settings, {"rows": self.rows, "targets": self.targets})

    @classmethod
    def from_state(cls, state: HeadState) -> GBDTNASHead:
        """The head that `state` describes.

        Raises:
            BundleError: it does not fit together.
        """
        from pathlib import Path

        check_kind(state, cls.kind)
        if set(state.settings) != {"config", "trees"} or not isinstance(state.settings["trees"], str):
            raise BundleError("gbdt-nas must have config and trees; the bundle is damaged, fit the head again")
        config = config_of(GBDTNASConfig, state.settings["config"], "gbdt-nas")
        rows = state.arrays.get("rows", np.zeros(0))
        if rows.ndim != 2:
            raise BundleError("gbdt-nas: rows must have one row per labelled network; fit the head again")
        check_shapes(state.arrays, {"rows": rows.shape, "targets": (len(rows),)}, "gbdt-nas")
        check_trees(Path("gbdt-nas"), state.settings["trees"], rows.shape[1])
        return cls(config, trees_only(state.settings["trees"]), rows, state.arrays["targets"])


@dataclass(frozen=True)
class Pruning:
    """Feature values that hurt. Call it with candidates to learn which are worth a look.

    Attributes:
        columns: `[B]` the feature of each banned value.
        low, high: `[B]` its lowest and highest number.
        harm: `[B]` its mean SHAP value, below 0, worst first.
    """

    columns: NDArray[np.int64]
    low: FloatArray
    high: FloatArray
    harm: FloatArray

    def __len__(self) -> int:
        return len(self.columns)

    def __call__(self, candidates: Networks | NDArray[Any]) -> NDArray[np.bool_]:
        """`[m]` whether each candidate (networks, or rows of features) has none of the banned values.

        A search that draws candidates keeps those that are True; where all would go, it should keep all.
        """
        rows = candidates.features if isinstance(candidates, Networks) else np.asarray(candidates)
        kept = np.ones(len(rows), dtype=bool)
        for column, low, high in zip(self.columns, self.low, self.high, strict=True):
            kept &= ~_between(rows[:, column], low, high)
        return kept

    def prune(self, candidates: Networks) -> Networks:
        """The candidates that have none of the banned values; all of them where none would be left."""
        kept = self(candidates)
        return candidates.take(kept) if kept.any() else candidates


def _between(numbers: FloatArray, low: float, high: float) -> NDArray[np.bool_]:
    return (numbers >= low) & (numbers <= high)


def _intervals(numbers: FloatArray) -> list[tuple[float, float]]:
    """The values of a column: its distinct numbers, 1 alone where they are 0 and 1, or its quarters."""
    distinct = np.unique(numbers)
    if len(distinct) <= _DISTINCT:
        shown = distinct[1:] if np.array_equal(distinct, [0, 1]) else distinct
        return [(float(number), float(number)) for number in shown]
    edges = np.quantile(numbers, [0, 0.25, 0.5, 0.75, 1])
    quarters = [
        (edges[0], edges[1]),
        *[(np.nextafter(a, np.inf), b) for a, b in pairwise(edges[1:])],
    ]
    return [(float(low), float(high)) for low, high in quarters if low <= high]
