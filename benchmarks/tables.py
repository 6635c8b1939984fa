"""Write the tables of the README, of docs/ and of the card of the base bundle from the CSVs in `results/`.

python -m benchmarks.tables            # rewrites the pages between their markers
python -m benchmarks.tables --check    # exit code 1 if a page differs from the CSVs
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pandas as pd

from benchmarks.adaptation import STARTS
from benchmarks.few_shot import REFERENCE, ceiling
from benchmarks.heads_tables import heads_cells, heads_coverage, heads_others, losses_table
from benchmarks.proxy_tables import proxy_cost, proxy_pools, proxy_reference
from benchmarks.search_tables import adapters, search_hardware, search_queries, search_real, search_regret

RESULTS = Path(__file__).parent / "results"
ROOT = Path(__file__).parent.parent

NAMES = {
    "nasbench201": "NAS-Bench-201 (C10)", "nasbench101": "NAS-Bench-101 (23,142 cells)",
    "nas-bench-macro": "NAS-Bench-Macro", "nats-sss": "NATS-Bench size",
}  # fmt: skip


BASELINES = {"gennape": "GENNAPE", "k-gnn": "k-GNN", "onnx-net": "ONNX-Net"}
SHORT_TASKS = {"cifar10": "C10", "cifar100": "C100", "imagenet16-120": "IN16"}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; fail if a page is out of date")
    arguments = parser.parse_args()
    outdated = []
    for page, sections in PAGES.items():
        old = page.read_text()
        new = filled(old, sections)
        if new != old:
            outdated.append(page.name)
            if not arguments.check:
                page.write_text(new)
    if arguments.check:
        print(f"run python -m benchmarks.tables: {', '.join(outdated)}" if outdated else "the tables are up to date")
    return int(arguments.check and bool(outdated))


def filled(text: str, sections: Mapping[str, Callable[[], str]]) -> str:
    """`text` with the tables between its markers made anew."""
    for name, make in sections.items():
        before, _, rest = text.partition(f"<!-- {name} -->\n")
        _, _, after = rest.partition(f"<!-- /{name} -->")
        text = f"{before}<!-- {name} -->\n{make()}\n<!-- /{name} -->{after}"
    return text


def few_shot() -> str:
    """A line per space and number of labels: mean and deviation over seeds, alone and with what other spaces know."""
    table = pd.read_csv(RESULTS / "few_shot.csv")
    lines = [
        "| space | labels | from the labels alone | with other spaces | share of the ceiling | without isomorphs "
        "| with proxies (without) | reference | #params | MACs | s a run |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for (space, task, size), rows in table.groupby(["benchmark", "task", "labels"], sort=False):
        own, whole = rows[rows.method == "archcast"], rows[rows.subset == "whole space"]
        tau = {start: own[(own.start == start) & (own.subset == "whole space")].tau for start in ("alone", "left out")}
        clean = own[(own.start == "left out") & (own.subset == "without isomorphs")].tau
        measured = own[own.subset == "measured networks"]
        top = ceiling(str(space), str(task), str(rows.metric.iloc[0]))
        best = max(tau.values(), key=lambda values: values.mean() if len(values) else -1)
        known = REFERENCE[str(space)].get(int(str(size))) if task == "cifar10" else None
        proxies = "-" if measured.empty else (
            f"{_deviation(measured.tau)} ({_short(measured.without_measurements.mean())})"
        )  # fmt: skip
        lines.append(
            f"| {NAMES[str(space)].replace('C10', SHORT_TASKS[str(task)])} | {size} | {_deviation(tau['alone'])} "
            f"| {_deviation(tau['left out'])} | {'-' if top != top else f'{100 * best.mean() / top:.0f} %'} "
            f"| {_short(clean.mean()) if len(clean) else '-'} | {proxies} | {_short(known) if known else '-'} "
            f"| {_baselines(whole, 'tau', rank_mean=False)} | {own.seconds.median():.0f} |"
        )
    return "\n".join(lines)


def transfer() -> str:
    """A line per unseen pool, with the baselines that measure nothing and the best aggregate of the same proxies."""
    table = pd.read_csv(RESULTS / "transfer.csv")
    lines = [
        "| pool | archcast | with proxies | #params | MACs | mean rank of both | best measured aggregate |",
        "|---|---|---|---|---|---|---|",
    ]
    for (pool, task), rows in table.groupby(["pool", "task"], sort=False):
        found = {str(method): part.spearman for method, part in rows.groupby("method")}
        if "archcast" not in found:
            continue
        own = _spread(found["archcast"])
        others = " | ".join(_short(found[name].median()) for name in ("#params", "MACs", "rank mean"))
        for mark, note in (("", ""), (" in full", ", measured at full size")):
            measured = found.get(f"archcast, measured{mark}")
            if mark and measured is None:
                continue
            sharper = "-" if measured is None else _spread(measured)
            best = next(
                (m for m in found if m.startswith("aggregate: ") and m.endswith(" in full") == bool(mark)), None
            )
            aggregate = "-" if best is None else f"{_short(found[best].iloc[0])} ({best[11:].removesuffix(mark)})"
            line = f"| {own} | {sharper} | {others}" if not mark else f"| | {sharper} | | |"
            lines.append(f"| {pool}, {task}{note} {line} | {aggregate} |")
    return "\n".join(lines)


def card() -> str:
    """What the model card says of spaces the bundle's recipe has never seen."""
    return (
        "## Spaces it has never seen\n\n"
        "The same training without the family that is ranked (`python -m benchmarks.transfer`): "
        f"Spearman, medians of\nthree seeds, range in brackets.\n\n{transfer()}"
    )


