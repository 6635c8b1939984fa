"""`archcast search`: look for the best networks of a space, and report what was found."""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from typing import TYPE_CHECKING, Any

from archcast.cli_output import figure, note, print_json, print_table
from archcast.errors import ConfigError

if TYPE_CHECKING:
    from archcast.search.config import SearchConfig
    from archcast.search.result import SearchResult


def add_search(parser: Any) -> None:
    from archcast.search.strategy import STRATEGIES

    parser.description = f"""Search a space for the networks that do best, guided by a predictor.

examples:
  archcast search --space nasbench201 --task cifar10 --budget 100
  archcast search --space nasbench201 --strategy evolution --budget 300 --json
  archcast search --space own.py --budget 60 --journal run.db --report report.html
  archcast search --config search.yaml --journal run.db --resume       after a crash, or on a second terminal
  archcast search --space own.py --ray 10.0.0.1:6379 --gpus-per-evaluation 1 --batch 8 --journal run.db
  archcast search --space nasbench201 --objectives score,-macs --limits macs=60e6 --report report.html

--space is the name of a benchmark, whose measured scores are looked up, or a Python file of your own with `space`
(archcast.ChoiceSpace ...) and `evaluate(spec) -> score`. Every proposal and every result is in the journal before it
counts: --resume goes on after kill -9, and several processes may share a journal. A failed evaluation is recorded.

strategies: {", ".join(STRATEGIES)}. `guided` uses the predictor; give --predictor none for a search without."""
    text: dict[str, Any] = {"type": str, "default": None}
    number: dict[str, Any] = {"type": int, "default": None}
    parser.add_argument("--config", **text, metavar="FILE", help="YAML file with any of the options below")
    parser.add_argument("--space", **text, help="benchmark, or a Python file with space and evaluate")
    parser.add_argument("--task", **text, help="data set of a benchmark, such as cifar10")
    parser.add_argument("--budget", **number, help="evaluations, failures included (150)")
    parser.add_argument("--strategy", **text, help="how to search (guided)")
    parser.add_argument("--batch", **number, help="networks proposed together (5)")
    parser.add_argument("--seed", **number, help="the same seed gives the same search (0)")
    parser.add_argument("--predictor", **text, help="pretrained: a name, a folder, or none (base)")
    parser.add_argument(
        "--objectives", **text, metavar="NAMES", help="what to optimise, - in front where less is better: score,-macs"
    )
    parser.add_argument(
        "--limits", type=str, nargs="+", default=None, metavar="COST=MOST",
        help="most that params, macs or activation_memory (bytes) may be: macs=60e6",
    )  # fmt: skip
    parser.add_argument("--journal", **text, metavar="FILE", help="SQLite file that keeps every proposal and result")
    parser.add_argument("--resume", action="store_true", help="go on with a journal that exists")
    parser.add_argument("--isolate", action="store_true", help="evaluate in a process of its own, which may crash")
    parser.add_argument("--timeout", type=float, default=None, help="seconds for one evaluation, with --isolate")
    parser.add_argument(
        "--ray", type=str, nargs="?", const="local", default=None, metavar="ADDRESS",
        help="evaluate on a Ray cluster, --batch at a time: host:port of its head, auto, or local when left out",
    )  # fmt: skip
    parser.add_argument("--cpus-per-evaluation", type=float, default=None, metavar="N", help="cores, with --ray (1)")
    parser.add_argument("--gpus-per-evaluation", type=float, default=None, metavar="N", help="GPUs, with --ray (0)")
    parser.add_argument("--report", **text, metavar="FILE", help="write one HTML page about the search")


_FIELDS = (
    "space", "task", "budget", "strategy", "batch", "seed", "predictor", "objectives", "limits", "journal",
    "timeout", "ray", "cpus_per_evaluation", "gpus_per_evaluation", "report",
)  # fmt: skip


def run_search(options: Any) -> int:
    from archcast.search.config import SearchConfig
    from archcast.search.progress import Progress

    given: dict[str, Any] = {name: getattr(options, name) for name in _FIELDS if getattr(options, name) is not None}
    given |= {name: True for name in ("resume", "isolate") if getattr(options, name)}
    if "objectives" in given:
        given["objectives"] = given["objectives"].split(",")
    if "limits" in given:
        given["limits"] = read_limits(given["limits"])
    config = SearchConfig.from_file(options.config, **given) if options.config else SearchConfig.from_dict(given)
    # What Ray and evaluations print must not stand in the middle of the JSON.
    with (
        Progress(sys.stderr, quiet=options.json) as progress,
        redirect_stdout(sys.stderr if options.json else sys.stdout),
    ):
        result = config.run(on_start=progress.start, on_result=progress.step)
    if config.report is not None:
        from archcast.search.report import write_report

        note(f"wrote {write_report(result, config.report)}")
    if options.json:
        print_json(_document(config, result))
    else:
        _print(config, result)
    return 0


def read_limits(texts: list[str]) -> dict[str, float]:
    """`["macs=60e6"]` -> `{"macs": 60e6}`.

    Raises:
        ConfigError: one is not NAME=NUMBER.
    """
    limits = {}
    for text in texts:
        name, _, most = text.partition("=")
        try:
            limits[name] = float(most)
        except ValueError:
            raise ConfigError(f"--limits {text!r} must look like macs=60e6") from None
    return limits


def _document(config: SearchConfig, result: SearchResult) -> dict[str, Any]:
    history = result.history
    best = history.best
    return {
        "space": result.space.name,
        "strategy": config.strategy,
        "objectives": list(config.objectives),
        "evaluations": len(history),
        "failed": len(history.failed),
        "best": None if best is None else _trial(result, best),
        "front": [_trial(result, trial) for trial in result.front] if len(result.objectives) > 1 else [],
        "curve": result.curve,
        "report": config.report,
        "journal": config.journal,
    }


def _trial(result: SearchResult, trial: Any) -> dict[str, Any]:
    scores = dict(zip(result.objectives.names, trial.scores, strict=True))
    return {"arch": trial.spec, "evaluation": trial.number + 1, **scores}


def _print(config: SearchConfig, result: SearchResult) -> None:
    names = list(result.objectives.names)
    several = len(names) > 1
    ranked = result.front if several else result.ranked[:5]
    rows = [[trial.spec, str(trial.number + 1), *map(_number, (*trial.scores, trial.forecast))] for trial in ranked]
    title = f"{'Pareto front' if several else 'Best'} of {len(result.history)} networks of {result.space.name}"
    print_table(title, ["arch", "evaluation", *names, "forecast"], rows)
    if failed := result.history.failed:
        note(f"{len(failed)} evaluations failed, the last: {failed[-1].reason}")
    if config.journal is None and config.report is None:
        note("nothing was kept; add --journal FILE to keep the trials, --report FILE for a page about them")


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1e5 else figure(value, 4)
