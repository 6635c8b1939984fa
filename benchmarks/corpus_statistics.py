"""What is in the unlabelled corpus.

    archcast datasets corpus --output DIR
    python -m benchmarks.corpus_statistics --corpus DIR

Writes `benchmarks/results/corpus_statistics.csv`, one row for each source and one for all: graphs (and pools) that are
in the corpus, graphs made and the duplicates among them, nodes per graph, distinct ops, parameters and MACs, networks
that could not be captured, bytes on disk, and how many graphs one core makes, hashes and packs in a second of processor
time, measured on up to 512 graphs made anew (not for zoos, whose captures come from the cache). Every graph's hash is
computed again and compared with the stored one.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ["OMP_NUM_THREADS"] = "1"  # rates are those of one core
os.environ["OPENBLAS_NUM_THREADS"] = "1"

import numpy as np
from tqdm import tqdm

from archcast.datasets.corpus import Corpus
from archcast.datasets.corpus_shards import Shard, hash_array
from archcast.datasets.corpus_sources import POOL, RANDOM, Part, make, random_parts, space_parts
from archcast.datasets.corpus_zoo import ZOO_SOURCES
from archcast.errors import DataError
from archcast.graphs.hashing import graph_hashes

RESULT = Path(__file__).parent / "results" / "corpus_statistics.csv"
MEASURED = 512
Row = dict[str, Any]


class Tally:
    """Numbers of the graphs of one source, or of all."""

    def __init__(self) -> None:
        self.shards = self.graphs = self.made = self.bytes = self.failures = 0
        self.pools: set[str] = set()
        self.ops: set[str] = set()
        self.nodes: list[np.ndarray[Any, Any]] = []
        self.params: list[np.ndarray[Any, Any]] = []
        self.macs: list[np.ndarray[Any, Any]] = []

    def add(self, shard: Shard) -> None:
        graphs = shard.take(np.arange(len(shard)))
        if not np.array_equal(hash_array(graph_hashes(graphs)), shard.hashes):
            raise DataError(f"{shard.path}: the stored hashes are not those of the graphs; make the corpus again")
        self.shards += 1
        self.graphs += len(shard)
        self.made += shard.made
        self.bytes += shard.path.stat().st_size
        self.failures += len(shard.failures)
        self.pools |= {name for name, _ in shard.pools}
        self.ops |= {json.loads(text)[0] for text in shard.node_texts}
        self.nodes.append(shard.nodes)
        self.params.append(graphs.params)
        self.macs.append(graphs.macs)

    def join(self, other: Tally) -> None:
        for name, value in vars(other).items():
            joined = getattr(self, name) | value if isinstance(value, set) else getattr(self, name) + value
            setattr(self, name, joined)

    def row(self, source: str) -> Row:
        nodes = np.concatenate(self.nodes)
        params, macs = (np.concatenate(values) for values in (self.params, self.macs))
        return {
            "source": source,
            "graphs": self.graphs,
            "pools": len(self.pools),
            "made": self.made,
            "duplicates": self.made - self.graphs,
            "not_captured": self.failures,
            "nodes_min": int(nodes.min()) if len(nodes) else 0,
            "nodes_median": float(np.median(nodes)) if len(nodes) else 0.0,
            "nodes_max": int(nodes.max()) if len(nodes) else 0,
            "distinct_ops": len(self.ops),
            "params_median": float(np.median(params)) if len(params) else 0.0,
            "macs_median": float(np.median(macs)) if len(macs) else 0.0,
            "shards": self.shards,
            "bytes": self.bytes,
        }


def measure(corpus: Corpus) -> Iterator[Row]:
    """One row per source, then one of all together."""
    total = Tally()
    bar = tqdm(corpus.shards, desc="shards")
    for source, shards in groupby(bar, key=lambda item: item[0]):
        tally = Tally()
        for _, shard in shards:
            tally.add(shard)
        total.join(tally)
        yield tally.row(source) | {"graphs_per_second": rate(source)}
    yield total.row("all") | {"graphs_per_second": ""}


def rate(source: str) -> float | str:
    """Graphs that one core makes in a second of processor time, from nothing remembered; empty for a zoo."""
    if source in ZOO_SOURCES:
        return ""
    parts: Iterable[Part] = random_parts(MEASURED, 0) if source == RANDOM else space_parts(200_000, 0, ())
    part = next(part for part in parts if part.source == source)
    material = make(replace(part, count=MEASURED // POOL if source == RANDOM else min(part.count, MEASURED)))
    return round(material.made / material.seconds, 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=Path, required=True, help="folder made by `archcast datasets corpus`")
    folder = parser.parse_args().corpus
    corpus = Corpus.open(folder)
    rows = list(measure(corpus))
    with RESULT.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    for row in rows:
        print(
            f"{row['source']:24} {row['graphs']:7} graphs, {row['duplicates']:6} duplicates removed, nodes "
            f"{row['nodes_min']}/{row['nodes_median']:.0f}/{row['nodes_max']}, {row['distinct_ops']} ops, "
            f"{row['graphs_per_second']}/s, {row['bytes'] / 1e6:.1f} MB"
        )


if __name__ == "__main__":
    main()
