"""Many graphs as tensors: what the graph encoder eats.

Distinct nodes stand once (`kinds` points at them), as in `GraphBatch`; `op` and `numbers` spread them over all nodes.

*Silent* nodes are left out: `Zero`, what only zeros feed, and what reaches no output but through them. They carry no
signal, so networks that differ in nothing else (as thousands of NAS-Bench-201 cells do) become the same graph. A
network without a path from input to output has no nodes at all.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from archcast.encoders.node_paths import NodePaths
from archcast.encoders.node_table import NodeTable
from archcast.errors import GraphError
from archcast.graphs.graph import GraphBatch, IntArray
from archcast.graphs.hashing import input_slots
from archcast.proxies.signed_log import signed_log

_CHUNK = 1024  # graphs per pass over paths: large enough to amortise a level, small enough for the cache


@dataclass(frozen=True, eq=False)
class GraphTensors:
    """G graphs with N nodes that are not silent, D distinct nodes and E edges.

    Attributes:
        nodes: `[N]` int64, the position of each node in `GraphBatch.kinds`.
        distinct_op: `[D]` int64, position in `OPS`.
        distinct_numbers: `[D, F]` float32, columns `NUMBER_NAMES`.
        distinct_text: `[D, T]` float32, `op_text` of each.
        kinds: `[N]` int64, which distinct node each node is.
        edge_index: `[2, E]` int64, sources and targets.
        slot: `[E]` int64, position among the inputs of the target; 0 for ops whose inputs may be swapped.
        graph: `[N]` int64, ascending.
        live: `[N]` float32, 1 on a path from an `Input` to an `Output`, 0 on side branches that start at constants.
        visits: `[N]` float32, probability that a path drawn among all such paths leads through the node.
        depth: `[N, 2]` float32, edges of the longest path that leads to the node, and of the longest from it to an
            output, over the longest of the graph: 0, 1 at the input of a chain, 1, 0 at its output.
        measured: `[N, S]` float32, statistics of the node (`standardised` inside the pool), NaN where not measured; or
            None.
        extra: `[N, X]` float32, further columns; or None.
        size: G.
    """

    nodes: Tensor
    distinct_op: Tensor
    distinct_numbers: Tensor
    distinct_text: Tensor
    kinds: Tensor
    edge_index: Tensor
    slot: Tensor
    graph: Tensor
    live: Tensor
    visits: Tensor
    depth: Tensor
    measured: Tensor | None
    extra: Tensor | None
    size: int

    @classmethod
    def of(
        cls,
        batch: GraphBatch,
        measured: NDArray[np.floating] | None = None,
        extra: NDArray[np.floating] | None = None,
        *,
        device: torch.device | str = "cpu",
        table: NodeTable | None = None,
    ) -> GraphTensors:
        """The tensors of `batch`.

        Args:
            batch: the graphs.
            measured: `[len(batch.kinds), S]` statistics of each node, silent ones too; NaN where not measured.
            extra: `[len(batch.kinds), X]` further columns of each node.
            device: where the tensors go.
            table: `NodeTable.of(batch.nodes)` if it is at hand.

        Raises:
            GraphError: `measured` or `extra` has not one row per node.
        """
        table = table or NodeTable.of(batch.nodes)
        starts = range(0, max(len(batch), 1), _CHUNK)
        parts = [NodePaths.of(batch[start : start + _CHUNK] if len(starts) > 1 else batch) for start in starts]
        audible = np.concatenate([part.audible for part in parts])
        nodes = np.flatnonzero(audible)
        edges = audible[batch.edge_index].all(axis=0)
        arrays = {
            "nodes": nodes, "distinct_op": table.op, "distinct_numbers": table.numbers, "distinct_text": table.text,
            "kinds": batch.kinds[nodes], "edge_index": (np.cumsum(audible) - 1)[batch.edge_index[:, edges]],
            "slot": input_slots(batch)[edges], "graph": batch.graph_of_node[nodes],
            "live": np.concatenate([part.live for part in parts]).astype(np.float32),
            "visits": np.concatenate([part.visits for part in parts]).astype(np.float32),
            "depth": np.concatenate([part.depth for part in parts]).astype(np.float32),
            "measured": _checked(measured, len(batch.kinds), "measured", nodes),
            "extra": _checked(extra, len(batch.kinds), "extra", nodes),
        }  # fmt: skip
        tensors = {name: None if value is None else torch.from_numpy(value) for name, value in arrays.items()}
        return cls(**tensors, size=len(batch)).to(device)  # type: ignore[arg-type]

    @property
    def op(self) -> Tensor:
        """`[N]` int64, the op of every node."""
        return self.distinct_op[self.kinds]

    @property
    def numbers(self) -> Tensor:
        """`[N, F]` float32, the numbers of every node."""
        return self.distinct_numbers[self.kinds]

    @property
    def device(self) -> torch.device:
        return self.kinds.device

    @cached_property
    def ptr(self) -> Tensor:
        """`[G + 1]` graph g owns the nodes `ptr[g]:ptr[g + 1]`."""
        return _bounds(self.graph, self.size)

    @cached_property
    def edge_ptr(self) -> Tensor:
        """`[G + 1]` graph g owns the edges `edge_ptr[g]:edge_ptr[g + 1]`."""
        return _bounds(self.graph[self.edge_index[1]], self.size)

    def to(self, device: torch.device | str) -> GraphTensors:
        """The same on another device."""
        moved = {name: value.to(device) for name, value in self._tensors().items()}
        return replace(self, **moved)  # type: ignore[arg-type]

    def take(self, indices: Tensor | NDArray[np.integer]) -> GraphTensors:
        """The graphs at `indices`, in that order; they share the distinct nodes. Cheap: no path is walked again."""
        chosen = torch.as_tensor(
            np.asarray(indices) if isinstance(indices, np.ndarray) else indices, device=self.device
        )
        nodes, counts = _ragged(self.ptr, chosen)
        edges, edge_counts = _ragged(self.edge_ptr, chosen)
        shift = torch.cumsum(counts, 0) - counts - self.ptr[chosen]
        per_node = {"nodes", "kinds", "live", "visits", "depth", "measured", "extra"}
        rows = {name: value[nodes] for name, value in self._tensors().items() if name in per_node}
        return replace(
            self,
            **rows,
            edge_index=self.edge_index[:, edges] + torch.repeat_interleave(shift, edge_counts),
            slot=self.slot[edges],
            graph=torch.repeat_interleave(torch.arange(len(chosen), device=self.device), counts),
            size=len(chosen),
        )

    def _tensors(self) -> dict[str, Tensor]:
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in values.items() if isinstance(value, Tensor)}


def standardised(measured: NDArray[np.floating]) -> NDArray[np.float32]:
    """Measured statistics of all nodes of a pool, made comparable: signed logarithm, then mean 0 and deviation 1.

        sign(x) log(1 + |x| / q),   q = the 5 % quantile of |x| among what is neither 0 nor missing

    Args:
        measured: `[N, S]`, NaN where not measured; infinite values count as not measured.

    Returns:
        `[N, S]` float32 within -6..6; a constant column is 0 where measured.
    """
    values = np.where(np.isfinite(measured), measured, np.nan).astype(np.float64)
    result = np.full(values.shape, np.nan, np.float32)
    for column, raw in enumerate(values.T):
        known = ~np.isnan(raw)
        size = np.abs(raw[known & (raw != 0)])
        if not known.any():
            continue
        unit = np.quantile(size, 0.05) if len(size) else 1.0
        logs = signed_log(raw[known], unit)
        spread = logs.std()
        scaled = (logs - logs.mean()) / spread if spread > 1e-9 else np.zeros_like(logs)
        result[known, column] = np.clip(scaled, -6, 6)
    return result


def _checked(values: NDArray[np.floating] | None, count: int, name: str, nodes: IntArray) -> NDArray[np.float32] | None:
    """The rows of `nodes`, of an array that must have one per node of the batch."""
    if values is None:
        return None
    if values.ndim != 2 or len(values) != count:
        raise GraphError(f"{name} has shape {values.shape}; give one row per node of the batch: ({count}, columns)")
    return np.ascontiguousarray(values[nodes], dtype=np.float32)


def _bounds(owner: Tensor, size: int) -> Tensor:
    """`[size + 1]` where the rows of each owner begin; `owner` is ascending."""
    return torch.searchsorted(owner, torch.arange(size + 1, device=owner.device))


def _ragged(ptr: Tensor, chosen: Tensor) -> tuple[Tensor, Tensor]:
    """Positions of the rows of `chosen` owners, one owner after another, and how many each has."""
    counts = ptr[chosen + 1] - ptr[chosen]
    shift = torch.repeat_interleave(ptr[chosen] - torch.cumsum(counts, 0) + counts, counts)
    return torch.arange(len(shift), device=ptr.device) + shift, counts
