"""The command line: `archcast predict | proxies | capture | train | evaluate | search | datasets | doctor`.

Only the parser lives here. What a command does is in `archcast.cli_*`, imported when it runs, so that
`archcast --help` answers at once.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

from archcast.errors import ArchcastError

COMMANDS: dict[str, tuple[str, str]] = {
    "predict": ("archcast.cli_predict", "forecast networks: rank, value, interval, familiarity"),
    "proxies": ("archcast.cli_proxies", "zero-cost proxies: what a network tells before training, per node too"),
    "capture": ("archcast.cli_predict", "show the computation graph of a network as text, SVG or JSON"),
    "train": ("archcast.cli_train", "fit a predictor on a benchmark or on your own table"),
    "evaluate": ("archcast.cli_evaluate", "score a predictor on a benchmark, beside #params and MACs"),
    "search": ("archcast.cli_search", "search a space for the best networks, resumably, and report what was found"),
    "datasets": ("archcast.cli_datasets", "list, describe and download benchmarks"),
    "doctor": ("archcast.cli_doctor", "check the installation; exit code 1 if something is broken"),
}
"""Command -> the module with `add_<command>(parser)` and `run_<command>(options) -> exit code`, and its summary."""

_DESCRIPTION = """\
archcast forecasts how well a neural network will do before anyone trains it.

  archcast predict timm:resnet50 model.onnx     forecast networks
  archcast train --output my_predictor          learn a search space from 156 labels
  archcast doctor                               something is wrong? start here

Exit codes: 0 done, 1 a check failed, 2 an error, told in one line (--debug shows where)."""

_USAGE_ERROR = 2
_INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code; `arguments` are those of the process when left out."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in arguments
    try:
        return _run([argument for argument in arguments if argument != "--debug"])
    except ArchcastError as error:
        if debug:
            raise
        print(f"archcast: {' '.join(str(error).split())}", file=sys.stderr)
        return _USAGE_ERROR
    except BrokenPipeError:  # `archcast ... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        print("archcast: interrupted", file=sys.stderr)
        return _INTERRUPTED


def _run(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help", "--version") or arguments[0] not in COMMANDS:
        return _front_page(arguments)
    command, *rest = arguments
    module = importlib.import_module(COMMANDS[command][0])
    parser = make_parser(command)
    options = _parse(parser, rest, command)
    run: Callable[[Any], int] = getattr(module, f"run_{command}")
    return run(options)


def make_parser(command: str) -> Any:
    """The jsonargparse parser of one command."""
    from argparse import RawDescriptionHelpFormatter

    from jsonargparse import ArgumentParser, DefaultHelpFormatter

    class Formatter(DefaultHelpFormatter, RawDescriptionHelpFormatter):  # type: ignore[misc]  # jsonargparse is untyped
        """Keep the line breaks of the examples."""

    parser = ArgumentParser(prog=f"archcast {command}", exit_on_error=False, formatter_class=Formatter)
    getattr(importlib.import_module(COMMANDS[command][0]), f"add_{command}")(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON document on stdout instead of a table")
    return parser


def _parse(parser: Any, arguments: list[str], command: str) -> Any:
    from argparse import ArgumentError

    from archcast.errors import ConfigError

    try:
        return parser.parse_args(arguments)
    except ArgumentError as error:
        raise ConfigError(f"{error}. See: archcast {command} --help") from error


def _front_page(arguments: list[str]) -> int:
    if arguments and arguments[0] == "--version":
        from archcast import __version__

        print(f"archcast {__version__}")
        return 0
    if arguments and not arguments[0].startswith("-"):
        from archcast.errors import UnknownNameError

        raise UnknownNameError(f"no command {arguments[0]!r}; there are: {', '.join(COMMANDS)}")
    width = max(map(len, COMMANDS))
    lines = [f"  {name:{width}}  {summary}" for name, (_, summary) in COMMANDS.items()]
    print(f"usage: archcast COMMAND [OPTIONS]\n\n{_DESCRIPTION}\n\ncommands (archcast COMMAND --help tells more):")
    print("\n".join(lines))
    return 0 if arguments[:1] in (["-h"], ["--help"]) else _USAGE_ERROR


if __name__ == "__main__":
    sys.exit(main())