def baselines() -> str:
    """Learnt rankers trained on the same four spaces, each at its largest budget, beside archcast without graphs."""
    table = pd.read_csv(RESULTS / "baselines_zero_shot.csv").rename(columns={"method": "of"})
    own = pd.read_csv(RESULTS / "transfer.csv")
    own = own[(own.method == "features") & (own.seed == 0)]
    features = dict(zip(zip(own.pool, own.task, strict=True), own.spearman, strict=True))
    table = table[table.of.isin(BASELINES)].sort_values("steps")
    lines = [
        f"| pool | archcast, features alone | {' | '.join(BASELINES.values())} | #params | MACs |",
        "|---" * (4 + len(BASELINES)) + "|",
    ]
    sizes = pd.read_csv(RESULTS / "baselines_zero_shot.csv")
    for (pool, task), rows in table.groupby(["pool", "task"], sort=False):
        cells = [
            "-" if found.empty else f"{_short(found.spearman.iloc[-1])} ({found.steps.iloc[-1]:,})"
            for found in (rows[rows.of == name] for name in BASELINES)
        ]
        plain = sizes[(sizes.pool == pool) & (sizes.task == task)]
        cells += [_short(plain[plain.method == name].spearman.iloc[0]) for name in ("#params", "MACs")]
        lines.append(f"| {pool}, {task} | **{_short(features[pool, task])}** | {' | '.join(cells)} |")
    return "\n".join(lines)


def adaptation() -> str:
    """A line per space and number of labels, with and without other spaces and proxies; medians over seeds."""
    table = pd.read_csv(RESULTS / "adaptation.csv")
    lines = [
        "| measured networks of | random labels | none | these | and other spaces | and proxies | and both "
        "| chosen labels, and other spaces | and both |",
        "|---" * 9 + "|",
    ]
    for (pool, task, size), rows in table.groupby(["pool", "task", "labels"], sort=False):
        found = rows.groupby("start").spearman.median()
        cells = [_short(found[start]) for start in ("zero-shot", *STARTS)]
        lines.append(f"| {pool}, {task} | {size} | {' | '.join(cells)} |")
    return "\n".join(lines)


def coverage() -> str:
    trained = pd.read_csv(RESULTS / "intervals.csv")
    unseen = pd.read_csv(RESULTS / "coverage.csv")
    lines = [
        "| space | trained on it | without isomorphs | familiarity | never seen | familiarity |",
        "|---|---|---|---|---|---|",
    ]
    for space, name in NAMES.items():
        own = trained[trained.space == space].set_index("subset")
        other = unseen[(unseen.benchmark == space) & unseen.unseen]
        held, new = own.coverage["held out"], own.coverage["without isomorphs"]
        lines.append(
            f"| {name} | **{100 * held:.1f} %** | {100 * new:.1f} % | {own.familiarity['held out']:.2f} "
            f"| {_percent(other.coverage)} | {other.familiarity.median():.2f} |"
        )
    return "\n".join(lines)


