"""Labels of TransNAS-Bench-101 (Duan et al., CVPR 2021): validation scores on seven Taskonomy tasks, one run each.

Scene, object, jigsaw: top-1 accuracy. Segmentation: pixel accuracy. Surface normals and autoencoder: structural
similarity. Room layout: the negative loss. The trainings lasted 25 epochs (scene, object, room layout), 10 (jigsaw) or
30 (segmentation, normals, autoencoder). 192 cells also have an accuracy on SVHN, measured by the authors of
NAS-Bench-Suite-Zero (Krishnakumar et al., NeurIPS 2022); their scores on Spherical CIFAR-100 and NinaPro are not
offered, because images of 60 x 60 and 16 x 52 do not divide by the stride of 32.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from archcast.datasets.home import find_table
from archcast.datasets.labels import LabelSource, LabelTable, Measurement
from archcast.datasets.labels_parquet import read_parquet

COLUMNS = {
    "taskonomy-scene": "class_scene",
    "taskonomy-object": "class_object",
    "taskonomy-jigsaw": "jigsaw",
    "taskonomy-room-layout": "room_layout",
    "taskonomy-segmentation": "segmentsemantic",
    "taskonomy-normal": "normal",
    "taskonomy-autoencoder": "autoencoder",
}
"""Task -> what the authors' files call it. The first is the default."""

QUANTITIES = {
    "taskonomy-room-layout": "score",
    "taskonomy-normal": "similarity",
    "taskonomy-autoencoder": "similarity",
}

UNITS = {"taskonomy-room-layout": "negative loss", "taskonomy-normal": "SSIM", "taskonomy-autoencoder": "SSIM"}

_LOG = logging.getLogger(__name__)


def read(benchmark: str, task: str, _measurement: Measurement) -> LabelTable:
    return read_file(find_table(benchmark, [f"{benchmark.replace('-', '_')}.parquet"]), task)


def read_file(path: Path, task: str) -> LabelTable:
    """`read` for a given file: columns `arch` and, for every task, `class_scene|val` and so on.

    Networks without a score on `task` are left out, and their number is logged.

    Raises:
        DataError: the file is damaged, lacks the column, or holds the same network twice.
    """
    column = f"{COLUMNS.get(task, task)}|val"
    frame = read_parquet(path, ["arch", column])
    known = frame[np.isfinite(frame[column])].sort_values("arch")
    if len(known) < len(frame):
        _LOG.info("%s: %d of %d networks have no score on %s", path.name, len(frame) - len(known), len(frame), task)
    return LabelTable(tuple(known["arch"]), known[[column]].to_numpy(np.float64))


def _source(benchmark: str, *more_tasks: str) -> LabelSource:
    reader: Callable[[str, Measurement], LabelTable] = partial(read, benchmark)
    return LabelSource(
        tasks=(*COLUMNS, *more_tasks),
        measurements=(Measurement("val", 0),),  # the number of epochs differs from task to task
        read=reader,
        units=UNITS,
        quantities=QUANTITIES,
    )


MICRO = _source("transnas101-micro", "svhn")
MACRO = _source("transnas101-macro")
