"""Writing a corpus: parts are made by some processes, duplicates are removed in order, shards appear one by one.

A shard holds what its part has beyond all shards before it, so shards are written in their order, and the files do not
depend on the number of processes. A run that finds shards of its own goes on behind them.
"""

from __future__ import annotations

import json
import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Final

import numpy as np

from archcast.datasets.arrow_arrays import read_metadata
from archcast.datasets.atomic import atomic_path
from archcast.datasets.cache import graph_recipe
from archcast.datasets.corpus_shards import HashArray, Material, Shard, write_shard
from archcast.datasets.corpus_sources import RANDOM, Part, checked_sources, make, random_parts, space_parts, zoo_parts
from archcast.errors import ConfigError, DataError
from archcast.workers import prepare_worker

MANIFEST: Final = "corpus.json"
FORMAT: Final = 1
_MOST_EMPTY: Final = 20  # random parts without a new graph, one after the other, before giving up

_logger = logging.getLogger(__name__)
Maker = Callable[[], Material]


@dataclass(frozen=True)
class CorpusOptions:
    """What decides the content of a corpus; see `archcast.datasets.corpus.make_corpus`."""

    graphs: int
    seed: int
    exclude: tuple[str, ...]
    zoo: bool

    @classmethod
    def checked(cls, graphs: int, seed: int, exclude: Iterable[str], zoo: bool) -> CorpusOptions:
        """The options, if they make sense.

        Raises:
            ConfigError: `graphs` or `seed` is out of range, or nothing is left that could give `graphs` graphs.
            UnknownNameError: `exclude` names a source that does not exist.
        """
        if graphs < 1 or seed < 0:
            raise ConfigError(f"{graphs} graphs from seed {seed}: give at least 1 graph and a seed of 0 or more")
        return cls(graphs, seed, checked_sources(exclude), zoo)


def write_shards(
    folder: Path, options: CorpusOptions, jobs: int, progress: bool, executor: Executor | None = None
) -> None:
    """Write all shards of a corpus that are not there yet, and its manifest."""
    if jobs < 1:
        raise ConfigError(f"{jobs} jobs: give how many processes should work, at least 1")
    found = read_manifest(folder)
    wanted = _plain(options)
    if found is not None and found["options"] != wanted:
        raise ConfigError(
            f"{folder} holds a corpus made with other options ({json.dumps(found['options'])}); "
            "choose another folder, or remove this one first"
        )
    parts = zoo_parts(options.exclude) if options.zoo else []  # first, because it fails where a package is missing
    _write_manifest(folder, options, [], complete=False)
    earlier = {} if found is None else {entry["file"]: entry["seconds"] for entry in found["shards"]}
    writer = _Writer(folder, options, progress, earlier)
    try:
        with _workers(jobs, executor) as submit:
            writer.write_all(space_parts(options.graphs, options.seed, options.exclude), submit, jobs)
            if RANDOM not in options.exclude:
                writer.write_all(random_parts(options.graphs, options.seed), submit, jobs, until=options.graphs)
            writer.write_all(parts, submit, jobs)
    finally:
        writer.close()
    writer.remove_others()
    _write_manifest(folder, options, writer.entries, complete=True)


