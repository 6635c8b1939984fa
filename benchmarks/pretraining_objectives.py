"""What each pretraining objective teaches the graph encoder: Gaussian processes on its embeddings from few labels.

    python -m benchmarks.pretraining_objectives [--corpus FOLDER] [--steps 300] [--objectives statistics spectral]

Pretrains one graph encoder per objective, and one with all, on the same corpus for the same number of steps (batches of
64), then fits a Gaussian process to the embeddings of 20 and 50 labelled networks of each pool and ranks 600 others.
*random* is the encoder before any training, *features* are the tabular ones. Writes results/pretraining_objectives.csv;
trainings are kept in --output, beside a corpus that is made there if none is given, and go on where they stopped.
"""

from __future__ import annotations

import argparse
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy.stats import spearmanr

from archcast.datasets.benchmark import load_benchmark
from archcast.datasets.corpus import Corpus, make_corpus
from archcast.encoders.colours import encode_shared
from archcast.encoders.features import encode
from archcast.encoders.gcn import GraphEncoder, GraphEncoderConfig
from archcast.encoders.graph_tensors import GraphTensors
from archcast.encoders.pretraining import PretrainConfig, load_encoders, pretrain
from archcast.encoders.pretraining_data import PretrainingData
from archcast.predictor.calibration import rank_gauss
from archcast.predictor.heads.gaussian_process import GaussianProcessHead
from archcast.predictor.heads.networks import Networks
from benchmarks.adaptation import POOLS

RESULT = Path(__file__).parent / "results" / "pretraining_objectives.csv"
OBJECTIVES = {
    "augmentation": {"augmentation": 1.0}, "spectral": {"spectral": 1.0}, "statistics": {"statistics": 1.0},
    "all": {"augmentation": 1.0, "spectral": 0.5, "statistics": 1.0},
}  # fmt: skip
LABELS = (20, 50)
NETWORKS = 650


def encoders(options: argparse.Namespace) -> dict[str, GraphEncoder]:
    """The encoder of each objective, and an untrained one."""
    torch.manual_seed(0)
    found = {"random": GraphEncoder(GraphEncoderConfig()).eval()}
    data = PretrainingData.of_corpus(corpus(options)) if options.objectives else None
    for name in options.objectives:
        config = PretrainConfig(
            text=None, objectives=OBJECTIVES[name], steps=options.steps, batch_size=64, warmup_steps=50
        )
        folder = Path(options.output) / f"{name}-{options.steps}"
        if not (folder / "model.safetensors").is_file():
            assert data is not None
            pretrain(config, data, folder)
        trained = load_encoders(folder)["graph"]
        assert isinstance(trained, GraphEncoder)
        found[name] = trained
    return found


def corpus(options: argparse.Namespace) -> Corpus:
    """The corpus given, or one of 200,000 networks without the zoos."""
    if options.corpus is None:
        make_corpus(Path(options.output) / "corpus", graphs=200_000, zoo=False)
    return Corpus.open(options.corpus or Path(options.output) / "corpus")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", default=None)
    parser.add_argument("--output", default="out/objectives")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--objectives", nargs="*", default=list(OBJECTIVES), choices=list(OBJECTIVES))
    options = parser.parse_args()
    torch.set_num_threads(1)
    known = encoders(options)
    lines: list[dict[str, object]] = []
    for pool, (space, task) in POOLS.items():
        if pool != space:  # the same networks, measured in another way
            continue
        benchmark = load_benchmark(space, task)
        rows = np.random.default_rng(0).permutation(len(benchmark))[:NETWORKS]
        graphs = benchmark.graphs(rows)
        tensors = GraphTensors.of(graphs)
        with torch.inference_mode():
            inputs = {name: encode_shared(encoder, tensors).double().numpy() for name, encoder in known.items()}
        inputs["features"] = encode(graphs).astype(np.float64)
        for name, columns in inputs.items():
            lines += [
                {"pool": space, "task": task, "inputs": name, "steps": 0 if name in ("random", "features") else
                 options.steps, "labels": labels, "seed": seed, "spearman": ranked(columns, benchmark.scores[rows],
                 labels, seed)}
                for labels in LABELS for seed in options.seeds
            ]  # fmt: skip
        pd.DataFrame(lines).round(4).to_csv(RESULT, index=False, lineterminator="\n")
    table = pd.DataFrame(lines).pivot_table(
        index=["labels", "pool"], columns="inputs", values="spearman", aggfunc="median"
    )
    print(table.round(3).to_string(), table.groupby("labels").mean().round(3).to_string(), sep="\n")


def ranked(columns: NDArray[np.float64], scores: NDArray[np.float64], labels: int, seed: int) -> float:
    """Spearman correlation of a process fitted to `labels` networks on the others."""
    order = np.random.default_rng(seed).permutation(len(scores))
    train, test = order[:labels], order[labels:]
    head = GaussianProcessHead.fit(Networks(columns[train]), rank_gauss(scores[train]))
    return float(spearmanr(head.predict(Networks(columns[test])), scores[test]).statistic)


if __name__ == "__main__":
    main()
