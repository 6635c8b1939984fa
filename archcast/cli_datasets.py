"""`archcast datasets list | info | fetch | corpus`."""

from __future__ import annotations

from collections import Counter
from typing import Any

from archcast.cli_output import count, note, print_json, print_table
from archcast.errors import ConfigError, UnknownNameError

ACTIONS = ("list", "info", "fetch", "corpus")


def add_datasets(parser: Any) -> None:
    parser.description = """Benchmarks with known accuracies: what there is, where it comes from, and how to get it.

examples:
  archcast datasets list
  archcast datasets info nasbench101
  archcast datasets fetch nas-bench-macro      resumes a broken download, refuses a wrong checksum
  archcast datasets corpus --output corpus     unlabelled graphs for pretraining, 200,000 and more
  archcast datasets corpus --output corpus_without_201 --exclude nasbench201 nats-sss --jobs 4

Files go to the folder ARCHCAST_HOME; tables that you already have are read from ARCHCAST_DATA."""
    parser.add_argument("action", type=str, metavar="{list,info,fetch,corpus}", help="what to do")
    parser.add_argument("name", type=str, nargs="?", default=None, metavar="NAME", help="for info and fetch")
    parser.add_argument("--folder", type=str, default=None, help="fetch into this folder instead of ARCHCAST_HOME")
    _add_corpus(parser.add_argument_group("corpus", _CORPUS))


_CORPUS = """Graphs of all search spaces (small ones whole), of random networks and of the model zoos that are installed
(`pip install 'archcast[zoo]'`), no graph twice. The same options give the same shards. An interrupted run goes on
where it ended when the same command is given again. 200,000 graphs take minutes and a few hundred MB; the zoos take up
to half an hour more the first time, later their captures come from ARCHCAST_HOME."""


def _add_corpus(group: Any) -> None:
    from jsonargparse import ActionYesNo

    group.add_argument("--output", type=str, default=None, metavar="DIR", help="folder of the corpus")
    group.add_argument(
        "--graphs", type=int, default=200_000, help="at least so many of spaces and random networks; zoos come on top"
    )
    group.add_argument("--seed", type=int, default=0, help="of samples and random networks")
    group.add_argument("--jobs", type=int, default=2, help="processes; they do not change the result")
    group.add_argument("--zoo", action=ActionYesNo(no_prefix="no-"), default=True, help="with the model zoos")
    group.add_argument(
        "--exclude", type=str, nargs="+", default=[], metavar="SOURCE",
        help="spaces, zoos or `random` to leave out. Exclude related spaces together: nats-sss has networks of "
        "nasbench201. A finished corpus can be opened without some of its sources as well",
    )  # fmt: skip


def run_datasets(options: Any) -> int:
    if options.action not in ACTIONS:
        raise UnknownNameError(f"unknown action {options.action!r}; choose one of {', '.join(ACTIONS)}")
    if options.action == "list":
        return _list(options.json)
    if options.action == "corpus":
        return _corpus(options)
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


def _corpus(options: Any) -> int:
    if options.output is None:
        raise ConfigError("datasets corpus needs a folder: --output DIR")
    from archcast.datasets.corpus import make_corpus

    corpus = make_corpus(
        options.output,
        graphs=options.graphs,
        seed=options.seed,
        exclude=options.exclude,
        zoo=options.zoo,
        jobs=options.jobs,
        progress=not options.json,
    )
    for failure in corpus.failures:
        note(f"not captured: {failure}")
    if options.json:
        sources, failures = corpus.sources, corpus.failures
        print_json({"folder": options.output, "graphs": len(corpus), "sources": sources, "failures": failures})
        return 0
    pools = Counter(pool.source for pool in corpus.pools)
    rows = [[source, str(graphs), str(pools[source])] for source, graphs in corpus.sources.items()]
    print_table(f"{len(corpus):,} graphs in {options.output}", ["source", "graphs", "pools"], rows)
    return 0
