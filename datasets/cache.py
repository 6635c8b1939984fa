"""The graph cache: stamped graphs and their features, kept between runs.

Each entry is one Arrow IPC file in `ARCHCAST_HOME/graphs`, named by a hash of what it was made from and opened by
memory map. The file carries the fingerprint of the recipe (archcast version and the sources that make the content);
where it differs, or the file is damaged, the entry is made anew and a warning is logged.

The cache is a convenience: if its folder is full or read-only, one `RuntimeWarning` says so and the work goes on
without it. With `required=True` the same is a `StorageError`.
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import warnings
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from archcast import __version__
from archcast.datasets.arrow_arrays import Arrays, narrow, read_arrays, write_arrays
from archcast.datasets.atomic import storage_error
from archcast.datasets.home import home_folder
from archcast.errors import ArchcastError, DataError, StorageError
from archcast.graphs import vocabulary
from archcast.graphs.graph import GraphBatch, IntArray, Node

FORMAT = 1
"""Raised whenever the layout of the files changes."""

_logger = logging.getLogger(__name__)
T = TypeVar("T")

_unwritable: set[Path] = set()  # folders already warned about


class GraphCache:
    """Graphs and matrices by key.

    Args:
        folder: where the files are; `ARCHCAST_HOME/graphs` when left out.
        required: raise `StorageError` instead of warning when an entry cannot be written.

    Examples:
        >>> cache = GraphCache()
        >>> key = content_key("nasbench201", *specs)
        >>> graphs = cache.graphs(key, lambda: space.stamp(specs))
        >>> features = cache.matrix(key, "features", lambda: encode(graphs), recipe=encoder_fingerprint)
    """

    def __init__(self, folder: str | Path | None = None, *, required: bool = False) -> None:
        self.folder = home_folder() / "graphs" if folder is None else Path(folder).expanduser()
        self.required = required

    def get(self, key: str) -> GraphBatch | None:
        """The graphs under `key`; None where there are none, or damaged or outdated ones."""
        return self._read(self._path(key), graph_recipe(), unpack_graphs)

    def put(self, key: str, graphs: GraphBatch) -> bool:
        """Keep graphs under `key`; False where that was not possible."""
        arrays, texts = pack_graphs(graphs)
        return self._write(self._path(key), graph_recipe(), arrays, texts)

    def graphs(self, key: str, build: Callable[[], GraphBatch]) -> GraphBatch:
        """The graphs under `key`, made by `build` and kept where the cache has none."""
        graphs = self.get(key)
        if graphs is None:
            graphs = build()
            self.put(key, graphs)
        return graphs

    def get_matrix(self, key: str, name: str, *, recipe: str) -> NDArray[Any] | None:
        """The array `name` (a read-only view of the mapped file) that `recipe` made for the graphs under `key`."""
        return self._read(self._path(key, name), recipe, lambda arrays, _texts: arrays["values"])

    def put_matrix(self, key: str, name: str, values: NDArray[Any], *, recipe: str) -> bool:
        """Keep an array under `key` and `name`; False where that was not possible."""
        return self._write(self._path(key, name), recipe, {"values": values}, {})

    def matrix(self, key: str, name: str, build: Callable[[], NDArray[Any]], *, recipe: str) -> NDArray[Any]:
        """The array under `key` and `name`, made by `build` and kept where the cache has none."""
        values = self.get_matrix(key, name, recipe=recipe)
        if values is None:
            values = build()
            self.put_matrix(key, name, values, recipe=recipe)
        return values

    @property
    def size(self) -> int:
        """Bytes that the cache takes on disk."""
        return sum(path.stat().st_size for path in self.folder.glob("*.arrow"))

    def clear(self) -> None:
        """Remove every entry.

        Raises:
            StorageError: the folder cannot be removed.
        """
        if self.folder.exists():
            try:
                shutil.rmtree(self.folder)
            except OSError as error:
                raise storage_error(self.folder, error) from error

    def _path(self, key: str, name: str = "graphs") -> Path:
        return self.folder / f"{key}-{name}.arrow"

    def _read(self, path: Path, recipe: str, unpack: Callable[[Arrays, dict[str, list[str]]], T]) -> T | None:
        if not path.is_file():
            return None
        try:
            arrays, texts, metadata = read_arrays(path)
            if metadata.get("recipe") != recipe:
                _logger.warning("cache entry %s was made by another version of archcast: it is made anew", path.name)
                return None
            return unpack(arrays, texts)
        except (ArchcastError, KeyError, IndexError, ValueError, TypeError) as error:
            _logger.warning("cache entry %s is damaged (%s): it is made anew", path.name, error)
            return None

    def _write(self, path: Path, recipe: str, arrays: Arrays, texts: dict[str, list[str]]) -> bool:
        try:
            write_arrays(path, arrays, texts, {"recipe": recipe})
        except StorageError as error:
            if self.required:
                raise
            if self.folder not in _unwritable:
                _unwritable.add(self.folder)
                message = f"the graph cache cannot be written, archcast goes on without it: {error}"
                warnings.warn(message, RuntimeWarning, stacklevel=3)
            return False
        return True


def content_key(*parts: str) -> str:
    """32 hexadecimal digits that name what `parts` describe."""
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        text = part.encode()
        digest.update(len(text).to_bytes(8, "little"))
        digest.update(text)
    return digest.hexdigest()


@cache
def graph_recipe() -> str:
    """Fingerprint of everything that decides how a spec becomes a graph and how graphs are stored."""
    folders = (Path(vocabulary.__file__).resolve().parent, Path(__file__).resolve().parent)
    sources = (path for folder in folders for path in sorted(folder.glob("*.py")))
    return source_recipe(path for path in sources if not path.name.startswith("labels"))


def source_recipe(sources: Iterable[Path]) -> str:
    """Fingerprint of the archcast version, the cache format and the text of some source files."""
    texts = [path.read_text(encoding="utf-8") for path in sources]
    return f"{__version__}/{FORMAT}/{content_key(*texts)}"


def pack_graphs(batch: GraphBatch) -> tuple[Arrays, dict[str, list[str]]]:
    """Graphs as small arrays: nodes as JSON, numbers in the narrowest type, each distinct edge list once.

    Edge lists repeat (the 15,625 cells of NAS-Bench-201 have 729 of them), so a graph stores the number of its list.
    Lists hold positions relative to the first node of the graph and stand one behind the other in `edges`.
    """
    start = np.repeat(batch.ptr[:-1], np.diff(batch.edge_ptr))
    relative = np.ascontiguousarray(narrow(batch.edge_index - start).T)
    known: dict[bytes, int] = {}
    lists: list[NDArray[Any]] = []
    numbers: list[int] = []
    for first, last in zip(batch.edge_ptr[:-1], batch.edge_ptr[1:], strict=True):
        edges = relative[first:last]
        content = edges.tobytes()
        if content not in known:
            known[content] = len(lists)
            lists.append(edges)
        numbers.append(known[content])
    edges = np.concatenate(lists) if lists else np.zeros((0, 2), dtype=np.int8)
    arrays = {
        "kinds": narrow(batch.kinds),
        "node_counts": narrow(np.diff(batch.ptr)),
        "edges": np.ascontiguousarray(edges.T),
        "list_sizes": narrow(np.asarray([len(edges) for edges in lists], dtype=np.int64)),
        "edge_list": narrow(np.asarray(numbers, dtype=np.int64)),
        "unused_params": narrow(batch.unused_params),
    }
    return arrays, {"nodes": [_node_text(node) for node in batch.nodes], "names": list(batch.names)}


def unpack_graphs(arrays: Arrays, texts: dict[str, list[str]]) -> GraphBatch:
    """The graphs that `pack_graphs` packed.

    Raises:
        DataError: the arrays contradict each other.
    """
    numbers = arrays["edge_list"].astype(np.int64)
    sizes = arrays["list_sizes"].astype(np.int64)
    ptr, edge_ptr, list_ptr = _offsets(arrays["node_counts"]), _offsets(sizes[numbers]), _offsets(sizes)
    nodes = tuple(_node(text) for text in texts["nodes"])
    kinds = arrays["kinds"].astype(np.int64)
    in_range = not len(kinds) or (kinds.min() >= 0 and kinds.max() < len(nodes))
    if not in_range or len(kinds) != ptr[-1] or arrays["edges"].shape[1] != list_ptr[-1]:
        raise DataError("its arrays contradict each other")
    lists = np.split(arrays["edges"].astype(np.int64), list_ptr[1:-1], axis=1)
    edge_index = np.concatenate([np.zeros((2, 0), np.int64), *(lists[number] for number in numbers.tolist())], axis=1)
    edge_index += np.repeat(ptr[:-1], sizes[numbers])
    return GraphBatch(
        nodes, kinds, edge_index, ptr, edge_ptr, arrays["unused_params"].astype(np.int64), tuple(texts["names"])
    )


def _offsets(sizes: NDArray[Any]) -> IntArray:
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes, dtype=np.int64)])


def _node_text(node: Node) -> str:
    return json.dumps([node.op, dict(node.attributes), node.shape, node.params, node.macs])


def _node(text: str) -> Node:
    op, attributes, shape, params, macs = json.loads(text)
    restored = {name: _tuple_if_list(value) for name, value in attributes.items()}
    return Node(op, restored, shape, params, macs)


def _tuple_if_list(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
