"""Label tables: which accuracies are known for each benchmark, and the readers that get them.

A benchmark offers several *measurements* (validation or test accuracy, after so many epochs). Each one names where it
comes from. Nothing is substituted silently: a measurement that is not there raises `MissingDataError`.
"""

from __future__ import annotations

import importlib
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from archcast.errors import DataError, UnknownNameError

FloatArray = NDArray[np.float64]

NUM_CLASSES: dict[str, int] = {
    "cifar10": 10,
    "cifar100": 100,
    "imagenet16-120": 120,
    "imagenet1k": 1000,
    "svhn": 10,
    "cluttered-digits": 10,
    "flowers102": 102,
    "chaoyang": 4,
    "cifar100-distilled": 100,
    "flowers102-distilled": 102,
    "chaoyang-distilled": 4,
    "taskonomy-scene": 63,
    "taskonomy-object": 75,
    "taskonomy-jigsaw": 1000,
    "taskonomy-room-layout": 9,
    "taskonomy-segmentation": 17,
    "taskonomy-normal": 3,
    "taskonomy-autoencoder": 3,
    "glue": 2,
    "glue-cola": 2,
    "glue-mnli": 3,
    "glue-mrpc": 2,
    "glue-qnli": 2,
    "glue-qqp": 2,
    "glue-rte": 2,
    "glue-sst": 2,
    "glue-sts": 1,
}
"""Task name -> number of classes of its classifier, or of values or channels where it has none."""


@dataclass(frozen=True, eq=False)
class LabelTable:
    """Scores of the architectures of one benchmark, task and measurement.

    Attributes:
        specs: the architectures, unique, in an order that does not depend on the source.
        per_seed: `[n, S]` one column per training run, NaN where an architecture has fewer runs. Higher is better.
        columns: further facts per architecture (`params`, `train_time` ...), each `[n]`.
    """

    specs: tuple[str, ...]
    per_seed: FloatArray
    columns: Mapping[str, NDArray[Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        rows = len(self.specs)
        if self.per_seed.ndim != 2 or len(self.per_seed) != rows:
            raise DataError(f"{rows} architectures but scores of shape {self.per_seed.shape}; the table is damaged")
        if len(set(self.specs)) != rows:
            spec, times = Counter(self.specs).most_common(1)[0]
            raise DataError(f"architecture {spec!r} occurs {times} times in the table; fetch the file again")
        empty = np.flatnonzero(~np.isfinite(self.per_seed).any(axis=1))
        if len(empty):
            raise DataError(f"architecture {self.specs[empty[0]]!r} (row {empty[0]}) has no finite score")


@dataclass(frozen=True)
class Measurement:
    """One kind of label: `kind` ("val" or "test") and `quantity`, after `epochs` epochs (0: no training of its own)."""

    kind: str
    epochs: int
    quantity: str = "accuracy"

    def __str__(self) -> str:
        text = f"{ {'val': 'validation', 'test': 'test'}[self.kind] } {self.quantity}"
        return f"{text} after {self.epochs} epochs" if self.epochs else text


@dataclass(frozen=True)
class LabelSource:
    """What one benchmark offers. The first measurement is the default, and stays so whatever files are present.

    Attributes:
        tasks: names of the data sets, the default first.
        measurements: the kinds of labels, the default first.
        read: gives the labels of a task and measurement.
        space: name of the search space where it differs from the name of the benchmark.
        units: unit of the scores of a task, where it is not percent.
        quantities: what the scores of a task are, where that differs from the measurement's quantity.
    """

    tasks: tuple[str, ...]
    measurements: tuple[Measurement, ...]
    read: Callable[[str, Measurement], LabelTable]
    space: str = ""
    units: Mapping[str, str] = field(default_factory=dict)
    quantities: Mapping[str, str] = field(default_factory=dict)

    def select(self, benchmark: str, metric: str | None, epochs: int | None) -> Measurement:
        """The measurement for `metric` and `epochs`; without `epochs` the longest training of that metric.

        Raises:
            UnknownNameError: there is no such measurement; the message lists those that exist.
        """
        fitting = [
            measurement
            for measurement in self.measurements
            if metric in (None, measurement.kind) and epochs in (None, measurement.epochs)
        ]
        if not fitting:
            known = ", ".join(f"metric={m.kind!r} epochs={m.epochs}" for m in self.measurements)
            raise UnknownNameError(f"{benchmark} has no metric={metric!r} with epochs={epochs}; it has: {known}")
        if metric is None:
            metric = fitting[0].kind
        return max((m for m in fitting if m.kind == metric), key=lambda m: m.epochs)


_MODULES: dict[str, str] = {
    "nasbench201": "archcast.datasets.labels_nasbench201",
    "nasbench101": "archcast.datasets.labels_nasbench101",
    "nasbench101-full": "archcast.datasets.labels_nasbench101_full",
    "nas-bench-macro": "archcast.datasets.labels_macro",
    "nats-sss": "archcast.datasets.labels_nats_sss",
    "transnas101-micro": "archcast.datasets.labels_transnas101:MICRO",
    "transnas101-macro": "archcast.datasets.labels_transnas101:MACRO",
    "accel-nasbench": "archcast.datasets.labels_accel",
    "ofa-mobilenetv3": "archcast.datasets.labels_ofa:OFA",
    "ofa-mobilenetv3-compofa": "archcast.datasets.labels_ofa:COMPOFA",
    "ofa-mobilenetv3-mcofa": "archcast.datasets.labels_ofa:MCOFA",
    "darts": "archcast.datasets.labels_darts",
    "vit-bench-autoformer": "archcast.datasets.labels_vit:AUTOFORMER",
    "vit-bench-autoformer-2": "archcast.datasets.labels_vit:AUTOFORMER_2",
    "pit": "archcast.datasets.labels_vit:PIT",
    "nas-bench-bert": "archcast.datasets.labels_nas_bench_bert:SPECIFIED",
    "nas-bench-bert-trained": "archcast.datasets.labels_nas_bench_bert:TRAINED",
    "mini-cells": "archcast.datasets.labels_mini:CELLS",
    "mini-shapes": "archcast.datasets.labels_mini:SHAPES",
    "mini-transformers": "archcast.datasets.labels_mini:TRANSFORMERS",
    "mini-mixers": "archcast.datasets.labels_mini:MIXERS",
    "zoo-torchvision": "archcast.datasets.labels_zoo:TORCHVISION",
    "zoo-torchvision-v2": "archcast.datasets.labels_zoo:TORCHVISION_V2",
    "zoo-pytorchcv": "archcast.datasets.labels_zoo:PYTORCHCV",
}
"""Benchmark name -> the module whose `SOURCE`, or the attribute after the colon, holds its labels.

Imported on first use.
"""


def benchmark_names() -> tuple[str, ...]:
    """Names of all benchmarks with labels."""
    return tuple(_MODULES)


def label_source(benchmark: str) -> LabelSource:
    """The label source of `benchmark`.

    Raises:
        UnknownNameError: no such benchmark; the message lists those that exist.
    """
    if benchmark not in _MODULES:
        raise UnknownNameError(f"no benchmark {benchmark!r}; there are: {', '.join(_MODULES)}")
    module, _, attribute = _MODULES[benchmark].partition(":")
    source: LabelSource = getattr(importlib.import_module(module), attribute or "SOURCE")
    return source
