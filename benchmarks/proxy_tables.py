"""The tables of docs/proxies.md, from the CSVs of the proxy benchmarks."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

RESULTS = Path(__file__).parent / "results"
AGGREGATES = ("az_nas_rank", "vkdnw_rank", "union_rank", "vote_rank")
SIZES = ("params", "macs")


def proxy_pools() -> str:
    """One line for each pool and task: sizes, the best proxy (chosen with labels: an upper bound), the aggregates."""
    table = pd.read_csv(RESULTS / "proxy_correlation.csv")
    lines = [
        "| pool | task | networks | #params | MACs | best single proxy | AZ-NAS | VKDNW | union | vote |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for (pool, task), rows in table.groupby(["pool", "task"], sort=False):
        of: dict[str, float] = dict(zip(rows["proxy"], rows["spearman"], strict=True))
        best = max((name for name in of if not name.endswith("_rank")), key=lambda name: of[name])
        sizes, aggregates = ([_short(of.get(name)) for name in names] for names in (SIZES, AGGREGATES))
        cells = [pool, task, f"{rows['networks'].max():,}", *sizes, f"{best} {_short(of[best])}", *aggregates]
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


def proxy_reference() -> str:
    """Own against published values of each proxy."""
    table = pd.read_csv(RESULTS / "proxy_reference.csv")
    lines = ["| published | ours | Spearman | published C10 against IN16-120 |", "|---|---|---|---|"]
    lines += [
        f"| {published} | `{ours}` | {_short(spearman)} | {_short(repeats)} |"
        for published, ours, spearman, repeats in zip(
            table["published"], table["ours"], table["spearman"], table["repeats"], strict=True
        )
    ]
    return "\n".join(lines)


def proxy_cost() -> str:
    """Seconds of one core for one network."""
    table = pd.read_csv(RESULTS / "proxy_cost.csv")
    lines = ["| network | what | proxies | median s | 10 % .. 90 % | peak MiB so far |", "|---|---|---|---|---|---|"]
    for row in table.itertuples():
        cells = [row.network, row.what, row.proxies, f"{row.median_s:.2f}", f"{row.p10_s:.2f} .. {row.p90_s:.2f}"]
        lines.append(f"| {' | '.join(map(str, cells))} | {row.peak_MiB_so_far:.0f} |")
    return "\n".join(lines)


def _short(value: float | None) -> str:
    if value is None or pd.isna(value):
        return ""
    return f"{value:.3f}".replace("0.", ".", 1)
