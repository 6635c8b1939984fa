"""`write_report`: one HTML page about a search, with everything inside it."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from archcast.datasets.atomic import atomic_path
from archcast.errors import ArchcastError, MissingExtraError
from archcast.search.costs import Encoded
from archcast.search.history import Trial
from archcast.search.pareto import is_efficient
from archcast.search.result import SearchResult
from archcast.search.spaces import BenchmarkSpace

FloatArray = NDArray[np.float64]

_SHOWN = 10
_EARLY = 4
_BLUE, _GREY, _RED = "#2563a8", "#8793a6", "#c8442b"
_STYLE = """
body { font: 15px/1.5 Helvetica, Arial, sans-serif; color: #1f2733; max-width: 960px; margin: 2em auto; padding: 0 1em }
h1 { font-size: 1.5em } h2 { font-size: 1.15em; margin-top: 2em } figure { margin: 1em 0 } figcaption { color: #5c6675 }
table { border-collapse: collapse } td, th { padding: .25em .8em; text-align: right; border-bottom: 1px solid #dde2e8 }
td.spec, th.spec { text-align: left; font-family: monospace; font-size: .85em; overflow-wrap: anywhere }
svg { max-width: 100%; height: auto } .network { overflow: auto; border: 1px solid #dde2e8; max-height: 70vh }
"""


def write_report(result: SearchResult, path: str | Path, *, against: Mapping[str, SearchResult] | None = None) -> Path:
    """Write the page and return its path.

    Args:
        against: name -> another search of the same space, to compare the curve with, such as random search. On a
            benchmark's table, what random search is expected to find is known without.

    Raises:
        NotFittedError: no evaluation came to an end.
        MissingExtraError: matplotlib is not installed.
        StorageError: the file cannot be written.
    """
    path = Path(path)
    page = report(result, against or {})
    with atomic_path(path.absolute()) as partial:
        partial.write_text(page, encoding="utf-8")
    return path


def report(result: SearchResult, against: Mapping[str, SearchResult]) -> str:
    """The page as text."""
    best = result.best
    costs = _costs(result)
    sections = [
        _summary(result, best),
        _section("Best so far", _curve(result, against), "Best first objective after each evaluation."),
        _section("Trade-offs", _trade_off(result, costs), "Measured networks; the front is what none of them beats."),
    ]
    if any(np.isfinite(trial.forecast) for trial in result.history.done):
        note = "What the strategy forecast when it proposed a network, against what came out."
        sections.append(_section("Forecast and outcome", _forecasts(result), note))
    sections += [_table(result, costs), _failures(result), _drawing(result, best)]
    title = f"Search of {escape(result.space.name)}"
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title><style>{_STYLE}</style>'
        f"</head><body><h1>{title}</h1>\n{chr(10).join(sections)}\n</body></html>\n"
    )


def _summary(result: SearchResult, best: Trial) -> str:
    history = result.history
    seconds = np.nansum([trial.seconds for trial in history])
    scores = ", ".join(
        f"{escape(name)} {score:.6g}" for name, score in zip(result.objectives.names, best.scores, strict=True)
    )
    return (
        f"<p>{len(history)} networks proposed, {len(history.done)} measured, {len(history.failed)} failed, "
        f"{seconds:,.1f} s of evaluation. The best, evaluation {best.number + 1}: <b>{scores}</b>.</p>"
    )


def _section(title: str, figure: str, note: str) -> str:
    return f"<h2>{title}</h2><figure>{figure}<figcaption>{note}</figcaption></figure>"


def _curve(result: SearchResult, against: Mapping[str, SearchResult]) -> str:
    figure, axes = _axes("evaluations", result.objectives.names[0])
    curves = {name: other.curve for name, other in against.items()}
    if not against and (random := expected_random(result)) is not None:
        curves["random search, expected"] = random
    curves["this search"] = result.curve
    for name, curve in curves.items():
        colour = _BLUE if name == "this search" else _GREY
        axes.step(np.arange(1, len(curve) + 1), curve, where="post", color=colour, label=name)
    # The first networks may be far off; what matters happens later.
    later = np.concatenate([curve[min(_EARLY, len(curve) - 1) :] for curve in curves.values()])
    axes.set_ylim(*_around(later[np.isfinite(later)]))
    axes.legend(frameon=False, loc="best")
    return _svg(figure, "curve")


def expected_random(result: SearchResult) -> FloatArray | None:
    """`[n]` mean best first objective of 1, 2 ... n random networks of a table; None where there is no table.

    With the N scores sorted, the chance that the best of n is the k-th lowest is C(k - 1, n - 1) / C(N, n).
    """
    from scipy.special import gammaln

    space = result.space
    if not isinstance(space, BenchmarkSpace) or space.benchmark is None:
        return None
    sign = result.objectives.signs[0]
    scores = np.sort(sign * space.benchmark.scores)
    total, ranks = len(scores), np.arange(1, len(scores) + 1)
    means = []
    for n in range(1, min(len(result.history), total) + 1):
        kept = ranks >= n
        k = ranks[kept]
        log = gammaln(k) - gammaln(k - n + 1) - gammaln(n) - (
            gammaln(total + 1) - gammaln(n + 1) - gammaln(total - n + 1)
        )  # fmt: skip
        means.append(sign * float(np.exp(log) @ scores[kept]))
    return np.asarray(means)


def _trade_off(result: SearchResult, costs: Encoded | None) -> str:
    objectives, done = result.objectives, result.history.done
    table = np.asarray([trial.scores for trial in done])
    if len(objectives) > 1:
        x, label, kept = table[:, 1], objectives.names[1], is_efficient(result.history.values[:, :2])
    elif costs is not None:
        x, label = costs.counted["macs"], "MACs"
        kept = is_efficient(np.stack([result.history.values[:, 0], -x], axis=1))
    else:
        return "<p>The sizes of these networks are not known.</p>"
    figure, axes = _axes(label, objectives.names[0])
    axes.scatter(x, table[:, 0], s=14, color=_GREY, alpha=0.7, label="measured")
    order = np.flatnonzero(kept)[np.argsort(x[kept])]
    axes.plot(x[order], table[order, 0], color=_RED, marker="o", markersize=4, label="front")
    axes.set_ylim(*_around(table[:, 0][table[:, 0] >= np.quantile(table[:, 0], 0.1)]))
    axes.legend(frameon=False, loc="best")
    return _svg(figure, "trade-off")


def _forecasts(result: SearchResult) -> str:
    pairs = np.asarray([(trial.forecast, trial.scores[0]) for trial in result.history.done])
    pairs = pairs[np.isfinite(pairs[:, 0])]
    name = result.objectives.names[0]
    figure, axes = _axes(f"forecast {name}", f"measured {name}")
    axes.scatter(pairs[:, 0], pairs[:, 1], s=16, c=np.arange(len(pairs)), cmap="viridis")
    low, high = _around(pairs[pairs[:, 1] >= np.quantile(pairs[:, 1], 0.05)])
    axes.plot([low, high], [low, high], color=_GREY, linewidth=1)
    axes.set_xlim(low, high)
    axes.set_ylim(low, high)
    return _svg(figure, "forecasts")


def _table(result: SearchResult, costs: Encoded | None) -> str:
    names = [escape(name) for name in result.objectives.names]
    place = {trial.number: row for row, trial in enumerate(result.history.done)}
    sizes = ["params", "macs"] if costs is not None else []
    head = "".join(f"<th>{name}</th>" for name in ("evaluation", *names, "forecast", *sizes))
    several = len(names) > 1
    rows = []
    for trial in (result.front if several else result.ranked)[:_SHOWN]:
        numbers = [f"{score:.6g}" for score in (*trial.scores, trial.forecast)]
        if costs is not None:
            numbers += [f"{costs.counted[name][place[trial.number]]:,.0f}" for name in sizes]
        cells = "".join(f"<td>{'-' if number == 'nan' else number}</td>" for number in (trial.number + 1, *numbers))
        rows.append(f'<tr><td class="spec">{escape(trial.spec)}</td>{cells}</tr>')
    title = "Front" if several else "Best networks"
    return f'<h2>{title}</h2><table><tr><th class="spec">arch</th>{head}</tr>{"".join(rows)}</table>'


def _failures(result: SearchResult) -> str:
    failed = result.history.failed
    if not failed:
        return ""
    rows = "".join(
        f'<tr><td class="spec">{escape(trial.spec)}</td><td class="spec">{escape(trial.reason)}</td></tr>'
        for trial in failed[-_SHOWN:]
    )
    return f"<h2>Failures</h2><p>{len(failed)} in all; the last:</p><table>{rows}</table>"


def _drawing(result: SearchResult, best: Trial) -> str:
    try:
        graph = result.space.graphs([best.spec])[0]
    except ArchcastError as error:
        return f"<h2>The best network</h2><p>It cannot be drawn: {escape(str(error))}</p>"
    return (
        f"<h2>The best network</h2><p>{graph.params:,} parameters, {graph.macs:,} MACs, {len(graph)} nodes.</p>"
        f'<div class="network">{graph.svg()}</div>'
    )


def _costs(result: SearchResult) -> Encoded | None:
    """Sizes of the measured networks; None where one of them cannot be captured."""
    try:
        return result.space.encode([trial.spec for trial in result.history.done])
    except ArchcastError:
        return None


def _axes(x: str, y: str) -> tuple[Any, Any]:
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtraError("a report needs matplotlib; run `pip install 'archcast[plot]'`") from error
    figure = Figure(figsize=(7.2, 4.0), layout="constrained")
    axes = figure.subplots()
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _around(values: FloatArray) -> tuple[float, float]:
    low, high = float(np.min(values)), float(np.max(values))
    margin = 0.06 * (high - low) or 0.5
    return low - margin, high + margin


def _svg(figure: Any, salt: str) -> str:
    """The figure as an SVG element whose ids do not clash with another one's."""
    from matplotlib import rc_context

    out = StringIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": salt}):
        figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None})
    return out.getvalue().partition("<svg")[1] + out.getvalue().partition("<svg")[2]
