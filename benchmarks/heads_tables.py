"""The tables of docs/heads.md, from results/heads.csv and results/losses.csv."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd

RESULTS: Final = Path(__file__).parent / "results"


def heads_cells() -> str:
    """Cells and chains."""
    return by_method(_heads(("nasbench201", "nasbench101", "nas-bench-macro")))


def heads_others() -> str:
    """Transformers, mobile networks and zoos."""
    return by_method(_heads(("mini-transformers", "accel-nasbench", "zoo-pytorchcv", "zoo-torchvision")))


def heads_coverage() -> str:
    return coverage(pd.read_csv(RESULTS / "heads.csv").query("method == 'graph statistics'"))


def losses_table() -> str:
    return by_loss(pd.read_csv(RESULTS / "losses.csv"))


def _heads(pools: tuple[str, ...]) -> pd.DataFrame:
    table = pd.read_csv(RESULTS / "heads.csv")
    return table[table.pool.isin(pools)]


def by_method(table: pd.DataFrame) -> str:
    """Methods down, pools and labels across: median and range of Kendall tau over seeds, the best one bold."""
    settings = list(table[["pool", "labels"]].drop_duplicates().itertuples(index=False, name=None))
    lines = ["| method | " + " | ".join(f"{pool}, {labels}" for pool, labels in settings) + " |"]
    lines.append("|---" * (len(settings) + 1) + "|")
    medians = table.groupby(["pool", "labels", "method"]).kendall.median()
    for method in table.method.unique():
        cells = []
        for pool, labels in settings:
            taus = table[(table.pool == pool) & (table.labels == labels) & (table.method == method)].kendall
            best = np.isclose(taus.median(), medians[pool, labels].max())
            cells.append(_cell(taus, bool(best)))
        lines.append(f"| {method} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def coverage(table: pd.DataFrame) -> str:
    """Share of labels inside the 90 % intervals, and whether wide ones are where errors are, mean over seeds."""
    lines = ["| pool | labels | within 1.645 `spread` | Spearman of `spread` and error |", "|---|---|---|---|"]
    for (pool, labels), rows in table.dropna(subset=["coverage"]).groupby(["pool", "labels"], sort=False):
        ranks = _short(float(rows.error_rank.mean()), 2)
        lines.append(f"| {pool} | {labels} | {100 * rows.coverage.mean():.1f} % | {ranks} |")
    return "\n".join(lines)


def by_loss(table: pd.DataFrame) -> str:
    """Losses down, heads and pools across: mean Kendall tau over seeds, the best one bold."""
    settings = list(table[["head", "pool"]].drop_duplicates().itertuples(index=False, name=None))
    lines = ["| loss | " + " | ".join(f"{head}, {pool}" for head, pool in settings) + " |"]
    lines.append("|---" * (len(settings) + 1) + "|")
    means = table.groupby(["head", "pool", "loss"]).kendall.mean()
    for loss in table.loss.unique():
        cells = []
        for head, pool in settings:
            value = float(means.get((head, pool, loss), np.nan))
            shown = "-" if np.isnan(value) else _short(value)
            cells.append(f"**{shown}**" if np.isclose(value, means[head, pool].max()) else shown)
        lines.append(f"| {loss} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _cell(taus: pd.Series[float], best: bool) -> str:
    if taus.empty:
        return "-"
    shown = f"**{_short(taus.median())}**" if best else _short(taus.median())
    return shown if len(taus) == 1 else f"{shown} [{_short(taus.min())}, {_short(taus.max())}]"


def _short(value: float, digits: int = 3) -> str:
    return f"{value:.{digits}f}".replace("0.", ".", 1)
