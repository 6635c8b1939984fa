"""`load_benchmark`: architectures with known accuracy, from labels to graphs to splits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import combinations
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
from numpy.typing import NDArray

from archcast.datasets.cache import GraphCache, content_key
from archcast.datasets.labels import NUM_CLASSES, FloatArray, Measurement, benchmark_names, label_source
from archcast.datasets.splits import (
    DEFAULT_SIZES,
    P1_SIZES,
    Split,
    SplitKind,
    group_numbers,
    isomorphism_split,
    random_split,
)
from archcast.errors import ConfigError, UnknownNameError
from archcast.graphs.graph import ComputationGraph, GraphBatch, IntArray

if TYPE_CHECKING:
    import pandas as pd
    from torch import nn

    from archcast.datasets.space import SearchSpace
    from archcast.graphs.modules import Buildable

INPUT_SHAPES: dict[str, tuple[int, int, int, int]] = {"imagenet16-120": (1, 3, 16, 16)}
"""Tasks whose images are not 32 x 32."""


@dataclass(frozen=True, eq=False)
class Benchmark:
    """Architectures of one search space with their measured accuracy on one task.

    Attributes:
        name: name of the search space.
        task: name of the data set.
        measurement: what the scores are: kind ("val" or "test") and number of training epochs.
        specs: the architectures, unique, in the space's own text format.
        scores: `[n]` accuracy in percent (or what `metric` and `unit` say), mean over training runs, higher is better.
        seeds: `[n, S]` accuracy of each training run, NaN where an architecture has fewer;
            None where only one is known.
        columns: further facts per architecture, such as `params`.
        unit: unit of the scores.
    """

    name: str
    task: str
    measurement: Measurement
    specs: tuple[str, ...]
    scores: FloatArray
    seeds: FloatArray | None = None
    columns: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    unit: str = "%"

    @property
    def kind(self) -> str:
        """ "val" or "test"."""
        return self.measurement.kind

    @property
    def metric(self) -> str:
        """The scores in words, for example "validation accuracy after 200 epochs"."""
        return str(self.measurement)

    @property
    def num_classes(self) -> int:
        return NUM_CLASSES[self.task]

    @cached_property
    def space(self) -> SearchSpace[Any]:
        """The search space, at the image size and with the decoder of the task."""
        from archcast.datasets.spaces import get_space

        space = get_space(label_source(self.name).space or self.name).for_task(self.task)
        shape = INPUT_SHAPES.get(self.task)
        return space if shape is None else type(space)(shape)

    def __len__(self) -> int:
        return len(self.specs)

    def __repr__(self) -> str:
        low, high = self.scores.min(), self.scores.max()
        scores = f"{self.metric} {low:.2f}..{high:.2f} {self.unit}"
        return f"Benchmark({self.name}, {self.task}: {len(self):,} architectures, {scores})"

    def graph(self, index: int) -> ComputationGraph:
        """The computation graph of architecture `index`."""
        return self.space.graph(self.specs[index], self.num_classes)

    def module(self, index: int) -> nn.Module:
        """The PyTorch network of architecture `index`, with fresh weights."""
        return self.space.module(self.specs[index], self.num_classes)

    def networks(self, specs: Sequence[str] | None = None, *, small: bool = False) -> list[Buildable]:
        """The networks of all architectures, or of `specs`, as something that can be built and run.

        With `small`, their cheap stand-ins (`SearchSpace.small`) with at most ten classes. For `archcast.proxies`.
        """
        space = self.space.small() if small else self.space
        classes = min(self.num_classes, 10) if small and space is not self.space else self.num_classes
        return [space.buildable(spec, classes) for spec in (self.specs if specs is None else specs)]

    def graphs(self, indices: Sequence[int] | IntArray | None = None, *, cache: bool = True) -> GraphBatch:
        """The computation graphs of all architectures, or of those at `indices`.

        With `cache`, those of all architectures are kept in and read from `GraphCache`; a selection is always stamped.
        """
        if indices is not None:
            return self.space.stamp([self.specs[index] for index in indices], self.num_classes)
        if not cache:
            return self.space.stamp(self.specs, self.num_classes)
        return GraphCache().graphs(self.graph_key, lambda: self.space.stamp(self.specs, self.num_classes))

    @cached_property
    def graph_key(self) -> str:
        """The name under which `GraphCache` keeps the graphs of all architectures, and whatever is made of them."""
        return content_key(
            "stamped", self.space.name, str(self.num_classes), str(tuple(self.space.input_shape)), *self.specs
        )

    @cached_property
    def groups(self) -> IntArray:
        """`[n]` isomorphism groups: equal numbers for architectures that are the same network."""
        return group_numbers([self.space.isomorphism_hash(spec) for spec in self.specs])

    def splits(
        self,
        sizes: Sequence[int] | None = None,
        *,
        seeds: Sequence[int] = (0, 1, 2, 3, 4),
        kind: SplitKind = "random",
        whole_space: bool = True,
    ) -> list[Split]:
        """Few-shot splits: one per size and seed, sizes first.

        Args:
            sizes: numbers of labelled architectures; `P1_SIZES` of this benchmark, else `DEFAULT_SIZES`, when left out.
            kind: "random", or "isomorphism" to keep isomorphs of labelled architectures out of test.
            whole_space: for "random", rank everything (protocol P1) instead of the unlabelled rest.

        Raises:
            ConfigError: a size that the benchmark cannot give, or an unknown kind.
        """
        if kind not in get_args(SplitKind):
            raise ConfigError(f"unknown kind of split {kind!r}; choose one of {', '.join(get_args(SplitKind))}")
        chosen = P1_SIZES.get(self.name, DEFAULT_SIZES) if sizes is None else sizes
        if kind == "isomorphism":
            return [isomorphism_split(self.groups, size, seed) for size in chosen for seed in seeds]
        return [random_split(len(self), size, seed, whole_space=whole_space) for size in chosen for seed in seeds]

    def to_frame(self) -> pd.DataFrame:
        """One row per architecture: `arch`, `score`, `score_0` ... per training run, and the further columns."""
        import pandas as pd

        runs = {} if self.seeds is None else {f"score_{run}": column for run, column in enumerate(self.seeds.T)}
        return pd.DataFrame({"arch": self.specs, "score": self.scores, **runs, **self.columns})

    def noise_ceiling(self) -> float | None:
        """Mean Kendall tau-b between two training runs of the same architectures: what label noise leaves to forecast.

        Each pair of runs is compared on the architectures that have both. None where only one run is known.
        """
        if self.seeds is None:
            return None
        from scipy.stats import kendalltau

        taus = []
        for left, right in combinations(self.seeds.T, 2):
            both = np.isfinite(left) & np.isfinite(right)
            taus.append(kendalltau(left[both], right[both]).statistic)
        return float(np.mean(taus))


def load_benchmark(
    name: str, task: str | None = None, *, metric: str | None = None, epochs: int | None = None
) -> Benchmark:
    """The architectures of a benchmark with their labels.

    Args:
        name: one of `list_benchmarks()`.
        task: data set, one of `list_tasks(name)`; the first of them when left out.
        metric: "val" or "test" accuracy. The default of each benchmark is fixed (see `list_metrics`), whatever files
            are present.
        epochs: length of the training the accuracy was measured after; when left out, the longest of `metric`.

    Raises:
        UnknownNameError: no such benchmark, task or measurement; the message lists what there is.
        MissingDataError: the table is not on this machine; the message names it and the command that fetches it.
        MissingExtraError: the package that holds the labels is not installed.
        DataError: the table is damaged.
    """
    source = label_source(name)
    task = source.tasks[0] if task is None else task
    if task not in source.tasks:
        raise UnknownNameError(f"{name} has no labels for task {task!r}; it has: {', '.join(source.tasks)}")
    measurement = source.select(name, metric, epochs)
    table = source.read(task, measurement)
    return Benchmark(
        name=name,
        task=task,
        measurement=replace(measurement, quantity=source.quantities.get(task, measurement.quantity)),
        specs=table.specs,
        scores=np.nanmean(table.per_seed, axis=1),
        seeds=table.per_seed if table.per_seed.shape[1] > 1 else None,
        columns=table.columns,
        unit=source.units.get(task, "%"),
    )


def list_benchmarks() -> list[str]:
    """Names that `load_benchmark` knows."""
    return list(benchmark_names())


def list_tasks(benchmark: str | None = None) -> list[str]:
    """Names of the tasks of one benchmark, or of all."""
    names = [benchmark] if benchmark else list_benchmarks()
    return list(dict.fromkeys(task for name in names for task in label_source(name).tasks))


def list_metrics(benchmark: str) -> list[Measurement]:
    """The measurements of one benchmark, its default first."""
    return list(label_source(benchmark).measurements)
