"""`archcast evaluate`: protocols of the literature, reports on one predictor, learning curves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from archcast.cli_output import figure, note, print_json, print_table, write_csv
from archcast.cli_train import print_results
from archcast.errors import ConfigError

if TYPE_CHECKING:
    from archcast.datasets.benchmark import Benchmark

PROTOCOLS = ("few-shot", "zero-shot", "report", "learning-curve")
_LABELS = 156  # of a report or a curve, unless said otherwise
_JUDGED = 2000  # networks that a report looks at


def add_evaluate(parser: Any) -> None:
    parser.description = """Score predictors on benchmarks, beside #params, MACs and their rank mean.

examples:
  archcast evaluate --benchmark nasbench201 --sizes 78 156 --seeds 0 1 2
  archcast evaluate --protocol zero-shot --benchmark nasbench201 nas-bench-macro nats-sss --csv zero_shot.csv
  archcast evaluate --protocol report --sizes 156 --plot report.png
  archcast evaluate --protocol learning-curve --table measured.csv --more 100 --plot curve.png

few-shot   train on n random labels, rank the whole space (protocol P1); also without the training
           networks, and without every network that is the same as one of them.
zero-shot  leave one space out: train on all other benchmarks named, rank a sample of the one left out.
report     fit n labels, judge up to 2,000 other networks: calibration of the spread, what choosing by forecast
           gains over choosing at random, and which operations the forecast looks at.
