"""Labels of published networks: what torchvision and pytorchcv say about their own weights.

torchvision: ImageNet top-1 accuracy of the weights `IMAGENET1K_V1` (`zoo-torchvision`) or `IMAGENET1K_V2`
(`zoo-torchvision-v2`, the newer training recipe of some of the networks). Weights pretrained elsewhere (SWAG) are left
out, so the networks of one pool were trained much alike; the column `recipe` holds what the package says about it.
pytorchcv: accuracy from its table of errors, **top-5** for ImageNet, top-1 for CIFAR-10, CIFAR-100 and SVHN. Its
weights come from several authors.

Both were measured on the images that serve as the test set (for ImageNet the official validation images), one training
each.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from archcast.datasets.labels import LabelSource, LabelTable, Measurement
from archcast.datasets.zoo_space import TorchvisionZoo, pytorchcv_rows, pytorchcv_task
from archcast.errors import DataError

ACCURACY = Measurement("test", 0)


def read_torchvision(_task: str, _measurement: Measurement, *, weights: str) -> LabelTable:
    """Top-1 accuracy of the weights called `weights`.

    Columns: `params`, `macs` (torchvision calls them GFLOPS), `family` (module of the builder), `recipe`.
    """
    from archcast.graphs.zoo import import_zoo

    models = import_zoo("torchvision", "torchvision.models")
    rows: list[dict[str, Any]] = []
    for name in TorchvisionZoo().all_specs():
        published = models.get_model_weights(name).__members__
        if weights in published:
            meta = published[weights].meta
            rows.append({**meta, "name": name, "family": _last_part(models.get_model_builder(name).__module__)})
    try:
        accuracy = np.array([[row["_metrics"]["ImageNet-1K"]["acc@1"]] for row in rows], dtype=np.float64)
        macs = np.array([round(row["_ops"] * 1e9) for row in rows], dtype=np.int64)
        params = np.array([row["num_params"] for row in rows], dtype=np.int64)
    except KeyError as error:
        raise DataError(f"this torchvision tells no {error} of its weights; install torchvision>=0.21") from error
    family, recipe = (np.array([str(row.get(key, "")) for row in rows]) for key in ("family", "recipe"))
    columns = {"params": params, "macs": macs, "family": family, "recipe": recipe}
    return LabelTable(tuple(row["name"] for row in rows), accuracy, columns)


def read_pytorchcv(task: str, _measurement: Measurement) -> LabelTable:
    """100 minus the error in percent, for the networks whose error is known.

    Columns: `params`, `family` (module of the builder without its `_cifar`).
    """
    from archcast.graphs.zoo import import_zoo

    rows = [row for row in pytorchcv_rows() if pytorchcv_task(row) == task and row["error_value"] != "NA"]
    rows.sort(key=lambda row: row["model_name"])
    builders = import_zoo("pytorchcv", "pytorchcv.model_provider")._models
    names = tuple(row["model_name"] for row in rows)
    try:
        accuracy = np.array([[100 - int(row["error_value"]) / 100] for row in rows])
        params = np.array([int(row["net_weights"]) for row in rows], dtype=np.int64)
        family = np.array([_last_part(builders[name].__module__).removesuffix("_cifar") for name in names])
    except (ValueError, KeyError) as error:
        raise DataError(f"the table of pytorchcv is damaged ({error}); reinstall pytorchcv") from error
    return LabelTable(names, accuracy, {"params": params, "family": family})


def _last_part(module: str) -> str:
    return module.rpartition(".")[2]


def _torchvision(weights: str) -> LabelSource:
    return LabelSource(
        tasks=("imagenet1k",),
        measurements=(ACCURACY,),
        read=partial(read_torchvision, weights=weights),
        space="zoo-torchvision",
    )


TORCHVISION = _torchvision("IMAGENET1K_V1")
TORCHVISION_V2 = _torchvision("IMAGENET1K_V2")
PYTORCHCV = LabelSource(
    tasks=("imagenet1k", "cifar10", "cifar100", "svhn"),
    measurements=(ACCURACY,),
    read=read_pytorchcv,
    quantities={"imagenet1k": "top-5 accuracy"},
)
