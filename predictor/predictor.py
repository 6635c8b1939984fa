"""`Predictor`: fit, predict, rank, save. The main path of archcast.

    network -> graph -> features -> heads -> blend -> calibrated prediction

A predictor holds up to two things: a `Fitted` model of labelled networks (blend of heads, calibration, familiarity),
and what carries over to spaces without labels: a `PoolRanker` and beside it a `GraphRanker`. The pretrained one has
both; `Predictor()` has neither until it is fitted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.stats import kendalltau, rankdata

from archcast.datasets.benchmark import Benchmark
from archcast.encoders.features import encode
from archcast.encoders.pool import Pool
from archcast.errors import ConfigError, DataError, NotFittedError
from archcast.graphs.graph import GraphBatch
from archcast.predictor.calibration import Agreement, standardised
from archcast.predictor.consensus import consensus
from archcast.predictor.encoded import benchmark_features
from archcast.predictor.fitted import Fitted, fit_features, with_proxies
from archcast.predictor.graph_ranker import GraphRanker
from archcast.predictor.heads.gaussian_process import AutomaticProcessHead
from archcast.predictor.inputs import as_batch, as_numbers, as_scores
from archcast.predictor.kernel_prior import KernelPrior
from archcast.predictor.measured_inputs import Measured, as_columns
from archcast.predictor.prediction import Predictions
from archcast.predictor.ranker import PoolRanker, hears_graphs

FloatArray = NDArray[np.float64]
PoolChoice = Literal["auto", "query", "reference"]

POOL_SIZE = 16
"""`pool="auto"` ranks networks among themselves from this many on."""

_MAX_WIDENING = 6.0
_STRANGE, _KNOWN = 0.6, 0.9  # familiarities: unseen spaces stay below the first, held-out networks above the second


class Predictor:
    """Forecasts how well networks will do.

    Args:
        input_shape: shape of one input batch for networks that do not fix it, for example (1, 3, 32, 32).

    Examples:
        >>> predictor = Predictor().fit(networks, accuracies)
        >>> predictor.predict(others).to_frame()
    """

    def __init__(self, input_shape: tuple[int, ...] | None = None) -> None:
        self.input_shape = input_shape
        self.fitted: Fitted | None = None
        self.ranker: PoolRanker | None = None
        self.graph_ranker: GraphRanker | None = None
        self.kernel_prior: KernelPrior | None = None
        self.task: str = ""
        self.unit: str = ""

    @classmethod
    def from_pretrained(cls, name: str | Path = "base") -> Predictor:
        """Load a predictor: a built-in name, a directory, or (online) a Hugging Face hub id, tried in this order.

        Raises:
            UnknownNameError: none of the three exists; the message lists the built-in names.
            BundleError: the files are truncated, of another schema or not safe to load.
        """
        from archcast.predictor.bundle import load

        return load(name)

    def save_pretrained(
        self, directory: str | Path, *, metrics: dict[str, Any] | None = None, card: str | None = None
    ) -> Path:
        """Write a bundle (safetensors, JSON, LightGBM text; no pickle) into `directory`, atomically.

        Raises:
            NotFittedError: there is nothing to save yet.
            StorageError: the disk is full or the folder read-only; an existing bundle is left as it was.
        """
        from archcast.predictor.bundle import save

        return save(self, Path(directory), metrics=metrics or {}, card=card)

    def fit(
        self,
        networks: Any,
        scores: Any,
        *,
        task: str | None = None,
        measured: Measured = None,
        groups: Any = None,
        seed: int = 0,
        unit: str = "",
        heads: Sequence[str] | None = None,
        seconds: float | None = None,
        on_step: Callable[[str], None] = lambda _: None,
    ) -> Predictor:
        """Learn from measured networks. A pretrained predictor keeps its ranker, whose score becomes one more input,
        and its kernel prior, by which the Gaussian processes know beforehand which features tend to count.

        Args:
            networks: list of anything `capture` takes, or a `GraphBatch`.
            scores: one finite number per network, higher is better.
            task: name of the task the scores belong to.
            measured: zero-cost proxies of the same networks (`archcast.proxies.score`, or name -> `[n]` scores). They
                then have to be measured of every network that is asked about.
            groups: `[n]` labels of groups that must share a fold; default: isomorphic graphs share one.
            seed: of folds, trees and sub-samples; the same seed gives the same predictor.
            unit: of the scores, for people ("%").
            heads: names of the heads to blend (`archcast.predictor.blend`), the quickest first; all quick ones when
                left out.
            seconds: time to use. The first head is always fitted, a second or two for some hundred labels; further
                heads and further rounds of cross-validation follow while there is time. Without, every head gets one
                round, which gives the same predictor on every machine.
            on_step: called after each fold with a short text and the time left, for progress bars.

        Raises:
            DataError: scores that are text, NaN, infinite, too few, all equal or of another length; `measured` of
                another length, or the same for all.
            ConfigError: `seconds` is not positive. UnknownNameError: no such head.
        """
        batch, _ = as_batch(networks, self.input_shape)
        labels = as_scores(scores, len(batch))
        features = encode(batch)
        columns = as_columns(measured, len(batch))
        self.fitted = fit_features(
            features, labels, _groups(batch, groups), self.ranker, seed, on_step, columns=columns,
            relevance=None if self.kernel_prior is None else self.kernel_prior.relevance,
            heads=heads, graphs=batch, seconds=seconds,
        )  # fmt: skip
        self.task, self.unit = task or self.task, unit or self.unit
        return self

    @property
    def cross_validated(self) -> Agreement | None:
        """Rank agreement with labels that heads and their weights had not seen; None without labels."""
        return None if self.fitted is None else self.fitted.agreement

    def predict(
        self,
        networks: Any,
        *,
        task: str | None = None,
        pool: PoolChoice = "auto",
        measured: Measured = None,
        spread: bool = True,
    ) -> Predictions:
        """Forecast `networks`.

        Args:
            networks: list of anything `capture` takes, one such network, a `GraphBatch`, or a whole `Benchmark` (its
                graphs and features are cached on disk).
            task: refuse to answer for another task than the predictor's.
            pool: what networks of an unfamiliar space are ranked against: each other (`query`), the
                networks the predictor was trained on (`reference`), or the former from 16 networks on (`auto`). With
                labels of this very space the order among each other is heard beside the heads, the less the more labels
                there are (`archcast.predictor.fitted.zero_shot_weight`); by `reference` the heads rank alone.
            measured: zero-cost proxies of the same networks (`archcast.proxies.score`, or name -> `[n]` scores). They
                sharpen the order of a pool from an unfamiliar space (`archcast.predictor.consensus`); a predictor that
                was fitted with them needs them.
            spread: give the standard deviation of each forecast too.

        Raises:
            NotFittedError: neither fitted nor pretrained.
            ConfigError: the task is not the predictor's, `pool` is no known choice, `measured` is missing, came with
                a single network, or to a predictor that was fitted without.
            DataError: `measured` is of other networks, or has none of the proxies that count.
        """
        self._check(task, pool)
        if isinstance(networks, Benchmark):
            graphs = networks.graphs()
            features = benchmark_features(networks, graphs)
            return self.predict_features(
                features, graphs, networks.specs, pool=pool, measured=measured, spread=spread
            )  # fmt: skip
        batch, names = as_batch(networks, self.input_shape)
        return self.predict_features(encode(batch), batch, names, pool=pool, measured=measured, spread=spread)

    def predict_features(
        self,
        features: NDArray[np.float32],
        batch: GraphBatch,
        names: tuple[str, ...],
        *,
        pool: PoolChoice = "auto",
        measured: Measured = None,
        spread: bool = True,
    ) -> Predictions:
        """`predict` for graphs whose features (`archcast.encoders.features.encode`) are at hand already."""
        self._check(None, pool)
        value = half = deviation = familiarity = np.full(len(batch), np.nan)
        if self.fitted is None:
            scores = self._relative(features, batch, self._pool(features, pool), measured)
        else:
            familiarity, difficulty = self.fitted.neighbourhood.around(features.astype(np.float64))
            widen = np.clip(1 / np.maximum(familiarity, 1e-3), 1, _MAX_WIDENING)
            half = self.fitted.factor * difficulty * widen
            inputs = self.fitted.inputs(features, self.ranker, as_columns(measured, len(features)), batch)
            of_heads = self.fitted.blend.scores(inputs)
            own = self.fitted.blend.blended(of_heads)
            scores, calibrated = self._mixed(own, features, batch, familiarity, pool, measured)
            value = self.fitted.value(calibrated)
            if spread:
                deviation = self.fitted.spread(inputs, of_heads, calibrated, difficulty) * widen
        low, high = np.clip((value - half, value + half), *self._bounds())
        return Predictions(
            names, scores, value, low, high, familiarity, batch.params, batch.macs, _unknown_ops(batch), self.unit,
            deviation,
        )  # fmt: skip

    def _mixed(
        self,
        own: FloatArray,
        features: NDArray[np.float32],
        batch: GraphBatch,
        familiarity: FloatArray,
        pool: PoolChoice,
        measured: Measured,
    ) -> tuple[FloatArray, FloatArray]:
        """Scores to rank by, and scores of the same order on the scale that `Fitted.value` maps."""
        assert self.fitted is not None  # `own` is what its heads say
        if self.ranker is None or self.fitted.prior_pool is not None:
            columns = as_columns(measured, len(own))
            if columns and self.fitted.measured is None:
                raise ConfigError(
                    "this predictor was fitted without measurements: pass measured to fit too, or leave it out"
                )
            # A few labels of this space: what other spaces say of the pool goes on counting for a while.
            among = self._pool(features, pool) if self.fitted.zero_shot else None
            if among is None:
                return own, own
            relative = with_proxies(self._relative(features, batch, among, None), columns, among)
            return _on_scale_of(own, own + self.fitted.zero_shot * own.std() * standardised(relative))
        # Pretrained: the more familiar a network, the more its own score counts against the relations that carry over.
        among = self._pool(features, pool)
        # In a pool one share for all, so that its order is of one kind.
        share = _trust(familiarity if among is None else familiarity.mean(keepdims=True))
        if share.min() == 1:
            return own, own
        relative = self._relative(features, batch, among, measured)
        if among is None:
            mixed = share * own + (1 - share) * relative
            return mixed, mixed
        return _on_scale_of(own, share * standardised(own) + (1 - share) * standardised(relative))

    def _relative(
        self, features: NDArray[np.float32], batch: GraphBatch, among: Pool | None, measured: Measured
    ) -> FloatArray:
        """Scores by relations that carry over to any space, and by what was measured."""
        assert self.ranker is not None  # `_check` has refused a predictor with neither
        graphs = None
        if self.graph_ranker is not None and among is not None and hears_graphs(among):
            graphs = self.graph_ranker.scores(batch)
        scores = self.ranker.scores(features, among, graphs)
        if measured is None:
            return scores
        if among is None:
            raise ConfigError(
                f"measured statistics rank networks among themselves: give {POOL_SIZE} or more, or pool='query'"
            )
        return consensus(scores, measured, among.variation)

    def _bounds(self) -> tuple[float, float]:
        """The least and the greatest value the task's unit has."""
        return (0.0, 100.0) if self.unit == "%" else (-np.inf, np.inf)

    def _pool(self, features: NDArray[np.float32], pool: PoolChoice) -> Pool | None:
        if pool == "query" or (pool == "auto" and len(features) >= POOL_SIZE):
            return Pool.of(features)
        return None

    def rank(self, networks: Any, *, pool: PoolChoice = "auto", measured: Measured = None) -> NDArray[np.int64]:
        """Positions of `networks`, best first."""
        return np.argsort(-self(networks, pool=pool, measured=measured), kind="stable")

    def screen(
        self, networks: Any, keep: float | int = 0.1, *, pool: PoolChoice = "auto", measured: Measured = None
    ) -> NDArray[np.int64]:
        """Positions of the best share (`keep` < 1) or number (`keep` >= 1) of `networks`, best first."""
        order = self.rank(networks, pool=pool, measured=measured)
        if not 0 < keep < np.inf:  # false for NaN as well
            raise ConfigError(f"keep={keep}: give a share between 0 and 1 or a number of networks")
        count = int(np.ceil(keep * len(order))) if keep < 1 else int(keep)
        return order[:count]

    def suggest(self, networks: Any, count: int, *, labelled: Any = None, seed: int = 0) -> NDArray[np.int64]:
        """Positions of the `count` networks whose labels would teach most about all of `networks`, most useful first.

        They lie where the predictor is unsure of many others, which is not where the best are expected: see
        `Predictions.expected_improvement` for that. Works without any labels, and for several batches in turn: label
        what was suggested, `fit`, ask again with `labelled`.

        Args:
            networks: the candidates; anything `predict` takes.
            labelled: networks that have labels already (those `fit` was given).
            seed: of the candidates that are looked at where there are more than 1,500.

        Raises:
            ConfigError: `count` is below 1 or above the number of networks.
        """
        from archcast.predictor.active import choose

        features, known = (None if given is None else self._encoded(given) for given in (networks, labelled))
        assert features is not None
        head = None if self.fitted is None or known is None else self.fitted.blend.heads.get("ard")
        process = head if isinstance(head, AutomaticProcessHead) else None
        return choose(
            features, count, labelled=known, process=process, seed=seed,
            metric=None if self.kernel_prior is None else self.kernel_prior.relevance[0],
        )  # fmt: skip

    def _encoded(self, networks: Any) -> NDArray[np.float32]:
        if isinstance(networks, Benchmark):
            return benchmark_features(networks, networks.graphs())
        return encode(as_batch(networks, self.input_shape)[0])

    def __call__(self, networks: Any, *, pool: PoolChoice = "auto", measured: Measured = None) -> FloatArray:
        """`[m]` scores, higher is better."""
        return self.predict(networks, pool=pool, measured=measured, spread=False).scores

    def score(self, networks: Any, scores: Any) -> float:
        """Kendall tau between forecasts and `scores` (the default metric of scikit-learn's model selection).

        Raises:
            DataError: scores that are text, NaN, infinite or of another length.
        """
        forecast = self(networks)
        return float(kendalltau(forecast, as_numbers(scores, len(forecast))).statistic)

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Constructor arguments (scikit-learn)."""
        del deep  # there are no nested estimators
        return {"input_shape": self.input_shape}

    def set_params(self, **params: Any) -> Predictor:
        """Set constructor arguments (scikit-learn)."""
        for name, value in params.items():
            if name not in self.get_params():
                raise ConfigError(f"Predictor has no parameter {name!r}; it has {sorted(self.get_params())}")
            setattr(self, name, value)
        return self

    def __sklearn_tags__(self) -> Any:
        from sklearn.utils import InputTags, RegressorTags, Tags, TargetTags

        return Tags(
            estimator_type="regressor",
            target_tags=TargetTags(required=True),
            regressor_tags=RegressorTags(),
            input_tags=InputTags(two_d_array=False),
            no_validation=True,
        )

    def __sklearn_is_fitted__(self) -> bool:
        return self.fitted is not None or self.ranker is not None

    def _check(self, task: str | None, pool: str) -> None:
        if self.fitted is None and self.ranker is None:
            raise NotFittedError("this predictor knows nothing yet: call fit, or Predictor.from_pretrained('base')")
        if pool not in ("auto", "query", "reference"):
            raise ConfigError(f"pool={pool!r}: choose 'auto', 'query' or 'reference'")
        if task is not None and self.task and task != self.task:
            raise ConfigError(
                f"this predictor was trained for {self.task!r}, not {task!r}; fit it on labels of {task!r}"
            )


def _groups(batch: GraphBatch, groups: Any) -> NDArray[np.int64]:
    if groups is None:
        from archcast.graphs.hashing import graph_hashes

        groups = graph_hashes(batch)
    _, numbers = np.unique(np.asarray(groups), return_inverse=True)
    if len(numbers) != len(batch):
        raise ConfigError(f"{len(numbers)} groups for {len(batch)} networks; give one group label per network")
    if np.ptp(numbers) == 0:
        raise DataError("all networks are the same or of one group; cross-validation needs at least two")
    return np.asarray(numbers, dtype=np.int64)


def _unknown_ops(batch: GraphBatch) -> tuple[dict[str, int], ...]:
    if not any(node.op == "Unknown" for node in batch.nodes):
        return ({},) * len(batch)
    return tuple(graph.unknown_ops for graph in batch)


def _on_scale_of(own: FloatArray, mixed: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Scores to rank by, and the scores of the heads in their order."""
    # Equal networks keep equal values, so ranks are shared, whatever the last digits say.
    ranks = rankdata(np.round(mixed, 9)) - 1
    return mixed, np.interp(ranks, np.arange(len(own)), np.sort(own))


def _trust(familiarity: FloatArray) -> FloatArray:
    """Share of a network's own score, from 0 for strange networks to 1 for known ones."""
    return np.clip((familiarity - _STRANGE) / (_KNOWN - _STRANGE), 0.0, 1.0)
