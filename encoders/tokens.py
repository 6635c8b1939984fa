"""`Tokenizer`: networks as sequences of tokens, short enough for a small transformer to read.

The sequence follows the text of a graph (`archcast.graphs.text`): nodes in topological order, every attribute kept,
`prev` meant where nothing else is said. A node is

    op { input } { attribute } { length of the output's shape }

- *Inputs* are said unless the node reads the one before it and nothing else: `^3` is made three nodes before. From four
  inputs on each input after the first is said by its step from the last one, so that the long concatenations of dense
  networks repeat themselves.
- *Attributes* are said unless they are what one would expect: no bias, stride, dilation and groups of 1, padding that
  keeps the size, and sizes that the shapes before and after tell. Tuples of equal numbers are said once.
- *Shapes* are said where they differ from the first input's, and only the axes that do.
- *Parameters, MACs and elements* stand beside the op as numbers (see `token_vocabulary`).

Nodes that repeat as a block follow as `repeat=k block [END]` (`archcast.encoders.repetitions`); `Tokenizer.expand`
undoes it. A network that is still longer than `max_length` is told in less detail, and says so in its second token:

1. `detail=1`: no shapes, at most two inputs of each node;
2. `detail=2`: only ops with their numbers;
3. `detail=2` with `[CUT]`: the nodes in the middle are left out; how many is the number beside the token.

Each distinct node is tokenised once, and so is each distinct network: they share their tokens in `Texts`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from math import log2
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from archcast.encoders.node_tokens import NodeWriter, TokenWithSizes
from archcast.encoders.repetitions import END, LARGEST_COUNT, compress, mixed, repeated
from archcast.encoders.token_vocabulary import Vocabulary
from archcast.errors import ConfigError, DataError
from archcast.graphs.graph import ComputationGraph, GraphBatch, Node, Shape

IntArray = NDArray[np.int64]

MAX_LENGTH: Final = 2048
"""Of 66 known networks 55 stay below 1,024 tokens and 64 below this (benchmarks/text_lengths.py)."""
SIZES: Final = 3
_LEVELS: Final = 3
_SHORTEST: Final = 16
_NODES_AT_ONCE: Final = 16_384  # what the search for repetitions holds in memory at a time
_REPEATED_STEPS: Final = 4  # equal steps worth a repetition


@dataclass(frozen=True, eq=False)
class Texts:
    """Networks as tokens; equal ones share a row.

    Attributes:
        ids: `[T]` tokens of all rows, one row after another.
        sizes: `[T, 3]` the numbers beside them, logarithms to base 2.
        ptr: `[R + 1]` row r owns the tokens `ptr[r]:ptr[r + 1]`.
        row_of: `[G]` the row of each network.
        written_out: `[G]` tokens in full detail before repetitions were folded.
        detail: `[R]` 0 for all, 1 without shapes, 2 for ops alone.
        left_out: `[R]` nodes left out of the middle.
    """

    ids: IntArray
    sizes: NDArray[np.float32]
    ptr: IntArray
    row_of: IntArray
    written_out: IntArray
    detail: IntArray
    left_out: IntArray

    def __len__(self) -> int:
        return len(self.row_of)

    @property
    def row_lengths(self) -> IntArray:
        """`[R]` tokens of each row."""
        return np.diff(self.ptr)

    @property
    def lengths(self) -> IntArray:
        """`[G]` tokens of each network."""
        return self.row_lengths[self.row_of]

    def row(self, row: int) -> tuple[IntArray, NDArray[np.float32]]:
        """Tokens `[L]` and numbers `[L, 3]` of a row."""
        part = slice(self.ptr[row], self.ptr[row + 1])
        return self.ids[part], self.sizes[part]

    @property
    def notes(self) -> dict[int, str]:
        """What was left out, for each network that did not fit."""
        return {network: self._note(network) for network in np.flatnonzero(self.detail[self.row_of]).tolist()}

    def _note(self, network: int) -> str:
        row, written = self.row_of[network], f"{self.written_out[network]:,} tokens written out do not fit"
        if self.left_out[row]:
            return f"{written}: ops only, {self.left_out[row]:,} nodes in the middle left out"
        return f"{written}: {'ops only' if self.detail[row] == 2 else 'shapes and further inputs left out'}"


class Tokenizer:
    """Turns graphs into tokens.

    Args:
        vocabulary: the tokens; the built-in ones by default.
        max_length: longest sequence it makes, at least 16.
        fold: whether repeated blocks are written once.

    Raises:
        ConfigError: `max_length` is too small to say anything.
    """

    def __init__(
        self, vocabulary: Vocabulary | None = None, max_length: int = MAX_LENGTH, *, fold: bool = True
    ) -> None:
        if max_length < _SHORTEST:
            raise ConfigError(f"max_length is {max_length}; a text needs at least {_SHORTEST} tokens")
        self.vocabulary = vocabulary or Vocabulary()
        self.max_length = max_length
        self.fold = fold

    def encode(self, graphs: ComputationGraph | Iterable[ComputationGraph]) -> Texts:
        """The tokens of each graph; a `GraphBatch` is taken as it is."""
        batch = _batch(graphs)
        waiting, parts = np.arange(len(batch)), []
        written_out = np.zeros(len(batch), dtype=np.int64)
        for detail in range(_LEVELS):
            made = _Pass(self, batch.take(waiting), detail).texts()
            if detail == 0:
                written_out = made.written_out
            fits = made.row_lengths <= self.max_length
            parts.append((waiting[fits[made.row_of]], made, fits))
            waiting = waiting[~fits[made.row_of]]
            if not len(waiting):
                return _joined(written_out, parts)
        made = _Pass(self, batch.take(waiting), _LEVELS - 1).cut()
        parts.append((waiting, made, np.ones(len(made.ptr) - 1, dtype=bool)))
        return _joined(written_out, parts)

    def names(self, ids: IntArray) -> list[str]:
        """Names of tokens, for people."""
        return [self.vocabulary.tokens[token].name for token in ids.tolist()]

    def expand(self, ids: IntArray, sizes: NDArray[np.float32]) -> tuple[IntArray, NDArray[np.float32]]:
        """The tokens with every repeated block written out.

        Raises:
            DataError: a block is not closed, or closed without being open.
        """
        index = self.vocabulary.index
        counts = {index[f"repeat={count}"]: count for count in range(2, LARGEST_COUNT + 1)}
        stack: list[tuple[int, list[int]]] = [(1, [])]
        for position, token in enumerate(ids.tolist()):
            if token in counts:
                stack.append((counts[token], []))
            elif token == index["[END]"] and len(stack) > 1:
                count, block = stack.pop()
                stack[-1][1].extend(block * count)
            elif token == index["[END]"]:
                raise DataError(f"token {position} closes a block that was never opened; give a whole text")
            else:
                stack[-1][1].append(position)
        if len(stack) > 1:
            raise DataError("a repeated block is not closed; give a whole text")
        positions = np.asarray(stack[0][1], dtype=np.int64)
        return ids[positions], sizes[positions]


def _batch(graphs: ComputationGraph | Iterable[ComputationGraph]) -> GraphBatch:
    if isinstance(graphs, GraphBatch):
        return graphs
    return GraphBatch.from_graphs([graphs] if isinstance(graphs, ComputationGraph) else graphs)


def _joined(written_out: IntArray, parts: Sequence[tuple[IntArray, Texts, NDArray[np.bool_]]]) -> Texts:
    """The kept rows of several passes as one; `parts` holds the networks that each pass settled."""
    row_of, rows = np.zeros(len(written_out), dtype=np.int64), 0
    columns: list[list[NDArray[Any]]] = [[], [], [], [], []]
    for networks, texts, fits in parts:
        place = np.cumsum(fits) - 1 + rows
        kept = texts.row_of[fits[texts.row_of]]
        row_of[networks] = place[kept]
        rows += int(fits.sum())
        owned = np.repeat(fits, texts.row_lengths)
        values: tuple[NDArray[Any], ...] = (
            texts.ids[owned],
            texts.sizes[owned],
            texts.row_lengths[fits],
            texts.detail[fits],
            texts.left_out[fits],
        )
        for column, value in zip(columns, values, strict=True):
            column.append(value)
    ids, sizes, lengths, detail, left_out = (np.concatenate(column) for column in columns)
    ptr = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return Texts(ids, sizes, ptr, row_of, written_out, detail, left_out)


class _Pass:
    """One batch told in one level of detail.

    Args:
        tokenizer: whose vocabulary, longest sequence and folding to use.
        batch: the networks.
        detail: the level.
    """

    def __init__(self, tokenizer: Tokenizer, batch: GraphBatch, detail: int) -> None:
        self.tokenizer, self.batch, self.detail = tokenizer, batch, detail
        self.index = tokenizer.vocabulary.index
        writer = NodeWriter(tokenizer.vocabulary, detail)
        example, symbols = _distinct(batch)
        chunks: dict[tuple[TokenWithSizes, ...], int] = {}
        same = [chunks.setdefault(tuple(writer.write(*node)), len(chunks)) for node in _examples(batch, example)]
        self.symbols = np.asarray(same, dtype=np.int64)[symbols]
        spoken = np.asarray([len(chunk) for chunk in chunks], dtype=np.int64)[self.symbols]
        self.written_out = batch.sum_per_graph(spoken) + 1
        self.chunks = [_fold(chunk, self.index) if tokenizer.fold else list(chunk) for chunk in chunks]
        # After the nodes come the symbols of `repetitions` (END, then -2, -3 ...), the head of a text, and the cut.
        self.special = len(self.chunks)
        self.chunks.append(_plain(self.index["[END]"]))
        self.chunks += [[(self.index[f"repeat={k}"], log2(k), 0.0, 0.0)] for k in range(2, LARGEST_COUNT + 1)]
        self.head, self.cut_mark = len(self.chunks), len(self.chunks) + 1
        self.chunks.append(_plain(self.index["[CLS]"]) + (_plain(self.index[f"detail={detail}"]) if detail else []))
        self.chunks.append(_plain(self.index["[CUT]"]))
        self.lengths = np.asarray([len(chunk) for chunk in self.chunks], dtype=np.int64)

    def texts(self) -> Texts:
        rows, row_of = self._rows()
        if not self.tokenizer.fold:
            programs = [self._symbols(network).tolist() for network in rows]
        else:
            programs = []
            for group in self._groups(rows):
                sequences = [self._symbols(network) for network in group]
                ptr = np.cumsum([0, *map(len, sequences)])
                symbols = np.concatenate(sequences)
                programs += compress(symbols, ptr, self.lengths[symbols])
        return self._made(rows, row_of, programs, np.zeros(len(rows), dtype=np.int64))

    def cut(self) -> Texts:
        """Head and tail of each network, one token a node (the last level of detail)."""
        rows, row_of = self._rows()
        kept = (self.tokenizer.max_length - 3) // 2
        programs, left_out = [], []
        for network in rows:
            symbols = self._symbols(network).tolist()
            programs.append([*symbols[:kept], self.cut_mark, *symbols[-kept:]])
            left_out.append(len(symbols) - 2 * kept)
        made = self._made(rows, row_of, programs, np.asarray(left_out, dtype=np.int64))
        made.sizes[made.ids == self.index["[CUT]"], 0] = np.log2(1 + made.left_out)
        return made

    def _groups(self, networks: list[int]) -> Iterator[list[int]]:
        """Neighbours, as many as fit into memory together."""
        group: list[int] = []
        nodes = 0
        for network in networks:
            group.append(network)
            nodes += len(self._symbols(network))
            if nodes > _NODES_AT_ONCE:
                yield group
                group, nodes = [], 0
        if group:
            yield group

    def _symbols(self, network: int) -> IntArray:
        return self.symbols[self.batch.ptr[network] : self.batch.ptr[network + 1]]

    def _rows(self) -> tuple[list[int], IntArray]:
        """The first of all networks with the same symbols, and for each network its row."""
        seen: dict[tuple[bytes, int], int] = {}
        rows: list[int] = []
        row_of = np.zeros(len(self.batch), dtype=np.int64)
        for network, unused in enumerate(self.batch.unused_params.tolist()):
            key = (self._symbols(network).tobytes(), unused)
            row_of[network] = seen.setdefault(key, len(rows))
            if row_of[network] == len(rows):
                rows.append(network)
        return rows, row_of

    def _made(self, rows: list[int], row_of: IntArray, programs: list[list[int]], left_out: IntArray) -> Texts:
        """Symbols spelt out as tokens."""
        flat = np.asarray([symbol for program in programs for symbol in (self.head, *program)], dtype=np.int64)
        flat = np.where(flat < 0, self.special - flat - 1, flat)
        table = np.asarray([token for chunk in self.chunks for token in chunk], dtype=np.float64).reshape(-1, 1 + SIZES)
        begin = np.cumsum(self.lengths) - self.lengths
        length = self.lengths[flat]
        after = np.concatenate([[0], np.cumsum(length)])
        position = np.arange(after[-1]) + np.repeat(begin[flat] - after[:-1], length)
        symbols_before = np.cumsum([0, *(len(program) + 1 for program in programs)])
        ptr = after[symbols_before].astype(np.int64)
        sizes = table[position, 1:].astype(np.float32)
        sizes[ptr[:-1], 0] = np.log2(1.0 + self.batch.unused_params[rows])
        detail = np.full(len(rows), self.detail, dtype=np.int64)
        return Texts(table[position, 0].astype(np.int64), sizes, ptr, row_of, self.written_out, detail, left_out)


def _distinct(batch: GraphBatch) -> tuple[IntArray, IntArray]:
    """Nodes told by themselves, the shape of their first input and the distances of their inputs.

    Returns:
        the position of one node of each sort, and `[N]` the sort of every node.
    """
    shapes: dict[Shape, int] = {}
    shape_of_kind = np.asarray([shapes.setdefault(node.shape, len(shapes)) for node in batch.nodes], dtype=np.int64)
    source, target, begin = _edges(batch)
    degree = np.bincount(target, minlength=len(batch.kinds))
    fed = np.flatnonzero(degree)
    before = np.full(len(batch.kinds), -1, dtype=np.int64)
    before[fed] = shape_of_kind[batch.kinds[source[begin[fed]]]]
    slot = np.arange(len(target)) - begin[target]
    inputs = np.zeros(len(batch.kinds), dtype=np.uint64)
    if len(fed):
        inputs[fed] = np.add.reduceat(mixed((target - source) * 65_537 + slot), begin[fed])
    key = inputs * np.uint64(3) + mixed(batch.kinds * 2 + 1) * np.uint64(5) + mixed(before * 2) * np.uint64(7)
    first_of_graph = np.zeros(len(batch.kinds), dtype=bool)
    first_of_graph[batch.ptr[:-1][np.diff(batch.ptr) > 0]] = True
    key[first_of_graph] ^= np.uint64(1)  # the first node has no node before it that it could be meant to read
    _, example, sort = np.unique(key, return_index=True, return_inverse=True)
    return example, sort


def _edges(batch: GraphBatch) -> tuple[IntArray, IntArray, IntArray]:
    """Sources and targets sorted by target, and `[N]` where the edges of each target begin."""
    source, target = batch.edge_index
    if np.any(np.diff(target) < 0):
        order = np.argsort(target, kind="stable")
        source, target = source[order], target[order]
    return source, target, np.searchsorted(target, np.arange(len(batch.kinds)))


def _examples(batch: GraphBatch, example: IntArray) -> Iterator[tuple[Node, Shape | None, tuple[int, ...] | None]]:
    """For each sort a node, the shape of its first input and the distances of its inputs, as `NodeWriter` asks."""
    source, target, begin = _edges(batch)
    starts = set(batch.ptr[:-1].tolist())
    for position in example.tolist():
        stop = begin[position] + int(np.searchsorted(target[begin[position] :], position, side="right"))
        inputs = source[begin[position] : stop].tolist()
        before = batch.nodes[batch.kinds[inputs[0]]].shape if inputs else None
        distances = tuple(position - made for made in inputs)
        expected = distances == (1,) or (not inputs and position in starts)
        yield batch.nodes[batch.kinds[position]], before, None if expected else distances


def _plain(token: int) -> list[TokenWithSizes]:
    return [(token, 0.0, 0.0, 0.0)]


def _fold(chunk: tuple[TokenWithSizes, ...], index: dict[str, int]) -> list[TokenWithSizes]:
    """Equal tokens in a row inside one node (steps between inputs) as a repetition."""
    folded: list[TokenWithSizes] = []
    for token, equal in groupby(chunk):
        count = len(list(equal))
        if count < _REPEATED_STEPS:
            folded += [token] * count
            continue
        for symbol in repeated([0], count):
            if symbol == 0:
                folded.append(token)
            else:
                size = 0.0 if symbol == END else log2(-symbol)
                folded.append((index["[END]" if symbol == END else f"repeat={-symbol}"], size, 0.0, 0.0))
    return folded
