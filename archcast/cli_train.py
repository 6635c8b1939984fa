"""`archcast train`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from archcast.cli_output import figure, figure_with_interval, note, print_json, print_table

_FIELDS = (
    "benchmark", "task", "metric", "epochs", "labels", "table", "spaces", "pools", "exclude", "seed", "output", "name",
)  # fmt: skip


def add_train(parser: Any) -> None:
    parser.description = """Fit a predictor, save it as a bundle, and test it on the networks it got no label of.

examples:
  archcast train --output my_predictor                                  156 labels of NAS-Bench-201
  archcast train --benchmark nas-bench-macro --labels 66 --output macro
  archcast train --table measured.csv --output mine                     columns arch and score
  archcast train --config configs/base.yaml --exclude nasbench201 --output base_without_201

Options given here replace those of --config. `python train.py` is the same command."""
    text: dict[str, Any] = {"type": str, "default": None}
    number: dict[str, Any] = {"type": int, "default": None}
    names: dict[str, Any] = {"type": str, "nargs": "+", "default": None, "metavar": "SPACE"}
    parser.add_argument("--config", **text, metavar="FILE", help="YAML file with any of the options below")
    parser.add_argument("--benchmark", **text, help="benchmark to take labels from (nasbench201 when left out)")
    parser.add_argument("--task", **text, help="data set, such as cifar10; the benchmark's first when left out")
    parser.add_argument("--metric", **text, help="val or test accuracy; each benchmark has a fixed default")
    parser.add_argument("--epochs", **number, help="train length behind the labels; the longest when left out")
    parser.add_argument("--labels", **number, help="number of random labels (156; all rows of a table)")
    parser.add_argument("--table", **text, metavar="FILE", help="CSV, Parquet or JSONL with columns arch and score")
    parser.add_argument("--spaces", **names, help="pretrain on all of these benchmarks together")
    parser.add_argument("--pools", **names, help="labelled pools (space or space/task) to teach graph encoders with")
    parser.add_argument("--exclude", **names, help="spaces to leave out of --spaces and --pools")
    parser.add_argument("--seed", **number, help="draws the labels and seeds the heads (0)")
    parser.add_argument("--output", **text, metavar="DIR", help="folder for the bundle; nothing is saved without")
    parser.add_argument("--name", **text, help="name on the model card")


def run_train(options: Any) -> int:
    from archcast.predictor.config import TrainConfig
    from archcast.predictor.training import run_training

    given = {name: getattr(options, name) for name in _FIELDS if getattr(options, name) is not None}
    config = TrainConfig.from_file(options.config, **given) if options.config else TrainConfig.from_dict(given)
    training = run_training(config, progress=True, report=note)
    if options.json:
        print_json({**training.metrics, "output": str(training.output) if training.output else None})
        return 0
    print_results("Networks it got no label of", training.metrics["results"])
    note(f"done in {training.metrics['seconds']:.1f} s")
    if training.output is None:
        note("nothing was saved; add --output DIR to keep the predictor")
    return 0


def print_results(title: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """A table of evaluation rows, with intervals where the rows have them."""
    if not rows:
        return
    columns = ["benchmark", "ranked", "method", "labels", "Kendall tau", "Spearman rho", "top-10 regret", "coverage"]
    print_table(
        title,
        columns,
        [
            [
                f"{row['benchmark']} {row['task']}".strip(),
                f"{row['networks']:,} {row['subset']}",
                str(row["method"]),
                f"{row['labels']:,}",
                figure_with_interval(row, "tau"),
                figure_with_interval(row, "rho"),
                figure_with_interval(row, "regret", 2),
                figure(row.get("coverage")),
            ]
            for row in rows
        ],
        left=3,
    )
