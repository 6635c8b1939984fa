"""How long networks are as text, and how long it takes to write them.

    python -m benchmarks.text_lengths [--repeats 5]

One row per network in benchmarks/results/text_lengths.csv: nodes, tokens written out (every repeated block at full
length) and folded, detail left out where 2,048 tokens did not hold it, milliseconds of processor time to tokenise the
captured graph (median of the repeats; one core). For search spaces the row is a batch of 2,000 random networks (50
where graphs are captured one by one): means and largest, and milliseconds per network. Llama, Mistral, Qwen and the
like are captured from their default configurations on the meta device, without weights.
"""

from __future__ import annotations

import argparse
import csv
import os
import time
from pathlib import Path
from statistics import median
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
from tqdm import tqdm

import archcast
from archcast.datasets.space import SearchSpace
from archcast.datasets.spaces import SPACES
from archcast.encoders.tokens import MAX_LENGTH, Tokenizer
from archcast.graphs.graph import GraphBatch

RESULT = Path(__file__).parent / "results" / "text_lengths.csv"
NETWORKS = {
    "torchvision": "alexnet vgg16 resnet18 resnet50 resnet152 wide_resnet50_2 resnext101_64x4d densenet201 googlenet"
    " inception_v3 mobilenet_v2 mobilenet_v3_large shufflenet_v2_x1_0 squeezenet1_1 mnasnet1_0 efficientnet_b0"
    " efficientnet_v2_s efficientnet_b7 regnet_y_32gf convnext_tiny convnext_large vit_b_16 vit_h_14 swin_t swin_v2_b"
    " maxvit_t deeplabv3_resnet50",
    "timm": "resnet50d convnextv2_base efficientnetv2_m vit_base_patch16_224 deit3_large_patch16_224"
    " beitv2_base_patch16_224 swin_base_patch4_window7_224 mixer_b16_224 coatnet_1_rw_224"
    " maxvit_tiny_tf_512 hrnet_w48 nfnet_f0"
    " gcvit_tiny levit_256 poolformer_s24",
    "pytorchcv": "resnet101 preresnet50 densenet169 pyramidnet110_a48_cifar10 densenet250_k24_bc_svhn dpn98 senet154"
    " xception nasnet_6a4032 pnasnet5large mobilenetv3_large_w1 resnext29_32x4d_cifar10",
    "transformers": "llama mistral qwen2 gemma gpt2 opt bert t5 modernbert vit whisper mamba",
}
"""Zoo -> its networks; the configurations of `llama` and `mistral` are those of the models of 7 billion weights."""
SPACE_SAMPLE = 2_000
CAPTURED_SAMPLE = 50
CAPTURED = ("autoformer", "vit-bench-autoformer", "pit", "nas-bench-bert", "nas-bench-bert-trained")
"""Spaces whose graphs come slowly."""


def milliseconds(tokenizer: Tokenizer, graphs: GraphBatch, repeats: int) -> float:
    """Median processor time of tokenising `graphs`."""
    taken = []
    for _ in range(repeats):
        start = time.process_time()
        tokenizer.encode(graphs)
        taken.append(1e3 * (time.process_time() - start))
    return median(taken)


def row(name: str, graphs: GraphBatch, repeats: int) -> dict[str, Any]:
    tokenizer = Tokenizer()
    texts = tokenizer.encode(graphs)
    whole = Tokenizer(max_length=10**9).encode(graphs)
    notes = texts.notes
    return {
        "network": name,
        "networks": len(graphs),
        "nodes": round(float(np.diff(graphs.ptr).mean()), 1),
        "written_out": round(float(texts.written_out.mean()), 1),
        "folded": round(float(whole.lengths.mean()), 1),
        "longest_folded": int(whole.lengths.max()),
        "ratio": round(float(texts.written_out.mean() / whole.lengths.mean()), 2),
        "cut_short": len(notes),
        "tokens": round(float(texts.lengths.mean()), 1),
        "ms": round(milliseconds(tokenizer, graphs, repeats) / len(graphs), 3),
        "note": next(iter(notes.values()), ""),
    }


def sample(name: str, space: SearchSpace[Any]) -> GraphBatch:
    rng = np.random.default_rng(0)
    count = CAPTURED_SAMPLE if name in CAPTURED else SPACE_SAMPLE
    return space.stamp([space.sample(rng) for _ in range(count)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    repeats = parser.parse_args().repeats
    names = [f"{zoo}:{name}" for zoo, listed in NETWORKS.items() for name in listed.split()]
    spaces = {name: space for name, space in SPACES.items() if not name.startswith("zoo-")}
    zoo = [row(name, GraphBatch.from_graphs([archcast.capture(name)]), repeats) for name in tqdm(names, desc="zoos")]
    rows = zoo + [row(name, sample(name, space), 1) for name, space in tqdm(spaces.items(), desc="spaces")]
    RESULT.parent.mkdir(exist_ok=True)
    with RESULT.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    for each in rows:
        tokens = f"{each['written_out']:8} -> {each['folded']:8} tokens"
        print(f"{each['network']:42} {tokens} {each['ms']:8} ms {each['note']}")
    within = [sum(each["longest_folded"] <= length for each in zoo) for length in (512, 1_024, MAX_LENGTH)]
    print(f"of {len(zoo)} networks {within[0]} fit 512 tokens, {within[1]} fit 1,024, {within[2]} fit {MAX_LENGTH:,}")


if __name__ == "__main__":
    main()
