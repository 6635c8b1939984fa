"""The same network through torch and through ONNX: do op multiset, parameters and MACs agree?

    python -m benchmarks.torch_onnx_agreement [--only NAME] [--exporter torchscript|dynamo|both]

Each network is captured directly, then exported by `torch.onnx.export` without fusing its BatchNormalization, and read
back. Both exporters of torch are tried. Weights are drawn at random first, because exporters merge equal tensors.
Writes `results/torch_onnx_agreement.csv`; a run of a part replaces its own rows.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import io
import os
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch
from torch import nn
from tqdm import tqdm

from archcast.graphs.capture import capture
from archcast.graphs.graph import ComputationGraph
from archcast.graphs.onnx_reader import read_onnx

RESULTS = Path(__file__).parent / "results"
Case = tuple[str, Callable[[], nn.Module], torch.Tensor]

TORCHVISION = (
    "resnet18 mobilenet_v2 mobilenet_v3_small efficientnet_b0 densenet121 shufflenet_v2_x0_5 squeezenet1_1"
    " regnet_y_400mf mnasnet0_5 convnext_tiny vit_b_32 swin_t googlenet"
)
TIMM = (
    "deit_tiny_patch16_224 mixer_s32_224 ghostnet_100 repvgg_a0 poolformer_s12 mobilevit_xxs levit_128s"
    " edgenext_xx_small resnetv2_50 seresnext26d_32x4d hrnet_w18_small gmlp_ti16_224 efficientformer_l1 mobileone_s0"
)
PYTORCHCV = "resnet20_cifar10 preresnet20_cifar10 seresnet20_cifar10 densenet40_k12_cifar10 fbnet_cb"


class SequenceClassifier(nn.Module):
    """Embedding, recurrent layers or a transformer encoder, mean over time, classifier."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.embedding = nn.Embedding(1000, 64)
        self.kind = kind
        if kind == "transformer":
            layer = nn.TransformerEncoderLayer(64, 4, 128, batch_first=True)
            self.body: nn.Module = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        else:
            self.body = getattr(nn, kind)(64, 48, num_layers=2, batch_first=True, bidirectional=True)
        self.head = nn.Linear(64 if kind == "transformer" else 96, 5)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        hidden = self.body(self.embedding(tokens))
        hidden = hidden if self.kind == "transformer" else hidden[0]
        result: torch.Tensor = self.head(hidden.mean(1))
        return result


def cases() -> Iterator[Case]:
    import pytorchcv.model_provider
    import timm
    import torchvision

    image = torch.randn(1, 3, 224, 224)
    for name in TORCHVISION.split():
        options: dict[str, Any] = {"init_weights": False, "aux_logits": False} if name == "googlenet" else {}
        yield f"torchvision:{name}", partial(getattr(torchvision.models, name), **options), image
    for name in TIMM.split():
        size = 256 if name in ("mobilevit_xxs", "edgenext_xx_small") else 224
        yield f"timm:{name}", partial(timm.create_model, name), torch.randn(1, 3, size, size)
    for name in PYTORCHCV.split():
        size = 32 if "cifar" in name else 224
        yield (
            f"pytorchcv:{name}",
            partial(pytorchcv.model_provider.get_model, name),
            torch.randn(1, 3, size, size),
        )
    for kind in ("LSTM", "GRU", "transformer"):
        yield f"sequence:{kind}", partial(SequenceClassifier, kind), torch.randint(0, 1000, (1, 20))


def randomise(model: nn.Module) -> None:
    generator = torch.Generator().manual_seed(0)
    for tensor in (*model.parameters(), *model.buffers()):
        if tensor.is_floating_point():
            tensor.data.copy_(torch.rand(tensor.shape, generator=generator) + 0.5)


