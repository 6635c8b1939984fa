"""The model card of a bundle: what it was trained on, how it did, what it is not for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from archcast.predictor.config import TrainConfig

_CARD = """---
library_name: archcast
license: apache-2.0
tags: [neural-architecture-search, performance-prediction]
---
# {name}

Forecasts the performance of neural networks from their graphs, before training. Made with archcast {version}.

```python
import archcast

predictor = archcast.Predictor.from_pretrained("path/to/{name}")
print(predictor.predict(["timm:resnet50"]).to_frame())
```

## Trained on

{data}

## Results

{results}

## Limits

A rank among networks of the search spaces above, trained with the recipe of their benchmark. Values of networks from
elsewhere are extrapolation: read `familiarity` and the interval with them, or fit a few labels of your own space.
The label noise bounds every figure: two trainings of one NAS-Bench-201 cell agree at Kendall tau .91.
"""


def model_card(name: str, data: Sequence[str], metrics: Mapping[str, Any], config: TrainConfig) -> str:
    """Markdown of the card.

    Args:
        name: name of the bundle.
        data: one line per source of labels, with its licence.
        metrics: as written to metrics.json; its "results" are the rows of `archcast.predictor.evaluation`.
        config: the training configuration, shown as the command that repeats it.
    """
    from archcast import __version__

    return _CARD.format(
        name=name,
        version=__version__,
        data="\n".join([*(f"- {line}" for line in data), f"\nSeed {config.seed}; repeat with `{_command(config)}`."]),
        results=results_table(metrics.get("results", [])) or "Not evaluated: no labelled networks remained.",
    )


def data_line(benchmark: str, task: str, metric: str, labels: int, total: int) -> str:
    """One entry of "Trained on", with licence and citation from the catalogue of sources."""
    from archcast.datasets.sources import catalogue

    source = catalogue().get(benchmark)
    origin = f" Licence: {source.licence}. {source.citation}." if source else ""
    return f"{benchmark}, {task}: {labels:,} of {total:,} networks, {metric}.{origin}"


def pool_line(pool: str, networks: int) -> str:
    """One entry of "Trained on" for a pool that only graph encoders learnt from."""
    from archcast.datasets.sources import catalogue

    space, _, task = pool.partition("/")
    source = catalogue().get(space)
    origin = f" Licence: {source.licence}. {source.citation}." if source else ""
    return f"{space}{f', {task}' if task else ''}: up to {networks:,} networks, for the order alone.{origin}"


def results_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Markdown table of evaluation rows."""
    if not rows:
        return ""
    lines = ["| ranked | method | Kendall tau | Spearman rho | top-10 regret | coverage of 90 % |", "|---" * 6 + "|"]
    for row in rows:
        covered = row.get("coverage")
        share = f"{covered:.1%}" if isinstance(covered, float) and covered == covered else "-"
        lines.append(
            f"| {row['benchmark']} {row['task']}, {row['networks']:,} {row['subset']} | {row['method']} "
            f"| {row['tau']:.3f} | {row['rho']:.3f} | {row['regret']:.2f} | {share} |"
        )
    return "\n".join(lines)


def _command(config: TrainConfig) -> str:
    words = ["archcast train"]
    for key, value in config.to_dict().items():
        if key in ("output", "name") or value in (None, "", (), []) or (config.spaces and key == "benchmark"):
            continue
        if key == "benchmark" and config.table:
            continue
        words.append(f"--{key} {' '.join(value) if isinstance(value, (list, tuple)) else value}")
    return " ".join(words)
