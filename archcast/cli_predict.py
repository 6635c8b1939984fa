"""`archcast predict` and `archcast capture`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from archcast.cli_output import count, figure, note, print_json, print_table, write_csv
from archcast.errors import ConfigError, StorageError

_NETWORKS = "a zoo name (timm:resnet50), an .onnx file, or a benchmark spec (nasbench201:|nor_conv_3x3~0|+...)"


def add_predict(parser: Any) -> None:
    parser.description = """Forecast networks before anyone trains them.

examples:
  archcast predict timm:resnet50 timm:vit_small_patch16_224 model.onnx
  archcast predict model.onnx --predictor my_predictor --json
  archcast predict candidates/*.onnx --proxies fast --jobs 4

value and interval are in the unit of the task; familiarity near 0 says that the network is unlike
anything the predictor was trained on, and that its value is a guess."""
    parser.add_argument("networks", nargs="+", type=str, metavar="NETWORK", help=_NETWORKS)
    parser.add_argument("--task", type=str, default="cifar10", help="the task to forecast for")
    parser.add_argument("--predictor", type=str, default="base", help="a bundle: a name, a folder, or a hub id")
    _add_input_shape(parser)
    parser.add_argument(
        "--proxies", choices=("none", "fast", "full"), default="none",
        help="zero-cost proxies to measure first; they sharpen the order of 16 or more networks of an unfamiliar space",
    )  # fmt: skip
    parser.add_argument("--jobs", type=int, default=1, help="processes that measure proxies")
    parser.add_argument("--csv", type=str, default=None, metavar="FILE", help="also write the rows to this CSV file")


def run_predict(options: Any) -> int:
    import archcast

    shape = input_shape(options.input_shape)
    forecasts = archcast.predict(
        options.networks, task=options.task, predictor=options.predictor, input_shape=shape, proxies=options.proxies,
        jobs=options.jobs,
    )  # fmt: skip
    rows = forecasts.to_records()
    if options.csv:
        write_csv(options.csv, rows)
    if options.json:
        print_json(rows)
        return 0
    print_table(f"{options.task}, predictor {options.predictor}", forecast_columns(rows), forecast_rows(rows))
    if options.csv:
        note(f"wrote {options.csv}")
    return 0


def forecast_columns(rows: list[dict[str, Any]]) -> list[str]:
    """The headings over `forecast_rows`."""
    value = f"value {rows[0]['unit']}".strip()
    return ["network", "rank", value, "90 % interval", "familiarity", "params", "MACs", "unknown ops"]


def forecast_rows(rows: list[dict[str, Any]]) -> list[list[str]]:
    """The cells of the table of forecasts, one list per network: name, rank, value, interval, ..."""
    order = sorted(range(len(rows)), key=lambda position: -rows[position]["score"])
    rank = {position: place for place, position in enumerate(order, start=1)}
    return [
        [
            shortened(row["name"]),
            str(rank[position]),
            figure(row["value"], 2),
            f"{figure(row['low'], 1)} .. {figure(row['high'], 1)}",
            figure(row["familiarity"], 2),
            count(row["params"]),
            count(row["macs"]),
            ", ".join(f"{times} x {name}" for name, times in row["unknown_ops"].items()) or "-",
        ]
        for position, row in enumerate(rows)
    ]


def shortened(name: str, length: int = 44) -> str:
    """A name that fits into a table: the middle of a long one is left out."""
    if len(name) <= length:
        return name
    half = (length - 3) // 2
    return f"{name[:half]}...{name[-half:]}"


def add_capture(parser: Any) -> None:
    parser.description = """Show the computation graph of a network, the form in which archcast sees it.

examples:
  archcast capture timm:resnet18                    operations, parameters, MACs
  archcast capture model.onnx --text                every node with its attributes
  archcast capture nasbench201:'|none~0|+...' --svg cell.svg"""
    parser.add_argument("network", type=str, metavar="NETWORK", help=_NETWORKS)
    _add_input_shape(parser)
    parser.add_argument("--text", action="store_true", help="print the text form of the graph")
    parser.add_argument("--svg", type=str, default=None, metavar="FILE", help="draw the graph into this file")


def run_capture(options: Any) -> int:
    import archcast

    graph = archcast.capture(options.network, input_shape(options.input_shape))
    if options.svg:
        try:
            Path(options.svg).write_text(graph.svg(), encoding="utf-8")
        except OSError as error:
            raise StorageError(f"cannot write {options.svg}: {error.strerror}; choose another file") from error
        note(f"wrote {options.svg}")
    if options.json:
        print_json({**_summary(graph), "nodes": _nodes(graph), "edges": graph.edge_index.T.tolist()})
    elif options.text:
        print(graph.text())
    elif not options.svg:
        summary = _summary(graph)
        operations = ", ".join(f"{times} x {op}" for op, times in summary["ops"].items())
        rows = [[name, count(summary[name])] for name in ("params", "macs")]
        rows += [["nodes", str(len(graph))], ["edges", str(graph.edge_index.shape[1])], ["hash", summary["hash"]]]
        print_table(graph.name or options.network, ["", ""], [*rows, ["operations", operations]], left=2)
    return 0


def _summary(graph: Any) -> dict[str, Any]:
    return {
        "name": graph.name, "params": graph.params, "macs": graph.macs, "hash": graph.hash(),
        "ops": graph.op_counts, "unknown_ops": graph.unknown_ops,
    }  # fmt: skip


def _nodes(graph: Any) -> list[dict[str, Any]]:
    return [
        {
            "op": node.op,
            "attributes": dict(node.attributes),
            "shape": node.shape,
            "params": node.params,
            "macs": node.macs,
        }
        for node in graph.nodes
    ]


def _add_input_shape(parser: Any) -> None:
    parser.add_argument(
        "--input-shape", type=str, default=None, metavar="1,3,224,224",
        help="shape of the input, batch first; the zoo's own size when left out",
    )  # fmt: skip


def input_shape(text: str | None) -> tuple[int, ...] | None:
    """'1,3,224,224' or '1x3x224x224' -> (1, 3, 224, 224).

    Raises:
        ConfigError: it is not a list of positive whole numbers.
    """
    if text is None:
        return None
    sizes = text.replace("x", ",").replace(" ", "").strip("()[]").split(",")
    if not all(size.isdecimal() and int(size) > 0 for size in sizes):
        raise ConfigError(f"--input-shape {text!r} is not a shape; write it as 1,3,224,224")
    return tuple(int(size) for size in sizes)
