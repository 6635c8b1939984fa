"""Protocols: train on little or on other spaces, rank a whole benchmark, compare with counting parameters.

`few_shot` is protocol P1 of TNASP, PINAT, NAR-Former, NN-Former and ParZC: n random labels, then rank the whole space.
That test set holds the training networks and networks equal to them, so each forecast is scored on three `SUBSETS`.
`zero_shot` leaves one space out: the predictor has seen neither labels nor networks of the space it ranks.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from archcast.datasets.benchmark import Benchmark
from archcast.errors import ConfigError
from archcast.graphs.graph import GraphBatch
from archcast.predictor.metrics import (
    FloatArray,
    baseline_scores,
    bootstrap_draws,
    coverage,
    interval,
    kendall_tau,
    n_at_k,
    spearman,
    top_k_regret,
)

SUBSETS = ("whole space", "without training networks", "without isomorphs")
"""What is ranked. The last leaves out every network that is the same as one it was trained on."""

SAMPLE = "random sample"
"""What is ranked instead of a whole space that is too large."""

METHOD = "archcast"


class Forecast(Protocol):
    """The part of `Predictions` that is scored."""

    @property
    def scores(self) -> FloatArray: ...
    @property
    def low(self) -> FloatArray: ...
    @property
    def high(self) -> FloatArray: ...


class Forecaster(Protocol):
    """The part of `Predictor` that the protocols use; anything with these two methods can be evaluated."""

    def fit(self, networks: Any, scores: Any, *, task: str | None = None, seed: int = 0) -> Any: ...
    def predict(self, networks: Any, *, task: str | None = None) -> Forecast: ...


@dataclass(frozen=True, eq=False)
class Result:
    """One forecast of one benchmark, scored.

    Attributes:
        metric: what the true scores are, for example "validation accuracy after 200 epochs".
        method: "archcast", or one of `BASELINES`.
        labels: number of labelled networks of this space it was trained on; 0 for zero-shot.
        subset: one of `SUBSETS`, or `SAMPLE`.
        networks: number of networks ranked.
        isomorphs: how many of them are the same network as a labelled one (those themselves not counted).
        tau, rho: Kendall's tau-b and Spearman's rho.
        regret: of the top 10, in percentage points.
        n_at_10: true rank of the best among the top 10.
        coverage, width: share of true values inside the 90 % intervals, and median width; NaN without intervals.
        draws: metric -> `[B]` bootstrap values over networks.
    """

    protocol: str
    benchmark: str
    task: str
    metric: str
    method: str
    labels: int
    seed: int
    subset: str
    networks: int
    isomorphs: int
    tau: float
    rho: float
    regret: float
    n_at_10: int
    coverage: float = float("nan")
    width: float = float("nan")
    draws: Mapping[str, FloatArray] = field(default_factory=dict, repr=False)

    def to_record(self) -> dict[str, Any]:
        """Plain values, ready for JSON or CSV (NaN is None), with 95 % intervals as `tau_low`, `tau_high` ..."""
        record = {name: None if value != value else value for name, value in vars(self).items() if name != "draws"}
        for name, draws in self.draws.items():
            record[f"{name}_low"], record[f"{name}_high"] = interval(draws)
        return record


def few_shot(
    benchmark: Benchmark,
    sizes: Sequence[int] | None = None,
    seeds: Sequence[int] = (0, 1, 2, 3, 4),
    factory: Callable[[], Forecaster] | None = None,
    *,
    subsets: Sequence[str] = SUBSETS,
    resamples: int = 1000,
    progress: bool = True,
) -> list[Result]:
    """Protocol P1: fit on n random labels, rank the whole space; once for every size and seed.

    Args:
        sizes: numbers of labels; the published ones of this benchmark when left out.
        factory: makes a fresh forecaster; `Predictor` when left out.
        subsets: which of `SUBSETS` to score.
        resamples: bootstrap resamples over networks; 0 for none.

    Raises:
        ConfigError: a size the benchmark cannot give.
    """
    make = _default_factory() if factory is None else factory
    splits = benchmark.splits(sizes, seeds=seeds)
    graphs = benchmark.graphs()
    results = []
    for split in _bar(splits, f"few-shot {benchmark.name}", progress):
        forecaster = make()
        forecaster.fit(graphs.take(split.train), benchmark.scores[split.train], task=benchmark.task, seed=split.seed)
        forecast = forecast_whole_space(forecaster, benchmark, graphs)
        results += score_few_shot(
            benchmark, split.train, graphs, forecast, seed=split.seed, subsets=subsets, resamples=resamples
        )
    return results


def score_few_shot(
    benchmark: Benchmark,
    train: NDArray[Any],
    graphs: GraphBatch,
    forecast: Forecast,
    *,
    seed: int = 0,
    subsets: Sequence[str] = SUBSETS,
    resamples: int = 0,
) -> list[Result]:
    """Score one forecast of a whole benchmark on `subsets` of it; `train` are the labelled positions."""
    rows = _subset_rows(benchmark, train)
    isomorphs = len(rows[SUBSETS[1]]) - len(rows[SUBSETS[2]])
    results = []
    for subset in subsets:
        results += score_networks(
            forecast, graphs, benchmark.scores, protocol="few-shot", benchmark=benchmark.name, task=benchmark.task,
            metric=benchmark.metric, labels=len(train), seed=seed, subset=subset,
            isomorphs=0 if subset == SUBSETS[2] else isomorphs, rows=rows[subset], resamples=resamples,
        )  # fmt: skip
    return results


def forecast_whole_space(forecaster: Forecaster, benchmark: Benchmark, graphs: GraphBatch) -> Forecast:
    """The forecast of all graphs of a benchmark; a `Predictor` gets their features from the cache."""
    from archcast.predictor.encoded import benchmark_features
    from archcast.predictor.predictor import Predictor

    if not isinstance(forecaster, Predictor):
        return forecaster.predict(graphs, task=benchmark.task)
    names = graphs.names or benchmark.specs
    return forecaster.predict_features(benchmark_features(benchmark, graphs), graphs, names)


def zero_shot(
    targets: Sequence[Benchmark],
    train: Callable[[Sequence[str]], Forecaster],
    spaces: Sequence[str],
    seeds: Sequence[int] = (0, 1, 2),
    *,
    sample: int = 3000,
    resamples: int = 1000,
    progress: bool = True,
) -> list[Result]:
    """Leave one space out: for each target, train on the other `spaces` and rank up to `sample` networks of the target.

    Args:
        train: gets the names of the training spaces and returns a fitted forecaster; called once per target.
        sample: networks drawn at random (by seed); the whole space where it holds no more, then only the first seed.

    Raises:
        ConfigError: nothing is left to train on.
    """
    results = []
    for target in _bar(targets, "zero-shot", progress):
        others = [space for space in spaces if space != target.space.name]
        if not others:
            raise ConfigError(f"no space is left to train on when {target.name} is held out; name at least two spaces")
        forecaster = train(others)
        for seed in seeds[:1] if len(target) <= sample else seeds:
            rows = np.sort(np.random.default_rng(seed).permutation(len(target))[:sample])
            graphs = target.graphs(rows)
            results += score_networks(
                forecaster.predict(graphs), graphs, target.scores[rows], protocol="zero-shot", benchmark=target.name,
                task=target.task, metric=target.metric, labels=0, seed=seed, resamples=resamples,
                subset=SUBSETS[0] if len(rows) == len(target) else SAMPLE,
            )  # fmt: skip
    return results


def summarise(results: Iterable[Result]) -> list[dict[str, Any]]:
    """One row per protocol, benchmark, size, subset and method: means over seeds with 95 % intervals.

    The interval of tau, rho and coverage resamples seeds and networks together; that of regret, seeds only.
    """
    groups: dict[tuple[Any, ...], list[Result]] = defaultdict(list)
    for result in results:
        key = (result.protocol, result.benchmark, result.task, result.metric, result.labels, result.subset)
        groups[(*key, result.method)].append(result)
    names = ("protocol", "benchmark", "task", "metric", "labels", "subset", "method")
    return [{**dict(zip(names, key, strict=True)), **_mean_row(group)} for key, group in groups.items()]


def score_networks(
    forecast: Forecast,
    graphs: GraphBatch,
    truth: FloatArray,
    *,
    protocol: str,
    benchmark: str,
    task: str,
    metric: str,
    labels: int,
    seed: int,
    subset: str,
    isomorphs: int = 0,
    rows: NDArray[Any] | None = None,
    resamples: int = 0,
) -> list[Result]:
    """Score one forecast of `graphs` and the baselines beside it.

    Args:
        truth: `[n]` true scores of `graphs`.
        rows: positions to score; all when left out. The ranks of the baselines are still those among all of `graphs`.
        resamples: bootstrap resamples over networks; 0 for none.

    The other arguments are fields of `Result`.
    """
    rows = np.arange(len(graphs)) if rows is None else rows
    truth = truth[rows]
    results = []
    for method, scores in {METHOD: forecast.scores, **baseline_scores(graphs)}.items():
        bounds = (forecast.low[rows], forecast.high[rows]) if method == METHOD else None
        covered = float("nan") if bounds is None else coverage(truth, *bounds)
        inside = None if bounds is None or np.isnan(covered) else (truth >= bounds[0]) & (truth <= bounds[1])
        chosen = scores[rows]
        results.append(
            Result(
                protocol, benchmark, task, metric, method, labels, seed, subset, len(rows), isomorphs,
                kendall_tau(truth, chosen), spearman(truth, chosen), top_k_regret(truth, chosen), n_at_k(truth, chosen),
                covered, float("nan") if bounds is None else _median_width(*bounds),
                bootstrap_draws(truth, chosen, inside, resamples=resamples) if resamples else {},
            )
        )  # fmt: skip
    return results


def _median_width(low: ArrayLike, high: ArrayLike) -> float:
    width = np.asarray(high) - np.asarray(low)
    return float(np.median(width[np.isfinite(width)])) if np.isfinite(width).any() else float("nan")


def _subset_rows(benchmark: Benchmark, train: NDArray[Any]) -> dict[str, NDArray[np.int64]]:
    every = np.arange(len(benchmark))
    same = np.isin(benchmark.groups, benchmark.groups[train])
    return dict(zip(SUBSETS, (every, np.setdiff1d(every, train), np.flatnonzero(~same)), strict=True))


def _mean_row(group: Sequence[Result], resamples: int = 1000) -> dict[str, Any]:
    row: dict[str, Any] = {"seeds": len(group), "networks": group[0].networks}
    row["isomorphs"] = float(np.mean([result.isomorphs for result in group]))
    picks = np.random.default_rng(0).integers(0, len(group), size=(resamples, len(group)))
    for name in ("tau", "rho", "regret", "n_at_10", "coverage", "width"):
        values = np.asarray([getattr(result, name) for result in group], dtype=np.float64)
        row[name] = float(values.mean())
        if np.isnan(row[name]) or name in ("n_at_10", "width"):
            continue
        if all(name in result.draws for result in group):
            drawn = np.stack([result.draws[name] for result in group])
            means = drawn[picks, np.arange(resamples)[:, None] % drawn.shape[1]].mean(axis=1)
        elif len(group) > 1:
            means = values[picks].mean(axis=1)
        else:  # one run without bootstrap tells nothing about its spread
            continue
        row[f"{name}_low"], row[f"{name}_high"] = interval(means)
    return row


def _default_factory() -> Callable[[], Forecaster]:
    from archcast.predictor.predictor import Predictor

    factory: Callable[[], Forecaster] = Predictor
    return factory


def _bar(items: Sequence[Any], text: str, progress: bool) -> Iterable[Any]:
    from tqdm import tqdm

    bar: Iterable[Any] = tqdm(items, text, disable=not progress)
    return bar
