"""How many networks a second the predictor scores, and how much heavier the encoders of others are.

    python -m benchmarks.throughput [--encoders out/transfer/without-nasbench201-0] [--networks 4096] [--repeats 5]

- *unfamiliar pool*: networks of NAS-Bench-201, graphs at hand, by a predictor that has never met the space, so that
  the ranker, all three graph encoders and the labels of other spaces are asked (`python -m benchmarks.transfer` leaves
  such encoders behind; without `--encoders` those of the base bundle are asked, which takes as long).
- *familiar pool*: the same networks by the base predictor.
- *features*, *graph encoders*: the two parts of the former.
- *timm end to end*: names in, forecasts out, in chunks of 20: build on the meta device, capture, encode, predict; and
  all at a time, where two processes build and capture (`capture_all(names, executor=...)`).
- *k-GNN*: GENNAPE's, one member, on the same graphs, in batches of 256 and of all distinct nodes as it stands.
- *ModernBERT-large*: an encoder of ONNX-Net's size (28 layers, width 1024) with random weights on our texts of the same
  networks, in batches of 8.

Medians over repeats, by the clock and of the processor time of this process, one thread. Writes results/throughput.csv.
"""

from __future__ import annotations

import argparse
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import json
import time
from collections.abc import Callable
from concurrent.futures import Executor, ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from safetensors.numpy import load_file
from tqdm import tqdm

from archcast.datasets.benchmark import load_benchmark
from archcast.encoders.features import encode
from archcast.encoders.text import TextEncoder, TextEncoderConfig, TextTensors
from archcast.encoders.tokens import Tokenizer
from archcast.graphs.capture import capture_all
from archcast.graphs.graph import GraphBatch
from archcast.predictor import graph_bundle
from archcast.predictor.predictor import Predictor
from archcast.predictor.pretraining import SPACES, pretrain
from archcast.workers import prepare_worker
from benchmarks.baselines.k_gnn import KGnn, computational_graphs

RESULT = Path(__file__).parent / "results" / "throughput.csv"
LARGE = TextEncoderConfig(width=1024, layers=28, heads=16, inner_width=2624)
"""ModernBERT-large."""

_TIMM = 60


def timed(work: Callable[[], Any], repeats: int) -> tuple[float, float]:
    """Median seconds by the clock and of processor time; one run to warm up."""
    work()
    found = []
    for _ in range(repeats):
        clock, processor = time.perf_counter(), time.process_time()
        work()
        found.append((time.perf_counter() - clock, time.process_time() - processor))
    clock_seconds, processor_seconds = np.median(found, axis=0)
    return float(clock_seconds), float(processor_seconds)


def unfamiliar_predictor(encoders: Path | None) -> Predictor:
    """A predictor that knows nothing of NAS-Bench-201."""
    predictor = pretrain([space for space in SPACES if space != "nasbench201"])
    if encoders is None:
        predictor.graph_ranker = Predictor.from_pretrained("base").graph_ranker
    else:
        description = json.loads((encoders / "config.json").read_text())
        predictor.graph_ranker = graph_bundle.read(encoders, description, load_file(encoders / graph_bundle.FILE))
    return predictor


def timm_names(count: int) -> list[str]:
    """Names spread over all of timm."""
    import timm

    names = timm.list_models()
    return [f"timm:{names[i]}" for i in np.linspace(0, len(names) - 1, count).astype(int)]


def works(graphs: GraphBatch, encoders: Path | None, two: Executor) -> dict[str, tuple[int, int, Callable[[], Any]]]:
    """What is timed: name -> (networks, parameters, work)."""
    stranger, base = unfamiliar_predictor(encoders), Predictor.from_pretrained("base")
    ranker = stranger.graph_ranker
    assert ranker is not None
    texts = Tokenizer().encode(graphs[:8])
    torch.manual_seed(0)
    large, small = TextEncoder(LARGE, Tokenizer().vocabulary).eval(), KGnn().eval()
    batches = [computational_graphs(graphs[start : start + 256]) for start in range(0, min(len(graphs), 1024), 256)]
    names = timm_names(_TIMM)

    def timm() -> None:
        for start in range(0, len(names), 20):
            base.predict(names[start : start + 20])

    def timm_on_two() -> None:
        base.predict(capture_all(names, executor=two, progress=False))

    def k_gnn() -> None:
        with torch.inference_mode():
            for batch in batches:
                small(batch)

    def text() -> None:
        with torch.inference_mode():
            large(TextTensors.of(texts, texts.row_of[np.arange(8)]))

    weights = sum(int(np.size(value)) for member in ranker.members for value in member.values())
    count = len(graphs)
    return {
        "unfamiliar pool": (count, weights, lambda: stranger.predict(graphs)),
        "familiar pool": (count, 0, lambda: base.predict(graphs)),
        "features": (count, 0, lambda: encode(graphs)),
        "graph encoders": (count, weights, lambda: ranker.scores(graphs)),
        "timm end to end": (len(names), 0, timm),
        "timm end to end, two processes": (len(names), 0, timm_on_two),
        "k-GNN": (sum(batch.size for batch in batches), sum(w.numel() for w in small.parameters()), k_gnn),
        "ModernBERT-large": (8, sum(w.numel() for w in large.parameters()), text),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--encoders", type=Path, default=None)
    parser.add_argument("--networks", type=int, default=4096)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    benchmark = load_benchmark("nasbench201", "cifar10")
    graphs = benchmark.graphs(np.random.default_rng(0).permutation(len(benchmark))[: options.networks])
    rows = []
    with ProcessPoolExecutor(2, get_context("spawn"), prepare_worker) as two:
        for name, (count, parameters, work) in tqdm(works(graphs, options.encoders, two).items()):
            clock, processor = timed(work, options.repeats)
            rows.append({
                "work": name, "networks": count, "parameters": parameters, "seconds": round(clock, 3),
                "processor_seconds": round(processor, 3), "networks_per_second": round(count / clock, 1),
                "networks_per_processor_second": round(count / processor, 1),
            })  # fmt: skip
            pd.DataFrame(rows).to_csv(RESULT, index=False, lineterminator="\n")
    print(pd.DataFrame(rows).to_string(index=False))


if __name__ == "__main__":
    main()