def export(model: nn.Module, example: torch.Tensor, path: Path, *, dynamo: bool) -> None:
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        if dynamo:
            torch.onnx.export(
                model, (example,), str(path), dynamo=True, optimize=False, external_data=False, verbose=False
            )
        else:
            torch.onnx.export(
                model,
                (example,),
                str(path),
                dynamo=False,
                opset_version=17,
                training=torch.onnx.TrainingMode.PRESERVE,
                do_constant_folding=False,
            )


def compare(direct: ComputationGraph, exported: ComputationGraph) -> dict[str, Any]:
    ours, theirs = Counter(direct.ops), Counter(exported.ops)
    return {
        "params_torch": direct.params,
        "params_onnx": exported.params,
        "macs_torch": direct.macs,
        "macs_onnx": exported.macs,
        "nodes_torch": len(direct),
        "nodes_onnx": len(exported),
        "ops_agree": ours == theirs,
        "params_agree": direct.params == exported.params,
        "macs_agree": direct.macs == exported.macs,
        "same_hash": direct.hash() == exported.hash(),
        "only_torch": " ".join(f"{op}x{count}" for op, count in (ours - theirs).items()),
        "only_onnx": " ".join(f"{op}x{count}" for op, count in (theirs - ours).items()),
    }


def run(case: Case, exporter: str, folder: Path) -> dict[str, Any]:
    name, build, example = case
    row: dict[str, Any] = {"network": name, "exporter": exporter}
    model = build().eval()
    randomise(model)
    inputs: Any = tuple(example.shape)
    direct = capture(model, inputs)
    path = folder / "model.onnx"
    try:
        export(model, example, path, dynamo=exporter == "dynamo")
    except Exception as error:  # the exporter's own failure is a row of the table
        return {**row, "error": f"export: {type(error).__name__}: {str(error).splitlines()[0][:120]}"}
    start = time.perf_counter()
    exported = read_onnx(path)
    row["read_ms"] = round((time.perf_counter() - start) * 1000)
    return {**row, **compare(direct, exported), "error": ""}


def main() -> None:
    torch.set_num_threads(1)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="part of a name")
    parser.add_argument("--exporter", default="both", choices=["torchscript", "dynamo", "both"])
    options = parser.parse_args()
    exporters = ["torchscript", "dynamo"] if options.exporter == "both" else [options.exporter]
    chosen = [case for case in cases() if options.only in case[0]]
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for case in tqdm(chosen, "export and compare"):
            for exporter in exporters:
                rows.append(run(case, exporter, Path(folder)))
                row = rows[-1]
                agree = [row.get(f"{part}_agree") for part in ("ops", "params", "macs")]
                rest = (
                    row["error"] or f"torch has {row['only_torch'] or 'no'} more, ONNX {row['only_onnx'] or 'no'} more"
                )
                tqdm.write(f"{row['network']} {exporter}: agree {agree}; {rest}")
    rows = merge(rows)
    write(rows)
    for exporter in exporters:
        good = [row for row in rows if row["exporter"] == exporter and not row["error"]]
        full = sum(all(str(row[f"{part}_agree"]) == "True" for part in ("ops", "params", "macs")) for row in good)
        print(f"{exporter}: {full} of {len(good)} exported networks agree on op multiset, parameters and MACs")
        same = sum(str(row["same_hash"]) == "True" for row in good)
        print(f"{exporter}: {same} of {len(good)} are the same graph in every attribute and edge (equal hash)")


def merge(fresh: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows of earlier runs, those measured again replaced."""
    path = RESULTS / "torch_onnx_agreement.csv"
    earlier: list[dict[str, Any]] = []
    if path.is_file():
        with path.open(newline="") as file:
            earlier = list(csv.DictReader(file))
    table = {(row["network"], row["exporter"]): row for row in (*earlier, *fresh)}
    return list(table.values())


def write(rows: list[dict[str, Any]]) -> None:
    fields = list(dict.fromkeys(key for row in rows for key in row))
    RESULTS.mkdir(exist_ok=True)
    with (RESULTS / "torch_onnx_agreement.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, fields)
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