learning-curve   cross-validated agreement at n/8, n/4, n/2 and n labels, and what more of them would bring.
Intervals are 95 % bootstrap intervals over seeds and networks."""
    parser.add_argument("--protocol", type=str, default="few-shot", help=", ".join(PROTOCOLS))
    parser.add_argument(
        "--benchmark", type=str, nargs="+", default=["nasbench201"], metavar="NAME", help="benchmarks to score"
    )
    parser.add_argument("--task", type=str, default=None, help="data set; the benchmark's first when left out")
    parser.add_argument("--metric", type=str, default=None, help="val or test accuracy")
    parser.add_argument("--sizes", type=int, nargs="+", default=None, help="numbers of labels; the published ones")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4], help="one run for each")
    parser.add_argument("--sample", type=int, default=3000, help="zero-shot: networks to rank per seed")
    parser.add_argument("--resamples", type=int, default=1000, help="bootstrap resamples over networks; 0 for none")
    parser.add_argument("--table", type=str, default=None, metavar="FILE", help="learning-curve: your own labels")
    parser.add_argument("--more", type=int, default=None, help="learning-curve: labels to add (as many as there are)")
    parser.add_argument("--plot", type=str, default=None, metavar="FILE", help="report, learning-curve: draw it")
    parser.add_argument("--csv", type=str, default=None, metavar="FILE", help="also write one row per run to this file")


def run_evaluate(options: Any) -> int:
    from archcast.datasets.benchmark import load_benchmark
    from archcast.predictor.evaluation import Result, few_shot, summarise, zero_shot

    if options.protocol not in PROTOCOLS:
        raise ConfigError(f"unknown protocol {options.protocol!r}; choose one of {', '.join(PROTOCOLS)}")
    if any(seed < 0 for seed in options.seeds):
        raise ConfigError("seeds must not be negative")
    if options.resamples < 0 or options.sample < 2:
        raise ConfigError("--resamples must not be negative and --sample at least 2")
    if options.protocol in ("report", "learning-curve"):
        return _run_report(options) if options.protocol == "report" else _run_curve(options)
    if options.plot or options.table:
        raise ConfigError("--plot belongs to report and learning-curve, --table to learning-curve")
    benchmarks = [load_benchmark(name, options.task, metric=options.metric) for name in options.benchmark]
    results: list[Result] = []
    if options.protocol == "few-shot":
        for bench in benchmarks:
            results += few_shot(bench, options.sizes, options.seeds, resamples=options.resamples)
    else:
        results = zero_shot(
            benchmarks, _pretrain, options.benchmark, options.seeds, sample=options.sample, resamples=options.resamples
        )
    records, summary = [result.to_record() for result in results], summarise(results)
    if options.csv:
        write_csv(options.csv, records)
    if options.json:
        print_json({"summary": summary, "runs": records})
        return 0
    print_results(f"{options.protocol}, mean of {len(set(options.seeds))} seeds", summary)
    if options.csv:
        note(f"wrote {options.csv}")
    return 0


def _pretrain(spaces: Sequence[str]) -> Any:
    from archcast.predictor.pretraining import pretrain

    return pretrain(spaces, seed=0, on_step=lambda step: note(f"pretraining on {', '.join(spaces)}: {step}"))


def _one_benchmark(options: Any) -> Benchmark:
    from archcast.datasets.benchmark import load_benchmark

    if len(options.benchmark) > 1:
        raise ConfigError(f"{options.protocol} looks at one benchmark, not at {len(options.benchmark)}")
    return load_benchmark(options.benchmark[0], options.task, metric=options.metric)


def _run_report(options: Any) -> int:
    import numpy as np

    from archcast.encoders.features import encode
    from archcast.predictor.predictor import Predictor
    from archcast.predictor.reports import plot_report, report

    bench, seed = _one_benchmark(options), options.seeds[0]
    size = options.sizes[0] if options.sizes else _LABELS
    order = np.random.default_rng(seed).permutation(len(bench))
    train, test = order[:size], order[size:][:_JUDGED]
    predictor = Predictor().fit(
        bench.graphs(train), bench.scores[train], task=bench.task, unit=bench.unit, seed=seed, on_step=note
    )
    graphs, truth = bench.graphs(test), bench.scores[test]
    features = encode(graphs)
    found = report(predictor, features, graphs, truth, seed=seed)
    if options.plot:
        plot_report(found, predictor.predict_features(features, graphs, graphs.names), truth, options.plot)
    record = {"benchmark": bench.name, "task": bench.task, "labels": size, "seed": seed, **found.to_record()}
    if options.json:
        print_json({**record, "cross_validated": vars(predictor.cross_validated), "plot": options.plot})
        return 0
    note(f"{bench.name}, {size} labels; cross-validated tau {predictor.cross_validated}, on others {found.tau:.3f}")
    print_table(
        "Calibration: central intervals", ["should hold", "holds"],
        [[f"{level:.2f}", f"{share:.3f}"] for level, share in
         zip(found.calibration.levels, found.calibration.observed, strict=True)],
    )  # fmt: skip
    print_table(
        f"Chosen by forecast against at random ({bench.unit})",
        ["networks", "mean chosen", "mean random", "best chosen", "best random", "share of what is to be gained"],
        [[str(gain.count), figure(gain.chosen, 2), figure(gain.random, 2), figure(gain.best, 2),
          figure(gain.random_best, 2), figure(gain.share)] for gain in found.gains],
    )  # fmt: skip
    print_table(
        "What counts", ["operation", "fall of tau"], [[name, figure(fall)] for name, fall in found.importance.items()]
    )
    return 0


def _run_curve(options: Any) -> int:
    from archcast.predictor.learning_curve import learning_curve

    name, features, scores, groups = _labelled(options)
    curve = learning_curve(features, scores, groups, options.sizes, seed=options.seeds[0], on_step=note)
    now = int(curve.labels[-1])
    more = now if options.more is None else options.more
    if more < 1:
        raise ConfigError(f"--more {more}: give at least 1")
    forecast, gain = curve.forecast(now + more), curve.gain(more)
    if options.plot:
        _plot_curve(curve, now + more, name, options.plot)
    if options.json:
        print_json({
            "labelled": name, "curve": curve.to_records(), "law": vars(curve.law), "more": more,
            "forecast": dict(zip(("tau", "low", "high"), forecast, strict=True)),
            "gain": dict(zip(("tau", "low", "high"), gain, strict=True)), "plot": options.plot,
        })  # fmt: skip
        return 0
    print_table(
        f"Learning curve of {name}", ["labels", "Kendall tau", "deviation", "law"],
        [[f"{row['labels']:,}", figure(row["tau"]), figure(row["deviation"]), figure(row["law"])]
         for row in curve.to_records()],
    )  # fmt: skip
    note(
        f"{more:,} more labels: tau {forecast[0]:.3f} [{forecast[1]:.3f}, {forecast[2]:.3f}], "
        f"a gain of {gain[0]:.3f} [{gain[1]:.3f}, {gain[2]:.3f}] (90 % intervals)"
    )
    return 0


def _labelled(options: Any) -> tuple[str, Any, Any, Any]:
    """Name, features, scores and groups of a table, or of random networks of a benchmark."""
    import numpy as np

    from archcast.encoders.features import encode
    from archcast.graphs.hashing import graph_hashes
    from archcast.predictor.inputs import as_batch, as_scores

    if options.table:
        from archcast.datasets.tables import read_table

        table = read_table(options.table)
        batch, scores, name = as_batch(table.archs)[0], np.asarray(table.scores), options.table
    else:
        bench = _one_benchmark(options)
        size = max(options.sizes) if options.sizes else _LABELS
        rows = np.random.default_rng(options.seeds[0]).permutation(len(bench))[:size]
        batch, scores, name = bench.graphs(rows), bench.scores[rows], bench.name
    _, groups = np.unique(graph_hashes(batch), return_inverse=True)
    return name, encode(batch), as_scores(scores, len(batch)), groups


def _plot_curve(curve: Any, last: int, name: str, path: str) -> None:
    import numpy as np

    from archcast.predictor.reports import new_figure, save_figure

    drawing, plt = new_figure(1)
    axes, labels = drawing.axes[0], np.geomspace(curve.labels[0], last, 60)
    drawn = np.stack([law(labels) for law in curve.draws])
    axes.fill_between(labels, *np.quantile(drawn, (0.05, 0.95), axis=0), alpha=0.2)
    axes.plot(labels, curve.law(labels), linewidth=1)
    axes.errorbar(curve.labels, curve.taus, yerr=curve.deviations, fmt="o", markersize=4)
    axes.set(xscale="log", xlabel="labels", ylabel="Kendall tau, cross-validated", title=name)
    save_figure(drawing, plt, path)
