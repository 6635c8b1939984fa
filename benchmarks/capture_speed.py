"""Time to capture a network against `torch.export`, on 20 networks in one run.

    python -m benchmarks.capture_speed

Both start from the same module with real weights on the CPU and the same input shape; after a first run, the best
of two counts on either side. `export` is `torch.export.export(..., strict=False)` alone, without reading the program.
Writes benchmarks/results/capture_speed.csv.
"""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import torch
from tqdm import tqdm

from archcast.graphs.capture import capture

RESULTS = Path(__file__).parent / "results" / "capture_speed.csv"
NETWORKS = (
    "resnet50", "vit_tiny_patch16_224", "mobilenetv3_large_100", "efficientnet_b0", "convnext_tiny", "densenet121",
    "swin_tiny_patch4_window7_224", "regnety_016", "inception_v3", "mixer_s32_224", "deit_small_patch16_224",
    "levit_128", "ghostnet_100", "hrnet_w18_small", "dpn68", "dla34", "res2net50_26w_4s", "coat_tiny", "poolformer_s12",
    "mobilevit_s",
)  # fmt: skip
RUNS = 2


def best_seconds(run: Callable[[], object]) -> float:
    times = []
    for _ in range(RUNS):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return min(times)


def measure(name: str) -> dict[str, object]:
    import timm

    module = timm.create_model(name).eval()
    shape = (1, *module.pretrained_cfg["input_size"])
    image = torch.zeros(shape)
    graph = capture(module, shape)
    ours = best_seconds(lambda: capture(module, shape))
    program = torch.export.export(module, (image,), strict=False)
    exported = best_seconds(lambda: torch.export.export(module, (image,), strict=False))
    return {
        "name": name, "capture_seconds": round(ours, 4), "export_seconds": round(exported, 4),
        "ratio": round(exported / ours, 2), "nodes": len(graph), "export_nodes": len(program.graph.nodes),
    }  # fmt: skip


def main() -> None:
    torch.set_num_threads(1)
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    warnings.simplefilter("ignore")
    table = pd.DataFrame([measure(name) for name in tqdm(NETWORKS, "time")])
    RESULTS.parent.mkdir(exist_ok=True)
    table.to_csv(RESULTS, index=False)
    print(table.to_string())
    print(
        f"median over {len(table)} networks: capture {table.capture_seconds.median():.3f} s, "
        f"torch.export {table.export_seconds.median():.3f} s, ratio {table.ratio.median():.1f}"
    )


if __name__ == "__main__":
    main()
