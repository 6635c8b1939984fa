"""Parameters and MACs of captured graphs against torch's own count, on networks of many families.

    python -m benchmarks.capture_exactness [--limit N] [--again]

Parameters are compared with `sum(p.numel())` of the module, MACs with half of what
`torch.utils.flop_counter.FlopCounterMode` counts in a run on the meta device. One network of every timm file,
all torchvision classifiers, one pytorchcv network in twelve, and transformers image classifiers and text models.
Writes benchmarks/results/capture_exactness.csv; finished rows are kept.
"""

from __future__ import annotations

import argparse
import logging
import os
import random
import warnings
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from tqdm import tqdm

from archcast.errors import ArchcastError, one_line
from archcast.graphs.capture import canonical
from archcast.graphs.feeds import Feed
from archcast.graphs.tracing import trace
from archcast.graphs.zoo import zoo_model

RESULTS = Path(__file__).parent / "results" / "capture_exactness.csv"
TEXT = [
    "bert",
    "gpt2",
    "roberta",
    "albert",
    "electra",
    "distilbert",
    "opt",
    "t5",
    "bart",
    "mobilebert",
    "funnel",
    "xlnet",
]
IMAGE = [
    "vit",
    "deit",
    "beit",
    "swin",
    "swinv2",
    "convnext",
    "convnextv2",
    "resnet",
    "segformer",
    "pvt",
    "levit",
    "dinov2",
    "poolformer",
    "cvt",
    "mobilevit",
    "mobilenet_v2",
    "regnet",
    "focalnet",
    "efficientnet",
]


def names() -> list[str]:
    """Networks to compare, zoo prefix included."""
    import timm
    from pytorchcv.model_provider import _models
    from torchvision import models

    chosen = [f"torchvision:{name}" for name in models.list_models(module=models)]
    for module in timm.list_modules():
        chosen.extend(f"timm:{name}" for name in timm.list_models(module=module)[:1])
    chosen.extend(f"pytorchcv:{name}" for name in list(_models)[::12])
    chosen.extend(f"transformers:{name}" for name in (*IMAGE, *TEXT))
    return chosen


def counted_macs(module: nn.Module, feed: Feed) -> int:
    """Half of the FLOPs torch counts in one forward pass on meta."""
    positional, named = feed.tensors(torch.device("meta"))
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        module.eval()(*positional, **named)
    return int(counter.get_total_flops()) // 2


def measure(name: str) -> dict[str, Any]:
    zoo, spec = name.split(":", 1)
    row: dict[str, Any] = {"name": name, "status": "failed"}
    modules: list[nn.Module] = []
    try:
        model = zoo_model(zoo, spec)

        def build() -> nn.Module:
            modules.append(model.build())
            return modules[-1]

        graph, route = trace(build, feed_rule=model.feed)
        graph = canonical(graph)
    except ArchcastError as error:
        return {**row, "reason": one_line(error, 200)}
    module = modules[0]
    row |= {"params": graph.params, "true_params": sum(p.numel() for p in module.parameters()), "macs": graph.macs}
    try:
        row["counted_macs"] = counted_macs(module, model.feed(module))
    except (RuntimeError, NotImplementedError) as error:  # the counter needs a run on meta, which not all allow
        return {**row, "status": "not counted", "reason": f"{route}: {' '.join(str(error).split())[:200]}"}
    row["status"] = "ok"
    row["macs_error"] = graph.macs / max(row["counted_macs"], 1) - 1
    return row


def summarise(table: pd.DataFrame) -> None:
    good = table[table.status == "ok"]
    counted = table[table.params.notna()]
    exact = int((counted.params == counted.true_params).sum())
    near = int((good.macs_error.abs() <= 0.01).sum())
    print(f"parameters exact on {exact} of {len(counted)}; MACs within 1 % on {near} of {len(good)}")
    print(good[good.macs_error.abs() > 0.01].sort_values("macs_error")[["name", "macs", "counted_macs", "macs_error"]])
    print(table[table.status != "ok"].get(["name", "status", "reason"], pd.DataFrame()).to_string())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--limit", type=int, default=None, help="networks to measure in this run")
    parser.add_argument("--again", action="store_true", help="forget the finished rows")
    options = parser.parse_args()
    torch.set_num_threads(1)
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    rows: list[dict[str, Any]] = []
    if RESULTS.exists() and not options.again:
        rows = [{str(k): v for k, v in row.items()} for row in pd.read_csv(RESULTS).to_dict("records")]
    done = {row["name"] for row in rows}
    chosen = [name for name in names() if name not in done]
    random.Random(0).shuffle(chosen)  # a run that is cut short has seen every zoo
    RESULTS.parent.mkdir(exist_ok=True)
    for name in tqdm(chosen[: options.limit], "count"):
        rows.append(measure(name))
        pd.DataFrame(rows).sort_values("name").to_csv(RESULTS, index=False)
    summarise(pd.read_csv(RESULTS))


if __name__ == "__main__":
    main()
