"""Which networks of the public zoos archcast captures, by which route, how fast, and which operations it does not know.

    python -m benchmarks.capture_coverage [--zoos torchvision timm pytorchcv transformers] [--limit N] [--retry]

Writes benchmarks/results/capture_coverage.csv, one row per network; finished rows are kept (`--retry` runs the failed
ones again). Every network is built without weights; `params_exact` compares with `sum(p.numel())` of the module.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import nn
from tqdm import tqdm

from archcast.graphs.capture import canonical
from archcast.graphs.tracing import trace
from archcast.graphs.zoo import zoo_model

RESULTS = Path(__file__).parent / "results" / "capture_coverage.csv"
SECONDS_PER_NETWORK = 20
COLUMNS = [
    "zoo", "group", "name", "status", "reason", "route", "seconds", "nodes", "params", "macs", "unknown", "unknown_ops",
    "params_exact",
]  # fmt: skip
NOT_CLASSIFIERS = (
    "_voc", "_ade20k", "_coco", "_cityscapes", "_celebamaskhq", "jasper", "quartznet", "superpoint", "propainter",
    "raft", "visemenet", "voca8", "nvpattexp", "pfpcnet",
)  # fmt: skip


def torchvision_names() -> Iterator[tuple[str, str]]:
    from torchvision import models

    classifiers = set(models.list_models(module=models))
    for name in models.list_models():
        if not name.startswith("quantized"):
            group = "classification" if name in classifiers else models.get_model_builder(name).__module__.split(".")[2]
            yield group, name


def timm_names() -> Iterator[tuple[str, str]]:
    import timm

    return (("classification", name) for name in timm.list_models())


def pytorchcv_names() -> Iterator[tuple[str, str]]:
    from pytorchcv.model_provider import _models

    for name in _models:
        group = "other" if any(mark in name for mark in NOT_CLASSIFIERS) else "classification"
        yield group, name


def transformers_names() -> Iterator[tuple[str, str]]:
    from transformers.models.auto import modeling_auto as auto

    groups = {
        "image-classification": auto.MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES,
        "text": {
            **auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES,
            **auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
            **auto.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES,
        },
    }
    seen: set[str] = set()
    for group, names in groups.items():
        for name in names:
            if name not in seen:
                seen.add(name)
                yield group, name


ZOOS: dict[str, Callable[[], Iterator[tuple[str, str]]]] = {
    "torchvision": torchvision_names,
    "transformers": transformers_names,
    "pytorchcv": pytorchcv_names,
    "timm": timm_names,
}


@contextmanager
def deadline(seconds: int) -> Iterator[None]:
    """Raise TimeoutError in the block after `seconds`."""

    def stop(*_: Any) -> None:
        raise TimeoutError(f"more than {seconds} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def measure(zoo: str, group: str, name: str) -> dict[str, Any]:
    """One row of the table."""
    row: dict[str, Any] = {"zoo": zoo, "group": group, "name": name}
    modules: list[nn.Module] = []
    start = time.perf_counter()
    try:
        with deadline(SECONDS_PER_NETWORK):
            model = zoo_model(zoo, name)

            def build() -> nn.Module:
                modules.append(model.build())
                return modules[-1]

            graph, route = trace(build, name=f"{zoo}:{name}", feed_rule=model.feed)
            graph = canonical(graph)
    except Exception as error:  # the table is about what fails, and why
        return {**row, "status": "failed", "reason": " ".join(f"{type(error).__name__}: {error}".split())[:600]}
    unknown = graph.unknown_ops
    return {
        **row,
        "status": "ok",
        "route": route,
        "seconds": round(time.perf_counter() - start, 3),
        "nodes": len(graph),
        "params": graph.params,
        "macs": graph.macs,
        "unknown": sum(unknown.values()),
        "unknown_ops": " ".join(f"{op}:{count}" for op, count in unknown.items()),
        "params_exact": graph.params == sum(p.numel() for p in modules[-1].parameters()),
    }


def summarise(table: pd.DataFrame) -> None:
    for (zoo, group), rows in table.groupby(["zoo", "group"]):
        good = rows[rows.status == "ok"]
        exact = int(good.params_exact.astype(bool).sum())
        print(
            f"{zoo:13s} {group:22s} {len(good):5d}/{len(rows):<5d} = {len(good) / len(rows):7.2%}"
            f"  routes {good.route.value_counts().to_dict()}  median {good.seconds.median():.2f} s"
            f"  params exact {exact}/{len(good)}  networks with unknown ops {int((good.unknown > 0).sum())}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--zoos", nargs="+", default=list(ZOOS), choices=list(ZOOS))
    parser.add_argument("--group", default="", help="only networks of this group, such as classification")
    parser.add_argument("--limit", type=int, default=None, help="only the first N names of every zoo")
    parser.add_argument("--retry", action="store_true", help="run the networks that failed again")
    parser.add_argument("--again", action="store_true", help="run everything again")
    options = parser.parse_args()
    torch.set_num_threads(1)
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    RESULTS.parent.mkdir(exist_ok=True)
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    if RESULTS.exists():
        for row in pd.read_csv(RESULTS, keep_default_na=False).to_dict("records"):
            rows[row["zoo"], row["name"]] = {str(key): value for key, value in row.items()}
    wanted = [
        (zoo, *pair) for zoo in options.zoos for pair in list(ZOOS[zoo]())[: options.limit] if options.group in pair[0]
    ]
    for zoo, group, name in wanted:
        if (zoo, name) in rows:
            rows[zoo, name]["group"] = group
    open_ones = [
        item for item in wanted
        if options.again or (done := rows.get((item[0], item[2]))) is None or (options.retry and done["status"] != "ok")
    ]  # fmt: skip
    for number, (zoo, group, name) in enumerate(bar := tqdm(open_ones, "capture")):
        bar.set_postfix_str(name)
        rows[zoo, name] = measure(zoo, group, name)
        if number % 20 == 19:
            save(rows)
    save(rows)
    summarise(pd.read_csv(RESULTS, keep_default_na=False, na_values={"seconds": [""], "unknown": [""]}))


def save(rows: dict[tuple[str, str], dict[str, Any]]) -> None:
    table = pd.DataFrame(list(rows.values()), columns=COLUMNS).sort_values(["zoo", "group", "name"])
    for column in ("nodes", "params", "macs", "unknown"):
        table[column] = pd.to_numeric(table[column], errors="coerce").astype("Int64")
    table.to_csv(RESULTS, index=False)


if __name__ == "__main__":
    main()
