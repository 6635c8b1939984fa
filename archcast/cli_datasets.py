"""`archcast datasets list | info | fetch`."""

from __future__ import annotations

from typing import Any

from archcast.cli_output import count, note, print_json, print_table
from archcast.errors import ConfigError, UnknownNameError

ACTIONS = ("list", "info", "fetch")


def add_datasets(parser: Any) -> None:
    parser.description = """Benchmarks with known accuracies: what there is, where it comes from, and how to get it.

examples:
  archcast datasets list
  archcast datasets info nasbench101
  archcast datasets fetch nas-bench-macro      resumes a broken download, refuses a wrong checksum

Files go to the folder ARCHCAST_HOME; tables that you already have are read from ARCHCAST_DATA."""
    parser.add_argument("action", type=str, metavar="{list,info,fetch}", help="what to do")
    parser.add_argument("name", type=str, nargs="?", default=None, metavar="NAME", help="for info and fetch")
    parser.add_argument("--folder", type=str, default=None, help="fetch into this folder instead of ARCHCAST_HOME")


def run_datasets(options: Any) -> int:
    if options.action not in ACTIONS:
        raise UnknownNameError(f"unknown action {options.action!r}; choose one of {', '.join(ACTIONS)}")
    if options.action == "list":
        return _list(options.json)
    if options.name is None:
        raise ConfigError(f"datasets {options.action} needs a NAME; archcast datasets list shows them")
    return _info(options.name, options.json) if options.action == "info" else _fetch(options)


def _list(as_json: bool) -> int:
    from archcast.datasets.sources import describe_all

    entries = describe_all()
    if as_json:
        print_json(entries)
        return 0
    rows = [
        [entry["name"], ", ".join(entry["tasks"]), entry["title"], "yes" if entry["present"] else _how(entry)]
        for entry in entries
    ]
    print_table("Benchmarks", ["name", "tasks", "what", "here"], rows, left=4)
    return 0


def _how(entry: dict[str, Any]) -> str:
    return f"fetch ({count(entry['download_bytes'])}B)" if entry["files"] else "by hand (see info)"


def _info(name: str, as_json: bool) -> int:
    from archcast.datasets.sources import describe

    entry = describe(name)
    if as_json:
        print_json(entry)
        return 0
    rows = [
        ["tasks", ", ".join(entry["tasks"])],
        ["measurements", "; ".join(entry["metrics"])],
        ["on this machine", entry["present"] or "no"],
        ["download", ", ".join(file["name"] for file in entry["files"]) or "none"],
        ["how to get it", entry["instructions"] or f"archcast datasets fetch {name}"],
        ["home", entry["home"]],
        ["licence", entry["licence"]],
        ["cite", entry["citation"]],
    ]
    print_table(entry["title"], ["", ""], rows, left=2)
    return 0


def _fetch(options: Any) -> int:
    from archcast.datasets.fetch import fetch

    paths = fetch(options.name, options.folder, progress=not options.json)
    if options.json:
        print_json([str(path) for path in paths])
    for path in paths if not options.json else ():
        note(f"{path} is complete")
    return 0
