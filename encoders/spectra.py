"""Laplacian spectra: how alike two graphs are wired, whatever their operations.

The normalised Laplacian of the graph without edge directions, parallel edges counted once, is

    L = I - D^(-1/2) A D^(-1/2)     (a node without edges has a zero row)

Its eigenvalues lie in [0, 2]; the smallest tell the coarse shape of the graph (as many zeros as it has separate parts).
GENNAPE (Mills et al., AAAI 2023) calls graphs similar whose 21 smallest eigenvalues are close, Han et al. (SDM 2023)
take 11.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from archcast.errors import ConfigError
from archcast.graphs.graph import GraphBatch, IntArray

FloatArray = NDArray[np.float64]

EIGENVALUES: Final = 21
"""How many eigenvalues GENNAPE compares."""

LARGEST: Final = 2.0
"""No normalised Laplacian has a larger eigenvalue; stands in where a graph has fewer nodes than that."""

_PADDING: Final = 3.0  # eigenvalue of padded rows: above all real ones, so that it is sorted behind them
_DENSE: Final = 384  # nodes up to which a dense solver is the faster one
_NUMBERS: Final = 1 << 23  # matrix entries solved in one call
_ROUNDING: Final = 32  # padded sizes are multiples of this


def laplacian_spectra(batch: GraphBatch, eigenvalues: int = EIGENVALUES) -> NDArray[np.float32]:
    """`[G, eigenvalues]` smallest eigenvalues of each graph's normalised Laplacian, in ascending order.

    Graphs wired alike are solved once. Graphs with fewer nodes than `eigenvalues` are filled up with 2.

    Raises:
        ConfigError: fewer than one eigenvalue is asked for.
    """
    if eigenvalues < 1:
        raise ConfigError(f"eigenvalues={eigenvalues}: ask for at least 1")
    wirings, which = _distinct_wirings(batch)
    result = np.full((len(wirings), eigenvalues), LARGEST)
    sizes = np.asarray([size for size, _ in wirings], dtype=np.int64)
    order = np.argsort(sizes, kind="stable")
    start = 0
    while start < len(order):
        width = -(-int(sizes[order[start]]) // _ROUNDING) * _ROUNDING
        if width > _DENSE:
            break
        stop = int(np.searchsorted(sizes[order], width, side="right"))
        stop = min(stop, start + max(1, _NUMBERS // max(width, 1) ** 2))
        rows = order[start:stop]
        values = _dense([wirings[row] for row in rows.tolist()], width)[:, :eigenvalues]
        result[rows, : values.shape[1]] = np.where(values > (LARGEST + _PADDING) / 2, LARGEST, values)
        start = stop
    for row in order[start:].tolist():
        size, edges = wirings[row]
        values = _banded(size, edges, eigenvalues)
        result[row, : len(values)] = values
    spectra: NDArray[np.float32] = np.clip(result, 0, LARGEST).astype(np.float32)[which]
    return spectra


Wiring = tuple[int, IntArray]  # number of nodes; [2, E] undirected edges, each once, smaller end first


def _distinct_wirings(batch: GraphBatch) -> tuple[list[Wiring], IntArray]:
    """The different wirings of a batch, and for each graph which one it has."""
    known: dict[tuple[int, bytes], int] = {}
    wirings: list[Wiring] = []
    which = np.zeros(len(batch), dtype=np.int64)
    relative = batch.edge_index - np.repeat(batch.ptr[:-1], np.diff(batch.edge_ptr))
    flat = np.ascontiguousarray(relative.T)
    for position in range(len(batch)):
        size = int(batch.ptr[position + 1] - batch.ptr[position])
        edges = flat[batch.edge_ptr[position] : batch.edge_ptr[position + 1]]
        number = known.setdefault((size, edges.tobytes()), len(wirings))
        if number == len(wirings):
            wirings.append((size, np.unique(edges, axis=0).T))  # edges point forward: the smaller end is first already
        which[position] = number
    return wirings, which


def _scale(size: int, edges: IntArray) -> tuple[FloatArray, FloatArray]:
    """The diagonal of the Laplacian and the entry of each edge."""
    degree = np.bincount(edges.ravel(), minlength=size)
    root = 1 / np.sqrt(np.maximum(degree, 1))
    return (degree > 0).astype(np.float64), -root[edges[0]] * root[edges[1]]


def _dense(wirings: list[Wiring], width: int) -> FloatArray:
    """`[len(wirings), width]` all eigenvalues of graphs padded to `width` nodes."""
    matrices = np.zeros((len(wirings), width, width))
    for matrix, (size, edges) in zip(matrices, wirings, strict=True):
        diagonal, entries = _scale(size, edges)
        matrix.ravel()[:: width + 1] = np.concatenate([diagonal, np.full(width - size, _PADDING)])
        matrix[edges[1], edges[0]] = entries  # eigvalsh reads the lower triangle
    return np.asarray(np.linalg.eigvalsh(matrices))


def _banded(size: int, edges: IntArray, eigenvalues: int) -> FloatArray:
    """Smallest eigenvalues of one large graph: networks are long and thin, renumbered their matrix is a narrow band."""
    from scipy.linalg import eig_banded
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import reverse_cuthill_mckee

    diagonal, entries = _scale(size, edges)
    both = np.concatenate([edges, edges[::-1]], axis=1)
    order = reverse_cuthill_mckee(csr_array((np.ones(both.shape[1]), tuple(both)), shape=(size, size)), True)
    rank = np.empty(size, dtype=np.int64)
    rank[order] = np.arange(size)
    ends = np.sort(rank[edges], axis=0)
    offset = ends[1] - ends[0]
    band = np.zeros((int(offset.max(initial=0)) + 1, size))
    band[0] = diagonal[order]
    band[offset, ends[0]] = entries
    last = min(eigenvalues, size) - 1
    return np.asarray(eig_banded(band, lower=True, eigvals_only=True, select="i", select_range=(0, last)))
