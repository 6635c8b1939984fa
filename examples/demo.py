"""The whole of archcast in two minutes: `make demo`.

1. Forecasts for eight networks of different kinds, one of them an ONNX file that is written first.
2. A predictor trained on 156 labels of NAS-Bench-201, which then ranks the other 15,469 cells.
3. out/demo.png: predicted against true accuracy with intervals, and the learning curve.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import archcast
from archcast.cli_output import note, print_table
from archcast.cli_predict import forecast_columns, forecast_rows
from archcast.cli_train import print_results
from archcast.datasets.benchmark import load_benchmark
from archcast.predictor.config import TrainConfig
from archcast.predictor.evaluation import METHOD, SUBSETS, few_shot
from archcast.predictor.training import Training, run_training

CELL = "nasbench201:|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|skip_connect~0|nor_conv_3x3~1|nor_conv_1x1~2|"
ZOO = (
    "timm:resnet50",
    "torchvision:mobilenet_v3_large",
    "timm:efficientnet_b0",
    "timm:convnext_tiny",
    "timm:vit_small_patch16_224",
    "timm:mixer_s16_224",
)
LABELS = 156
CURVE = (78, 469)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--out", type=Path, default=Path("out"), help="folder for the ONNX file, the bundle and the plot"
    )
    parser.add_argument("--predictor", default="base", help="the predictor of the first part")
    options = parser.parse_args()
    started = time.perf_counter()
    options.out.mkdir(parents=True, exist_ok=True)
    forecast_eight(options.out, options.predictor)
    training, curve = learn_a_space(options.out)
    picture = draw(training, curve, options.out / "demo.png")
    note(f"\n{picture} written; the demo took {time.perf_counter() - started:.0f} s")


def forecast_eight(folder: Path, predictor: str) -> None:
    """The first part: any network in, a forecast out."""
    note("1/3  forecasts for eight networks nobody has to train")
    networks = [*ZOO, CELL, str(write_onnx(folder / "squeezenet.onnx"))]
    rows = archcast.predict(networks, task="cifar10", predictor=predictor).to_records()
    print_table("CIFAR-10, trained as NAS benchmarks train", forecast_columns(rows), forecast_rows(rows))
    note("familiarity near 0: unlike every network it was trained on, so the value is a guess")


def write_onnx(path: Path) -> Path:
    """SqueezeNet as an ONNX file, with random weights: archcast reads the structure only."""
    import torch
    from torchvision.models import squeezenet1_1

    model = squeezenet1_1(weights=None).eval()
    for parameter in model.parameters():  # equal arrays, such as fresh biases, would be stored once
        torch.nn.init.normal_(parameter)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # the older exporter is ten times faster
        torch.onnx.export(model, (torch.zeros(1, 3, 224, 224),), str(path), dynamo=False)
    return path


def learn_a_space(folder: Path) -> tuple[Training, dict[int, float]]:
    """The second part: labels in, a predictor of that search space out; and Kendall tau by number of labels."""
    note(f"\n2/3  python train.py --benchmark nasbench201 --labels {LABELS} --output {folder / 'nasbench201'}")
    config = TrainConfig(benchmark="nasbench201", task="cifar10", labels=LABELS, output=str(folder / "nasbench201"))
    training = run_training(config, report=lambda text: note(f"     {text}"))
    print_results(f"NAS-Bench-201, {LABELS} labels", training.metrics["results"])
    note("3/3  the learning curve")
    bench = load_benchmark("nasbench201", "cifar10")
    results = few_shot(bench, CURVE, seeds=[0], subsets=[SUBSETS[1]], resamples=0)
    curve = {result.labels: result.tau for result in results if result.method == METHOD}
    curve[LABELS] = _taus(training.metrics["results"])[METHOD]
    return training, dict(sorted(curve.items()))


def _taus(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Method -> tau on all cells without a label."""
    return {row["method"]: row["tau"] for row in rows if row["subset"] == SUBSETS[1]}


