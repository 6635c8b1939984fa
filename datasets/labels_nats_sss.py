"""Labels of the NATS-Bench size space (Dong et al., TPAMI 2021): 32,768 channel choices, CIFAR-10 test accuracy.

One number per network, after 90 epochs. Either the list published with BossNAS (YAML, one `spec: accuracy` a line)
or the same list as CSV with the columns `arch` and `acc`.
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from archcast.datasets.home import find_table
from archcast.datasets.labels import LabelSource, LabelTable, Measurement
from archcast.errors import DataError

TABLES = ("nats_sss_cifar10.csv", "nats_cifar10_acc_rank.yml")


def read(_task: str, _measurement: Measurement) -> LabelTable:
    return read_file(find_table("nats-sss", TABLES))


def read_file(path: Path) -> LabelTable:
    """`read` for a given file. Networks come in the order of their channel counts."""
    try:
        rows = _csv_rows(path) if path.suffix == ".csv" else _yaml_rows(path)
        scores = {tuple(int(width) for width in spec.split(":")): float(score) for spec, score in rows}
    except (ValueError, KeyError) as error:
        raise DataError(f"{path} is not a table of the NATS-Bench size space ({error!r}); fetch it again") from error
    if len(scores) != len(rows):
        raise DataError(f"{path} names {len(rows) - len(scores)} architectures twice; fetch it again")
    widths = sorted(scores)
    return LabelTable(
        tuple(":".join(map(str, choice)) for choice in widths),
        np.array([[scores[choice]] for choice in widths]),
    )


def _csv_rows(path: Path) -> list[tuple[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return [(row["arch"], row["acc"]) for row in csv.DictReader(file)]


def _yaml_rows(path: Path) -> list[tuple[str, str]]:
    # Split by hand: YAML would read unquoted specs such as 8:8:8:8:64 differently from version to version.
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines():
        spec, _, score = line.rpartition(": ")
        rows.append((spec.strip("'"), score))
    return rows


SOURCE = LabelSource(tasks=("cifar10",), measurements=(Measurement("test", 90),), read=read)