def capture() -> str:
    names = pd.read_csv(RESULTS / "capture_coverage.csv")
    exact = pd.read_csv(RESULTS / "capture_exactness.csv")
    exact = exact[exact.status == "ok"]
    agreement = pd.read_csv(RESULTS / "torch_onnx_agreement.csv")
    models = pd.read_csv(RESULTS / "onnx_backend_models.csv")
    faithful = pd.read_csv(RESULTS / "builders_faithful.csv")
    lines = ["| what | result | script |", "|---|---|---|"]
    groups = (
        ("torchvision", "classification"), ("timm", "classification"), ("pytorchcv", "classification"),
        ("transformers", "image-classification"), ("transformers", "text"),
    )  # fmt: skip
    for zoo, group in groups:
        rows = names[(names.zoo == zoo) & (names.group == group)]
        captured = (rows.status == "ok").sum()
        lines.append(f"| {zoo} {group} names captured | {captured} of {len(rows)} | `capture_coverage` |")
    same = agreement.ops_agree & agreement.params_agree & agreement.macs_agree
    lines += [
        f"| parameters equal `sum(p.numel())` | {(exact.params == exact.true_params).sum()} of {len(exact)} networks "
        "| `capture_exactness` |",
        f"| MACs within 1 % of torch's flop counter | {(exact.macs_error.abs() < 0.01).sum()} of {len(exact)} "
        "| `capture_exactness` |",
        f"| torch and ONNX agree on ops, parameters, MACs | {same.sum()} of {len(agreement)} exports of "
        f"{agreement.network.nunique()} networks | `torch_onnx_agreement` |",
        f"| ONNX backend test models read | {models.graphs.sum()} of {models.models.sum()} | `onnx_backend` |",
        f"| built and stamped networks equal the official ones | {faithful.agree.sum()} of {faithful.cases.sum()} "
        "checks | `builders_faithful` |",
    ]
    return "\n".join(lines)


def speed() -> str:
    ratio = pd.read_csv(RESULTS / "capture_speed.csv")
    stamping = pd.read_csv(RESULTS / "stamping_speed.csv").set_index("space")
    latency = pd.read_csv(RESULTS / "import_and_latency.csv")
    lines = ["| what | measured | script |", "|---|---|---|"]
    lines.append(
        f"| torch module to graph, median of {len(ratio)} networks | {1000 * ratio.capture_seconds.median():.0f} ms, "
        f"{ratio.ratio.median():.0f} times faster than `torch.export` | `capture_speed` |"
    )
    rate = stamping.cold_with_features_rate["nasbench201"]
    lines.append(f"| NAS-Bench-201 specs to graphs and features, one core | {rate:,.0f} a second | `stamping_speed` |")
    whole = pd.read_csv(RESULTS / "whole_space.csv")
    lines += [
        f"| all 15,625 NAS-Bench-201 cells scored, {row.run} | {row.wall_seconds:.1f} s | `whole_space` |"
        for row in whole.itertuples()
    ]
    lines += [f"| {row.figure} | {row.measured} | `import_and_latency` |" for row in latency.itertuples()]
    return "\n".join(lines)


def _spread(values: pd.Series[float]) -> str:
    if values.empty:
        return "-"
    if len(values) == 1:
        return f"**{_short(values.iloc[0])}**"
    return f"**{_short(values.median())}** [{_short(values.min())}, {_short(values.max())}]"


def _deviation(values: pd.Series[float]) -> str:
    if values.empty:
        return "-"
    return f"**{_short(values.mean())}**" + (f" +- {_short(values.std())}" if len(values) > 1 else "")


def _percent(values: pd.Series[float]) -> str:
    return f"{100 * values.median():.1f} % [{100 * values.min():.1f}, {100 * values.max():.1f}]"


def _baselines(rows: pd.DataFrame, metric: str, rank_mean: bool) -> str:
    methods = [name for name in rows.method.unique() if name != "archcast"]
    wanted = methods if rank_mean else methods[:2]
    return " | ".join(_short(rows[rows.method == name][metric].median()) for name in wanted)


def _short(value: float) -> str:
    return f"{value:.3f}".replace("0.", ".", 1)


PAGES: dict[Path, dict[str, Callable[[], str]]] = {
    ROOT / "README.md": {
        "few-shot": few_shot,
        "transfer": transfer,
        "baselines": baselines,
        "adaptation": adaptation,
        "coverage": coverage,
        "capture": capture,
        "speed": speed,
    },
    ROOT / "docs" / "heads.md": {
        "heads-cells": heads_cells,
        "heads-others": heads_others,
        "heads-coverage": heads_coverage,
        "losses": losses_table,
    },
    ROOT / "docs" / "proxies.md": {
        "proxy-pools": proxy_pools,
        "proxy-reference": proxy_reference,
        "proxy-cost": proxy_cost,
    },
    ROOT / "pretrained" / "base" / "README.md": {"unseen": card},
    ROOT / "docs" / "search.md": {
        "search-queries": search_queries,
        "search-regret": search_regret,
        "search-hardware": search_hardware,
        "search-real": search_real,
        "adapters": adapters,
    },
}

if __name__ == "__main__":
    sys.exit(main())
