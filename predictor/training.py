"""`train`: labels of a benchmark, of several, or of a user's table -> a fitted, saved, evaluated `Predictor`."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from archcast.errors import ConfigError, DataError, StorageError
from archcast.predictor.card import data_line, model_card
from archcast.predictor.config import TrainConfig

if TYPE_CHECKING:
    from archcast.graphs.graph import ComputationGraph
    from archcast.predictor.predictor import Predictor

DEFAULT_LABELS = 156
"""1 % of NAS-Bench-201, the second published size."""

Report = Callable[[str], None]


@dataclass(frozen=True, eq=False)
class Training:
    """What `train` made.

    Attributes:
        predictor: fitted.
        metrics: what metrics.json holds: "config", "seconds", "results" (rows of `Result.to_record`, empty where no
            labelled network remained to test on).
        output: the bundle, where one was written.
        truth, forecast: `[m]` true scores and `Predictions` of the networks tested on, for plots.
    """

    predictor: Predictor
    metrics: dict[str, Any]
    output: Path | None = None
    truth: NDArray[np.float64] | None = None
    forecast: Any = field(default=None, repr=False)


def train(config: TrainConfig, *, progress: bool = True) -> Predictor:
    """Fit a predictor as `config` says and save it to `config.output`; see `run_training` for its test figures.

    Raises:
        ConfigError: more labels than there are networks.
        UnknownNameError, MissingDataError, DataError: from the source of labels.
        StorageError: `config.output` cannot be written.
    """
    return run_training(config, progress=progress).predictor


def run_training(config: TrainConfig, *, progress: bool = True, report: Report | None = None) -> Training:
    """`train`, with its metrics. `report` gets one line of text per step (by default nothing is printed)."""
    say = report or (lambda _: None)
    _check_output(config.output)
    started = time.perf_counter()
    if config.spaces:
        training, data = _pretrain(config, progress, say)
    elif config.table:
        training, data = _train_table(config, progress, say)
    else:
        training, data = _train_benchmark(config, say)
    training.metrics.update(config=config.to_dict(), seconds=round(time.perf_counter() - started, 2))
    if config.output is None:
        return training
    output = Path(config.output)
    card = model_card(config.name or output.name, data, training.metrics, config)
    training.predictor.save_pretrained(output, metrics=training.metrics, card=card)
    say(f"saved to {output}")
    return Training(training.predictor, training.metrics, output, training.truth, training.forecast)


def _train_benchmark(config: TrainConfig, say: Report) -> tuple[Training, list[str]]:
    from archcast.datasets.benchmark import load_benchmark
    from archcast.predictor.evaluation import evaluate_forecast, forecast_whole_space
    from archcast.predictor.predictor import Predictor

    bench = load_benchmark(config.benchmark, config.task, metric=config.metric, epochs=config.epochs)
    labels = DEFAULT_LABELS if config.labels is None else config.labels
    if labels >= len(bench):
        raise ConfigError(f"{labels:,} labels of {len(bench):,} networks leave nothing to test on; ask for fewer")
    split = bench.splits([labels], seeds=[config.seed])[0]
    say(f"labels: {labels:,} of {len(bench):,} {bench.name} networks, {bench.task} {bench.metric}")
    graphs = bench.graphs()
    predictor = Predictor()
    clock = time.perf_counter()
    predictor.fit(
        graphs.take(split.train), bench.scores[split.train], task=bench.task, seed=config.seed, unit=bench.unit
    )
    say(f"fitted in {time.perf_counter() - clock:.1f} s; ranking the other {len(bench) - labels:,} networks")
    clock = time.perf_counter()
    forecast = forecast_whole_space(predictor, bench, graphs)
    say(f"ranked in {time.perf_counter() - clock:.1f} s")
    results = evaluate_forecast(bench, split.train, graphs, forecast, seed=config.seed)
    rest = np.setdiff1d(np.arange(len(bench)), split.train)
    metrics: dict[str, Any] = {"results": [result.to_record() for result in results]}
    data = [data_line(bench.name, bench.task, bench.metric, labels, len(bench))]
    return Training(predictor, metrics, None, bench.scores[rest], _Rows(forecast, rest)), data


class _Rows:
    """The arrays of a forecast at some rows."""

    def __init__(self, forecast: Any, rows: NDArray[Any]) -> None:
        self.scores, self.values = forecast.scores[rows], forecast.values[rows]
        self.low, self.high, self.familiarity = forecast.low[rows], forecast.high[rows], forecast.familiarity[rows]


def _train_table(config: TrainConfig, progress: bool, say: Report) -> tuple[Training, list[str]]:
    from archcast.datasets.tables import read_table
    from archcast.graphs.capture import capture_all
    from archcast.predictor.predictor import Predictor

    table = read_table(str(config.table), task=config.task, metric=config.metric)
    total = len(table.scores)
    labels = total if config.labels is None else config.labels
    if labels > total:
        raise ConfigError(f"{labels:,} labels asked for, but {config.table} holds {total:,} networks")
    if labels < 2:
        raise DataError(f"{config.table} holds one network; a ranking is learned from at least two")
    chosen = np.sort(np.random.default_rng(config.seed).permutation(total)[:labels])
    rest = np.setdiff1d(np.arange(total), chosen)
    say(f"labels: {labels:,} of {total:,} networks of {config.table}")
    graphs = capture_all(table.archs, progress=progress)
    predictor = Predictor()
    task = config.task or table.task or None
    predictor.fit([graphs[row] for row in chosen], table.scores[chosen], task=task, seed=config.seed)
    data = [f"{Path(str(config.table)).name}: {labels:,} of {total:,} networks, {table.metric or 'score'}."]
    if len(rest) < 3:
        return Training(predictor, {"results": []}), data
    results, forecast = _table_results(
        config, predictor, [graphs[row] for row in rest], table.scores[rest], labels, task
    )
    return Training(predictor, {"results": results}, None, table.scores[rest], forecast), data


def _table_results(
    config: TrainConfig,
    predictor: Predictor,
    graphs: list[ComputationGraph],
    truth: NDArray[np.float64],
    labels: int,
    task: str | None,
) -> tuple[list[dict[str, Any]], Any]:
    """The same figures as on a benchmark, for the rows of a table that were not used as labels."""
    from archcast.graphs.graph import GraphBatch
    from archcast.predictor.evaluation import METHOD, SUBSETS
    from archcast.predictor.metrics import baseline_scores, coverage, kendall_tau, spearman, top_k_regret

    batch = GraphBatch.from_graphs(graphs)
    forecast = predictor.predict(batch, task=task)
    rows = []
    for method, scores in {METHOD: forecast.scores, **baseline_scores(batch)}.items():
        covered = coverage(truth, forecast.low, forecast.high) if method == METHOD else float("nan")
        rows.append({
            "protocol": "few-shot", "benchmark": Path(str(config.table)).name, "task": task or "", "method": method,
            "labels": labels, "seed": config.seed, "subset": SUBSETS[1], "networks": len(truth),
            "tau": kendall_tau(truth, scores), "rho": spearman(truth, scores), "regret": top_k_regret(truth, scores),
            "coverage": covered,
        })  # fmt: skip
    return rows, forecast


def _pretrain(config: TrainConfig, progress: bool, say: Report) -> tuple[Training, list[str]]:
    from archcast.datasets.benchmark import load_benchmark
    from archcast.predictor.pretraining import pretrain

    say(f"pretraining on {', '.join(config.training_spaces)}")
    predictor = pretrain(config.training_spaces, seed=config.seed, progress=progress)
    data = []
    for space in config.training_spaces:
        bench = load_benchmark(space)
        data.append(data_line(bench.name, bench.task, bench.metric, len(bench), len(bench)))
    return Training(predictor, {"results": [], "spaces": list(config.training_spaces)}), data


def _check_output(output: str | None) -> None:
    """Refuse before training what could not be saved after it."""
    if output is None:
        return
    path = Path(output)
    if path.exists() and not path.is_dir():
        raise StorageError(f"{path} is a file; give --output a folder")
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"cannot make the folder {path}: {error.strerror}; choose another --output") from error
