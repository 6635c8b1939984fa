"""Pools of measured networks with their labels, for scripts that compare heads on equal splits."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from archcast.datasets.benchmark import load_benchmark
from archcast.encoders.features import encode
from archcast.graphs.graph import GraphBatch
from archcast.predictor.heads.networks import Networks
from archcast.proxies.tables import load_measurements

FloatArray = NDArray[np.float64]

POOLS: Final[Mapping[str, tuple[str, tuple[int, ...]]]] = {
    "nasbench201": ("cifar10", (78, 156, 469)),
    "nasbench101": ("cifar10", (100, 172, 424)),
    "nas-bench-macro": ("cifar10", (33, 66, 328)),
    "mini-transformers": ("cluttered-digits", (30, 60, 120)),
    "accel-nasbench": ("imagenet1k", (50, 100)),
    "zoo-pytorchcv": ("imagenet1k", (20, 50, 100)),
    "zoo-torchvision": ("imagenet1k", (20,)),
}
"""Table of measurements and benchmark -> task, and numbers of labels. Of torchvision only 38 networks were measured."""


@dataclass(frozen=True, eq=False)
class MeasuredPool:
    """Labelled and measured networks of one space.

    Attributes:
        name, task: of the benchmark.
        networks: features of the networks themselves; graphs and statistics of nodes of what was measured, which is a
            small stand-in for some spaces (`SearchSpace.small`).
        graphs: of the networks themselves.
        codes: `[n, C]` one-hot description by the specs; the features where specs have no fixed form (zoos).
        proxies: name -> `[n]` scores, NaN where not measured.
        labels: `[n]`, higher is better.
    """

    name: str
    task: str
    networks: Networks
    graphs: GraphBatch
    codes: FloatArray
    proxies: Mapping[str, FloatArray]
    labels: FloatArray

    def __len__(self) -> int:
        return len(self.labels)


def load_pool(name: str) -> MeasuredPool:
    """The networks of measurements/NAME.parquet that have a label and whose graph is the one that was measured."""
    task = POOLS[name][0]
    table, benchmark = load_measurements(name), load_benchmark(name, task)
    row_of = {spec: row for row, spec in enumerate(benchmark.specs)}
    kept = np.asarray([i for i, spec in enumerate(table.specs) if spec in row_of])
    small = benchmark.space.small()
    classes = benchmark.num_classes if small is benchmark.space else min(benchmark.num_classes, 10)
    graphs = small.stamp([table.specs[i] for i in kept], classes)
    same = np.diff(graphs.ptr) == np.diff(table.ptr)[kept]
    kept, graphs = kept[same], graphs.take(np.flatnonzero(same))
    at = np.concatenate([np.arange(table.ptr[i], table.ptr[i + 1]) for i in kept])
    rows = np.asarray([row_of[table.specs[i]] for i in kept])
    full = benchmark.graphs(rows)
    features = encode(full).astype(np.float64)
    codes = one_hot([table.specs[i] for i in kept])
    return MeasuredPool(
        name, task,
        Networks(features, 0, graphs, {proxy: values[at] for proxy, values in table.nodes.items()}),
        full, features if codes is None else codes,
        {proxy: table.column(proxy)[kept].astype(np.float64) for proxy in table.names},
        benchmark.scores[rows],
    )  # fmt: skip


def one_hot(specs: list[str]) -> FloatArray | None:
    """`[n, C]` one-hot tokens of specs, place by place; None where specs differ in their number of tokens."""
    tokens = [_tokens(spec) for spec in specs]
    if len({len(row) for row in tokens}) != 1 or len(tokens[0]) < 2:
        return None
    columns = [
        [row[place] == value for row in tokens]
        for place in range(len(tokens[0]))
        for value in sorted({row[place] for row in tokens})
    ]
    return np.asarray(columns, np.float64).T


def _tokens(spec: str) -> list[str]:
    if re.fullmatch(r"[01]+:[-\w]+", spec):  # NAS-Bench-101: adjacency matrix and operations
        bits, _, names = spec.partition(":")
        operations = names.split("-")
        matrix = np.full((7, 7), "0")
        size = len(operations)
        matrix[:size, :size] = np.asarray(list(bits)).reshape(size, size)
        return [*matrix[np.triu_indices(7, 1)], *operations, *["none"] * (7 - size)]
    if re.fullmatch(r"[0-9]+", spec):  # one digit a block
        return list(spec)
    return re.findall(r"[a-z_]+_\dx\d|[a-z_]+\d*(?:x\d+)?|\d+", spec)
