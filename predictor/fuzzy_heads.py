"""One linear head for each fuzzy cluster of embeddings, as GENNAPE adds up its heads (Mills et al., AAAI 2023).

    score(e) = sum over clusters k of u_k(e) <w_k, e>,   u(e) the memberships of e (`archcast.encoders.fuzzy`)

The heads start as copies of the one that was trained without clusters. Memberships sum to 1, so that splitting a head
changes no score; training then moves them apart. Memberships pass no gradient on: they say where a network lies.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from archcast.encoders.fuzzy import FuzzyClusters


class FuzzyHeads(nn.Module):
    """`[G, dim]` embeddings -> `[G, 1]` scores.

    Args:
        clusters: of embeddings, with centres `[K, dim]`.
        weight: `[1, dim]` of the head that all start from.
    """

    def __init__(self, clusters: FuzzyClusters, weight: Tensor) -> None:
        super().__init__()
        self.clusters = clusters
        self.weight = nn.Parameter(weight.detach().repeat(len(clusters), 1))

    def forward(self, embeddings: Tensor) -> Tensor:
        shares = self.clusters.torch_memberships(embeddings.detach())
        return (shares * (embeddings @ self.weight.T)).sum(dim=1, keepdim=True)


def head_arrays(head: nn.Module) -> dict[str, NDArray[Any]]:
    """A head as arrays: `weight`, and what `FuzzyClusters.to_arrays` gives if it has clusters."""
    arrays = {name: value.detach().cpu().numpy() for name, value in head.state_dict().items()}
    return {**arrays, **head.clusters.to_arrays()} if isinstance(head, FuzzyHeads) else arrays


def head_from_arrays(arrays: Mapping[str, NDArray[Any]], dim: int) -> nn.Module:
    """What `head_arrays` gave, for embeddings of length `dim`.

    Raises:
        BundleError: the arrays of the clusters are damaged.
        RuntimeError: the weights have another shape or name.
    """
    head: nn.Module = nn.Linear(dim, 1, bias=False)
    if "centres" in arrays:
        clusters = FuzzyClusters.from_arrays(arrays)
        head = FuzzyHeads(clusters, torch.zeros(1, clusters.centres.shape[1]))
        arrays = {name: array for name, array in arrays.items() if name not in clusters.to_arrays()}
        if clusters.centres.shape[1] != dim:
            raise RuntimeError(f"centres of length {clusters.centres.shape[1]} for embeddings of length {dim}")
    head.load_state_dict({name: torch.from_numpy(array.astype("float32")) for name, array in arrays.items()})
    return head