def draw(training: Training, curve: Mapping[int, float], path: Path) -> Path:
    """The third part: one picture for the README."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    plt.rcParams.update({
        "font.size": 11, "axes.spines.top": False, "axes.spines.right": False, "axes.titlelocation": "left",
        "axes.titlesize": 12, "axes.edgecolor": "#888888", "xtick.color": "#555555", "ytick.color": "#555555",
    })  # fmt: skip
    figure, (left, right) = plt.subplots(1, 2, figsize=(12, 5.2), width_ratios=(1.15, 1))
    _draw_forecasts(left, training)
    _draw_curve(right, training, curve)
    figure.tight_layout(w_pad=3)
    figure.savefig(path, dpi=150)
    plt.close(figure)
    return path


def _draw_forecasts(axes: Any, training: Training) -> None:
    import numpy as np

    truth, forecast = training.truth, training.forecast
    assert truth is not None  # a benchmark always leaves networks to test on
    left, right, top = 65.0, 93.0, 96.0
    shown = np.flatnonzero((truth > left) & (forecast.values > left))
    rng = np.random.default_rng(0)
    bins = np.digitize(forecast.values[shown], np.arange(left, right, 0.6))
    picked = np.asarray([rng.choice(shown[bins == number]) for number in np.unique(bins)])
    axes.plot([left, right], [left, right], color="#999999", linewidth=1, zorder=1)
    axes.scatter(forecast.values[shown], truth[shown], s=5, alpha=0.18, color="#2a6f97", linewidths=0, zorder=2)
    axes.vlines(
        forecast.values[picked], np.maximum(forecast.low[picked], left), np.minimum(forecast.high[picked], top),
        color="#e07a3f", linewidth=1.8, alpha=0.9, zorder=3, label="90 % interval of one cell in each bin",
    )  # fmt: skip
    axes.scatter(forecast.values[picked], truth[picked], s=22, color="#a23b00", edgecolors="white", zorder=4)
    covered = np.mean((truth >= forecast.low) & (truth <= forecast.high))
    axes.set(xlim=(left, right), ylim=(left, top))
    axes.set(xlabel="forecast accuracy (%)", ylabel="accuracy after 200 epochs of training (%)")
    axes.set_title(f"{len(truth):,} cells without a label, {covered:.0%} inside their interval")
    axes.legend(loc="upper left", frameon=False)
    axes.text(
        0.98, 0.03, f"{len(truth) - len(shown):,} cells below {left:.0f} % not shown", transform=axes.transAxes,
        ha="right", color="#777777", fontsize=9, zorder=5, bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.5},
    )  # fmt: skip


def _draw_curve(axes: Any, training: Training, curve: Mapping[int, float]) -> None:
    sizes, taus = list(curve), list(curve.values())
    baselines = {name: tau for name, tau in _taus(training.metrics["results"]).items() if name != METHOD}
    axes.plot(sizes, taus, marker="o", markersize=7, linewidth=2.2, color="#2a6f97")
    for size, tau in curve.items():
        axes.annotate(f"{tau:.3f}", (size, tau), (0, -17), textcoords="offset points", ha="center", color="#2a6f97")
    axes.annotate("archcast", (sizes[0], taus[0]), (-4, 16), textcoords="offset points", color="#2a6f97", weight="bold")
    ceiling = load_benchmark("nasbench201", "cifar10").noise_ceiling()
    lines = {**_merged(baselines), **({"two trainings of the same cell agree": ceiling} if ceiling else {})}
    for name, tau in lines.items():
        axes.axhline(tau, color="#888888", linestyle=(0, (4, 3)), linewidth=1.1)
        axes.text(sizes[-1] * 1.12, tau + 0.008, f"{name}  {tau:.3f}", ha="right", color="#555555", fontsize=10)
    axes.set_xscale("log")
    axes.set_xticks(sizes, [str(size) for size in sizes])
    axes.minorticks_off()
    axes.set(xlim=(sizes[0] / 1.15, sizes[-1] * 1.15), xlabel="labels it was trained on", ylabel="Kendall tau")
    axes.set(ylim=(min(*lines.values(), *taus) - 0.06, 1.0))
    axes.set_title("Rank agreement on all other cells")


def _merged(lines: Mapping[str, float]) -> dict[str, float]:
    """Lines at the same height share one label."""
    merged: dict[float, list[str]] = {}
    for name, tau in lines.items():
        merged.setdefault(round(tau, 3), []).append(name)
    return {", ".join(names): tau for tau, names in merged.items()}


if __name__ == "__main__":
    main()
