"""`train`: labels of a benchmark, of several, or of a user's table -> a fitted, saved, evaluated `Predictor`."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from archcast.errors import ConfigError, DataError, MissingDataError, StorageError
from archcast.predictor.card import data_line, model_card, pool_line
from archcast.predictor.config import TrainConfig

if TYPE_CHECKING:
    from archcast.datasets.benchmark import Benchmark
    from archcast.predictor.predictor import Predictor

DEFAULT_LABELS = 156
"""1 % of NAS-Bench-201, the second published size."""

_FIT_STEPS = 6  # five folds and all labels; ten folds below 100 labels. Only the estimate of the time left uses it.

_GRAPH_STEPS = 4  # the graphs of the pools, and three encoders

HELD_OUT = 3000
"""Networks of each space on which a pretrained predictor is scored."""

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
        training, data = _train_benchmark(config, progress, say)
    training.metrics.update(config=config.to_dict(), seconds=round(time.perf_counter() - started, 2))
    if config.output is None:
        return training
    output = Path(config.output)
    card = model_card(config.name or output.name, data, training.metrics, config)
    training.predictor.save_pretrained(output, metrics=training.metrics, card=card)
    say(f"saved to {output}")
    return Training(training.predictor, training.metrics, output, training.truth, training.forecast)


def _train_benchmark(config: TrainConfig, progress: bool, say: Report) -> tuple[Training, list[str]]:
    from archcast.datasets.benchmark import load_benchmark
    from archcast.predictor.evaluation import SUBSETS, forecast_whole_space, score_few_shot
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
    chosen = graphs.take(split.train)
    with _steps("fitting", _FIT_STEPS if labels >= 100 else _FIT_STEPS + 5, progress) as step:
        predictor.fit(
            chosen, bench.scores[split.train], task=bench.task, seed=config.seed, unit=bench.unit, on_step=step
        )
    say(f"fitted in {time.perf_counter() - clock:.1f} s; ranking the other {len(bench) - labels:,} networks")
    clock = time.perf_counter()
    forecast = forecast_whole_space(predictor, bench, graphs)
    say(f"ranked in {time.perf_counter() - clock:.1f} s")
    results = score_few_shot(bench, split.train, graphs, forecast, seed=config.seed, subsets=SUBSETS[1:])
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
    from archcast.graphs.graph import GraphBatch
    from archcast.predictor.evaluation import SUBSETS, score_networks
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
    batch = GraphBatch.from_graphs([graphs[row] for row in rest])
    forecast = predictor.predict(batch, task=task)
    results = score_networks(
        forecast, batch, table.scores[rest], protocol="few-shot", benchmark=Path(str(config.table)).name,
        task=task or "", metric=table.metric or "score", labels=labels, seed=config.seed, subset=SUBSETS[1],
    )  # fmt: skip
    records = [result.to_record() for result in results]
    return Training(predictor, {"results": records}, None, table.scores[rest], forecast), data


def _pretrain(config: TrainConfig, progress: bool, say: Report) -> tuple[Training, list[str]]:
    """Fit one predictor to several spaces; score it on held-out networks of those, and on the spaces left out."""
    from archcast.datasets.benchmark import load_benchmark
    from archcast.predictor.pretraining import PER_POOL, pretrain, training_rows

    say(f"pretraining on {', '.join(config.training_spaces)}")
    pools = config.training_pools
    steps = len(config.training_spaces) + _FIT_STEPS + (_GRAPH_STEPS if pools else 0)
    with _steps("pretraining", steps, progress) as step:
        predictor = pretrain(config.training_spaces, pools, seed=config.seed, on_step=step)
    data, results = [pool_line(pool, PER_POOL) for pool in pools], []
    for name in config.spaces:
        try:
            bench = load_benchmark(name)
        except MissingDataError as error:  # a space that was left out need not be here
            say(f"not scored on {name}: {error}")
            continue
        seen = training_rows(bench, seed=config.seed) if name in config.training_spaces else np.zeros(0, np.int64)
        if len(seen):
            data.append(data_line(bench.name, bench.task, bench.metric, len(seen), len(bench)))
        results += _held_out(predictor, bench, seen, config.seed)
        say(f"scored on {name}")
    return Training(predictor, {"results": results, "spaces": list(config.training_spaces), "pools": list(pools)}), data


def _held_out(predictor: Predictor, bench: Benchmark, seen: NDArray[np.int64], seed: int) -> list[dict[str, Any]]:
    from archcast.predictor.evaluation import score_networks

    rest = np.setdiff1d(np.arange(len(bench)), seen)
    rows = np.sort(np.random.default_rng(seed).permutation(rest)[:HELD_OUT])
    protocol, subset = ("pretrained", "held-out networks") if len(seen) else ("zero-shot", "of an unseen space")
    graphs = bench.graphs(rows)
    results = score_networks(
        predictor.predict(graphs), graphs, bench.scores[rows], protocol=protocol, benchmark=bench.name, task=bench.task,
        metric=bench.metric, labels=len(seen), seed=seed, subset=subset,
    )  # fmt: skip
    return [result.to_record() for result in results]


@contextmanager
def _steps(text: str, expected: int, progress: bool) -> Iterator[Report]:
    """A progress bar over the steps somebody else reports, with the last one's name and the time left."""
    from tqdm import tqdm

    with tqdm(desc=text, total=expected, unit="step", disable=not progress, leave=False) as bar:

        def step(done: str) -> None:
            bar.set_postfix_str(done)
            bar.update()

        yield step


def _check_output(output: str | None) -> None:
    """Refuse before training what could not be saved after it."""
    if output is None:
        return
    path = Path(output).absolute()
    if path.exists() and not path.is_dir():
        raise StorageError(f"{path} is a file; give --output a folder")
    existing = next(folder for folder in (path, *path.parents) if folder.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK):
        raise StorageError(
            f"cannot make the folder {path}: {existing} is not a writable folder; choose another --output"
        )
