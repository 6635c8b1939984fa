"""Labels of NAS-Bench-BERT (Serianni and Kalita, ACL 2023): GLUE scores on the validation sets.

Every network was pre-trained as ELECTRA does for 100,000 steps with batches of 128, and fine-tuned on each task once.
The scores are those of the ELECTRA code, times 100: Matthews correlation (cola), correlation (sts), accuracy elsewhere.
The 0 of one network on rte is in the authors' file.
"""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from archcast.datasets.home import find_table
from archcast.datasets.labels import LabelSource, LabelTable, Measurement
from archcast.datasets.nas_bench_bert import Bert, Layer, NASBenchBert
from archcast.errors import DataError

TABLES = ("BERT_benchmark.json", "nas_bench_bert.json")
TASKS = ("glue", *(f"glue-{task}" for task in ("cola", "mnli", "mrpc", "qnli", "qqp", "rte", "sst", "sts")))
"""`glue` is the mean of the eight others."""


def _read(benchmark: str, task: str, _measurement: Measurement) -> LabelTable:
    return read_file(find_table(benchmark, list(TABLES)), task)


def read_file(path: Path, task: str) -> LabelTable:
    """A list of `{"scores": {"cola": .., "glue": ..}, "hparams": {"model_hparam_overrides": ..}, ..}`.

    Networks come in the order of their specs. Nine were drawn and trained twice: two runs in `per_seed`.
    Column `train_time`: seconds of pre-training.
    """
    key = task.removeprefix("glue-")
    space = NASBenchBert()
    runs: dict[str, list[tuple[float, float]]] = {}
    try:
        with path.open(encoding="utf-8") as file:
            entries: list[dict[str, Any]] = json.load(file)
        for entry in entries:
            spec = space.format(_bert(entry["hparams"]["model_hparam_overrides"]))
            space.parse(spec)
            runs.setdefault(spec, []).append((float(entry["scores"][key]), float(entry["time_to_train"])))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise DataError(f"{path} is not the table of NAS-Bench-BERT ({reason}); download it again") from error
    specs = tuple(sorted(runs))
    if not specs:
        raise DataError(f"{path} holds no networks; download it again")
    table = np.full((len(specs), max(len(found) for found in runs.values()), 2), np.nan)
    for row, spec in enumerate(specs):
        table[row, : len(runs[spec])] = runs[spec]
    return LabelTable(specs, table[..., 0], {"train_time": np.nanmean(table[..., 1], axis=1)})


def _bert(overrides: dict[str, Any]) -> Bert:
    return Bert(overrides["hidden_size"], tuple(map(_layer, overrides["nas_config"]["encoder_layers"])))


def _layer(entry: dict[str, Any]) -> Layer:
    parameter = str(entry["operation_parameter"]).lower()
    operation = f"dsc{parameter}" if entry["operation_type"] == "DSC" else parameter
    return Layer(operation, entry["num_operation_heads"], entry["feed_forward_dimension"], entry["num_feed_forward"])


def _source(benchmark: str) -> LabelSource:
    return LabelSource(
        tasks=TASKS,
        measurements=(Measurement("val", 0, "GLUE score"),),  # trained, but for steps rather than epochs
        read=partial(_read, benchmark),
        quantities={"glue-cola": "Matthews correlation x 100", "glue-sts": "correlation x 100"}
        | dict.fromkeys(TASKS[2:-1], "accuracy"),
        units=dict.fromkeys(("glue", "glue-cola", "glue-sts"), "points"),
    )


SPECIFIED = _source("nas-bench-bert")
TRAINED = _source("nas-bench-bert-trained")
