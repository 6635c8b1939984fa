"""The tables of docs/search.md from the CSVs in `results/`; `benchmarks.tables` writes them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from benchmarks.search_hardware import METHODS
from benchmarks.search_queries import STRATEGIES

RESULTS = Path(__file__).parent / "results"


def search_queries() -> str:
    """Mean queries to the optimum, a line per strategy, a column per table; > where some runs met their cap."""
    table = _read("search_queries", strategy=STRATEGIES)
    names = list(dict.fromkeys(table.table))
    lines = [f"| strategy | {' | '.join(map(_short, names))} |", "|---" * (len(names) + 1) + "|"]
    for strategy, rows in table.groupby("strategy", observed=True):
        lines.append(f"| {strategy} | {' | '.join(_spent(rows[rows.table == name]) for name in names)} |")
    return "\n".join(lines)


def search_regret() -> str:
    """Mean regret on NAS-Bench-101 after 50, 100, 150 and 200 queries."""
    table = _read("search_queries", strategy=STRATEGIES)
    table = table[table.table.str.startswith("nasbench101")]
    budgets = [column for column in table.columns if column.startswith("best_")]
    lines = [f"| strategy | {' | '.join(name.removeprefix('best_') for name in budgets)} |", "|---" * 5 + "|"]
    for strategy, rows in table.groupby("strategy", observed=True):
        cells = [f"{(rows.optimum - rows[name]).mean():.3f}" for name in budgets]
        lines.append(f"| {strategy} | {' | '.join(cells)} |")
    return "\n".join(lines)


def search_hardware() -> str:
    """Share of the whole table's hypervolume after 25, 50 and 100 evaluations, mean of the runs."""
    table = _read("search_hardware", method=METHODS)
    budgets = [column for column in table.columns if column.startswith("share_")]
    devices = list(dict.fromkeys(table.device))
    heads = [f"{device}, {name.removeprefix('share_')}" for device in devices for name in budgets]
    lines = [f"| strategy | {' | '.join(heads)} |", "|---" * (len(heads) + 1) + "|"]
    for method, rows in table.groupby("method", observed=True):
        means = [rows[rows.device == device][name].mean() for device in devices for name in budgets]
        lines.append(f"| {method} | {' | '.join(f'{mean:.3f}'.replace('0.', '.', 1) for mean in means)} |")
    return "\n".join(lines)


def search_real() -> str:
    """Best accuracy after 20, 40 and 60 trainings, that of the best retrained, and the mean of all trainings."""
    table = pd.read_csv(RESULTS / "search_real.csv")
    lines = [
        "| strategy | 20 | 40 | 60 | the best, trained five times more | mean of all trainings |",
        "|---" * 6 + "|",
    ]
    for method, rows in table.groupby("method", sort=False):
        names = ("best_20", "best_40", "best_60", "again", "mean_of_all")
        lines.append(f"| {method} | {' | '.join(f'{rows[name].mean():.2f}' for name in names)} |")
    return "\n".join(lines)


def adapters() -> str:
    """Optuna by sampler: mean queries to the optimum and regret after 50 trials, and the share that was new."""
    table = pd.read_csv(RESULTS / "adapters.csv")
    names = list(dict.fromkeys(table.table))
    heads = [f"{_short(name).removesuffix(' val 200')} {what}" for name in names for what in ("queries", "regret")]
    lines = [f"| sampler | {' | '.join(heads)} | trials of a new network |", "|---" * (len(heads) + 2) + "|"]
    for sampler, rows in table.groupby("sampler", sort=False):
        cells = []
        for name in names:
            found = rows[rows.table == name]
            cells += [_spent(found), f"{found.regret_50.mean():.2f}"]
        lines.append(f"| {sampler} | {' | '.join(cells)} | {100 * rows.different.sum() / rows.trials.sum():.0f} % |")
    return "\n".join(lines)


def _read(name: str, **order: Iterable[str]) -> pd.DataFrame:
    """A CSV, whose columns named in `order` are in that order and not in that of the runs."""
    table = pd.read_csv(RESULTS / f"{name}.csv")
    for column, values in order.items():
        table[column] = pd.Categorical(table[column], list(values))
    return table


def _spent(runs: pd.DataFrame) -> str:
    """Mean queries to the optimum; runs that met their cap count as the cap."""
    if runs.empty:
        return "-"
    missed = "> " if runs.queries.isna().any() else ""
    return f"{missed}{runs.queries.fillna(runs.cap).mean():.0f}"


def _short(table: str) -> str:
    space, task, *measurement = table.split()
    names = {"nasbench201": "NB201", "nasbench101": "NB101", "nas-bench-macro": "Macro"}
    tasks = {"cifar10": "C10", "cifar100": "C100", "imagenet16-120": "IN16"}
    return f"{names[space]} {tasks[task]} {' '.join(measurement)}"