class _Writer:
    """Knows the hashes of everything written so far."""

    def __init__(self, folder: Path, options: CorpusOptions, progress: bool, earlier: dict[str, float | None]) -> None:
        from tqdm import tqdm

        self.entries: list[dict[str, Any]] = []
        self._folder = folder
        self._earlier = earlier  # file -> processor seconds that an earlier run noted
        self._seen: set[bytes] = set()
        self._bar = tqdm(total=options.graphs, desc="corpus", unit=" graphs", disable=not progress)

    def write_all(
        self, parts: Iterable[Part], submit: Callable[[Part], Maker], jobs: int, until: int | None = None
    ) -> None:
        """Write the shards of `parts` in order, until there are `until` graphs (or the parts end).

        Raises:
            ConfigError: `until` graphs cannot be found.
        """
        first, empty = len(self.entries), 0
        named = ((self._folder / f"{first + i:04d}-{part.source}.arrow", part) for i, part in enumerate(parts))
        if until is not None and len(self._seen) >= until:
            return
        for path, part, maker in _ahead(named, submit, 0 if jobs == 1 else jobs + 1):
            before = len(self._seen)
            self._bar.set_postfix_str(part.source)
            self._keep(path, part, maker)
            empty = 0 if len(self._seen) > before else empty + 1
            if until is not None and len(self._seen) >= until:
                return
            if until is not None and empty >= _MOST_EMPTY:
                raise ConfigError(
                    f"{until} different graphs cannot be found: there are {len(self._seen)}; ask for less"
                )

    def _keep(self, path: Path, part: Part, maker: Maker | None) -> None:
        seconds = self._earlier.get(path.name)
        if maker is not None:
            material = maker()
            seconds = round(material.seconds, 3)
            new = [row for row, value in enumerate(_keys(material.hashes)) if value not in self._seen]
            rows = np.asarray(new, dtype=np.int64)
            write_shard(path, material.take(rows), {"part": part.identity, "recipe": graph_recipe()})
        shard = Shard(path)
        self._seen.update(_keys(shard.hashes))
        self.entries.append(
            {
                "file": path.name,
                "source": part.source,
                "graphs": len(shard),
                "made": shard.made,
                "nodes": int(shard.nodes.sum()),
                "pools": shard.pools,
                "failures": shard.failures,
                "seconds": seconds,
            }
        )
        self._bar.total = max(self._bar.total or 0, len(self._seen))
        self._bar.update(len(shard))

    def remove_others(self) -> None:
        """Remove shards that an older version of archcast had made and this one has not."""
        names = {entry["file"] for entry in self.entries}
        for path in self._folder.glob("[0-9]*-*.arrow"):
            if path.name not in names:
                path.unlink()

    def close(self) -> None:
        self._bar.close()


def _keys(hashes: HashArray) -> list[bytes]:
    data = np.ascontiguousarray(hashes).tobytes()
    return [data[start : start + 16] for start in range(0, len(data), 16)]


def _ahead(
    named: Iterable[tuple[Path, Part]], submit: Callable[[Part], Maker], ahead: int
) -> Iterator[tuple[Path, Part, Maker | None]]:
    """Each part with what makes it (None where its shard is there); `ahead` parts are begun before they are needed."""
    waiting: deque[tuple[Path, Part, Maker | None]] = deque()
    for path, part in named:
        waiting.append((path, part, None if _is_there(path, part) else submit(part)))
        if len(waiting) > ahead:
            yield waiting.popleft()
    yield from waiting


def _is_there(path: Path, part: Part) -> bool:
    """Whether `path` is a whole shard of `part`, made by this version."""
    if not path.is_file():
        return False
    try:
        facts = read_metadata(path)
    except DataError as error:
        _logger.warning("%s: it is made anew", error)
        return False
    if facts.get("part") == part.identity and facts.get("recipe") == graph_recipe():
        return True
    _logger.warning("%s was made by another version of archcast: it is made anew", path.name)
    return False


@contextmanager
def _workers(jobs: int, executor: Executor | None) -> Iterator[Callable[[Part], Maker]]:
    """What begins to make a part: in this process when it is needed, or at once in one of `jobs` processes."""
    if executor is not None:
        given = executor
        yield lambda part: given.submit(make, part).result
        return
    if jobs == 1:
        yield lambda part: partial(make, part)
        return
    executor = ProcessPoolExecutor(jobs, mp_context=get_context("spawn"), initializer=prepare_worker)
    try:
        yield lambda part: executor.submit(make, part).result
    finally:
        executor.shutdown(wait=True, cancel_futures=True)


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """The content of `corpus.json`; None where there is none.

    Raises:
        DataError: it is damaged, or of a newer format.
    """
    path = folder / MANIFEST
    if not path.is_file():
        return None
    try:
        manifest: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        known = manifest["format"] == FORMAT and {"options", "complete", "shards"} <= set(manifest)
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} is damaged ({error}); remove the folder and make the corpus again") from error
    if not known:
        raise DataError(f"{path} is not of format {FORMAT}; remove the folder and make the corpus again")
    return manifest


def _write_manifest(folder: Path, options: CorpusOptions, shards: list[dict[str, Any]], *, complete: bool) -> None:
    content = {
        "format": FORMAT,
        "options": _plain(options),
        "recipe": graph_recipe(),
        "complete": complete,
        "shards": shards,
    }
    with atomic_path(folder / MANIFEST) as temporary:
        temporary.write_text(json.dumps(content), encoding="utf-8")


def _plain(options: CorpusOptions) -> dict[str, Any]:
    """The options as JSON gives them back."""
    plain: dict[str, Any] = json.loads(json.dumps(asdict(options)))
    return plain
