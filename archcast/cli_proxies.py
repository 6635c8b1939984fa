"""`archcast proxies`: zero-cost proxies of networks, per network and per node."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from contextlib import AbstractContextManager, nullcontext, redirect_stdout
from typing import TYPE_CHECKING, Any

from archcast.cli_output import count, figure, note, print_json, print_table
from archcast.cli_predict import input_shape, shortened
from archcast.errors import ConfigError, NetworkError

if TYPE_CHECKING:
    from archcast.proxies import Measurements, ProxyScores

SIZES = ("params", "macs")
_COLUMNS = 6
"""So many networks, or proxies of nodes, fit beside each other."""


def add_proxies(parser: Any) -> None:
    parser.description = """Zero-cost proxies: what a forward and a backward pass tell about networks nobody trained.

examples:
  archcast proxies timm:resnet18 model.onnx
  archcast proxies timm:resnet18 --proxies snip,zen,naswot --input-shape 1,3,64,64 --nodes
  archcast proxies *.onnx --ray 10.0.0.1:6379       on all machines of a Ray cluster
  archcast proxies --list                           every proxy: formula, paper, unit, direction, cost

Higher is better in every row. Where there is no value, the reason is told. The exit code is 1 if a network of several
could not be measured."""
    parser.add_argument(
        "networks", nargs="*", type=str, metavar="NETWORK",
        help="a zoo name (timm:resnet18), an .onnx file, or a benchmark spec (nasbench201:|nor_conv_3x3~0|+...)",
    )  # fmt: skip
    parser.add_argument(
        "--proxies", type=str, default="fast", help="fast, full, none (sizes only), or names with commas: snip,zen"
    )
    parser.add_argument("--small", action="store_true", help="measure the cheap stand-ins of benchmark specs")
    parser.add_argument("--batch", type=int, default=16, help="number of samples, at least 2")
    parser.add_argument("--seed", type=int, default=0, help="of weights, inputs and labels")
    parser.add_argument(
        "--input-shape", type=str, default=None, metavar="1,3,64,64",
        help="shape of the input; what the network itself says when left out",
    )  # fmt: skip
    parser.add_argument("--jobs", type=int, default=1, help="number of processes, one thread each")
    parser.add_argument(
        "--ray", type=str, nargs="?", const="local", default=None, metavar="ADDRESS",
        help="measure on a Ray cluster: host:port of its head, auto, or local when left out",
    )  # fmt: skip
    parser.add_argument("--nodes", action="store_true", help="also the values at the nodes of the graph")
    parser.add_argument("--list", action="store_true", help="list the proxies instead")


def run_proxies(options: Any) -> int:
    if options.list:
        return _list(options.json)
    if not options.networks:
        raise ConfigError("give at least one NETWORK, or --list to see the proxies")
    from archcast.proxies.proxy import chosen
    from archcast.proxies.scoring import score

    asked = [proxy.name for proxy in chosen(options.proxies)]
    names = list(dict.fromkeys([*SIZES, *asked]))
    shape = input_shape(options.input_shape)
    # What Ray prints must not stand in the middle of the JSON.
    with redirect_stdout(sys.stderr if options.json else sys.stdout), _executor(options.ray, options.jobs) as executor:
        scores = score(
            options.networks, names, input_shape=shape, small=options.small, batch=options.batch, seed=options.seed,
            jobs=options.jobs, executor=executor, progress=len(options.networks) > 1 and not options.json,
        )  # fmt: skip
    failed = [position for position, made in enumerate(scores.measurements) if made is None]
    if len(failed) == len(scores):
        raise NetworkError(_reason(scores, failed[0]))
    if options.json:
        print_json([_document(scores, position, options.nodes) for position in range(len(scores))])
    else:
        _print_scores(scores)
        for measured in scores.measurements if options.nodes else ():
            if measured is not None:
                _print_nodes(measured)
    return int(bool(failed))


def _executor(ray: str | None, jobs: int) -> AbstractContextManager[Executor | None]:
    if ray is None:
        return nullcontext()
    if jobs != 1:
        raise ConfigError("--jobs and --ray exclude each other: the cluster decides how many run at a time")
    from archcast.ray_executor import RayExecutor

    return RayExecutor(ray)


def _list(as_json: bool) -> int:
    entries = listed()
    if as_json:
        print_json(entries)
        return 0
    rows = [[entry[key] for key in ("name", "cost", "direction", "unit", "paper", "formula")] for entry in entries]
    print_table("Proxies", ["name", "cost", "direction", "unit", "paper", "formula"], rows, left=6)
    return 0


def listed() -> list[dict[str, str]]:
    """Every proxy as text: name, cost, direction, unit, paper, formula, invariances, reads."""
    from archcast.proxies.proxy import PROXY_NAMES, get_proxy

    return [
        {
            "name": proxy.name,
            "cost": proxy.cost,
            "direction": "higher" if proxy.sign > 0 else "lower, turned round",
            "unit": proxy.unit,
            "paper": proxy.paper,
            "formula": proxy.formula,
            "invariances": proxy.invariances,
            "reads": proxy.reads,
        }
        for proxy in map(get_proxy, PROXY_NAMES)
    ]


def markdown_table() -> str:
    """The table of `docs/proxies.md`; a test holds the page to it."""
    columns = ("name", "formula", "paper", "unit", "direction", "invariances", "reads", "cost")
    lines = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    for entry in listed():
        cells = [f"`{entry['name']}`", *(entry[column].replace("|", "\\|") for column in columns[1:])]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _document(scores: ProxyScores, position: int, with_nodes: bool) -> dict[str, Any]:
    """One network as JSON; a network that failed has its error."""
    measured = scores.measurements[position]
    if measured is None:
        return {"name": scores.networks[position], "error": _reason(scores, position)}
    document: dict[str, Any] = {
        "name": measured.name, "scores": {name: measured.scores[name] for name in scores.names},
        "missing": dict(measured.missing), "notes": list(measured.notes), "seconds": measured.seconds,
    }  # fmt: skip
    if with_nodes:
        document |= {"ops": list(measured.ops), "nodes": dict(measured.nodes)}
    return document


def _reason(scores: ProxyScores, position: int) -> str:
    return " ".join(scores.missing[scores.networks[position], scores.names[0]].split())


def _print_scores(scores: ProxyScores) -> None:
    for few in _chunks(range(len(scores)), _COLUMNS):
        headings = ["proxy", *(shortened(scores.networks[position], 24) for position in few)]
        rows = [
            [name, *(_cell(name, float(scores.values[position, column])) for position in few)]
            for column, name in enumerate(scores.names)
        ]
        times = [made.seconds if (made := scores.measurements[position]) else None for position in few]
        print_table("Zero-cost proxies, higher is better", headings, [*rows, ["seconds", *map(figure, times)]])
    for position, measured in enumerate(scores.measurements):
        name = shortened(scores.networks[position])
        if measured is None:
            note(f"{name}: {_reason(scores, position)}")
            continue
        for text in measured.notes:
            note(f"{name}: {text}")
        for reason in dict.fromkeys(measured.missing.values()):
            note(f"{name}: no {', '.join(key for key, why in measured.missing.items() if why == reason)}: {reason}")


def _print_nodes(measured: Measurements) -> None:
    for few in _chunks(list(measured.nodes), _COLUMNS):
        rows = [
            [str(node), op, *(_cell(name, float(measured.nodes[name][node])) for name in few)]
            for node, op in enumerate(measured.ops)
            if not all(math.isnan(measured.nodes[name][node]) for name in few)
        ]
        print_table(f"{shortened(measured.name)}, nodes", ["node", "op", *few], rows, left=2)


def _cell(name: str, value: float) -> str:
    if not math.isfinite(value):
        return "-"
    return count(value) if name in SIZES else f"{value:.4g}"


def _chunks(items: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    return (items[start : start + size] for start in range(0, len(items), size))
