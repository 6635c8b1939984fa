"""Ranking an unseen pool by graph encoders that learnt to rank many other pools.

Where the features of `PoolRanker` know amounts, message passing knows places: which layer feeds which, at what depth
and resolution. Both err in different pools, so `PoolRanker.scores` adds them up. Every member is a graph encoder with a
linear head, or one for each fuzzy cluster of embeddings (`archcast.predictor.fuzzy_heads`), trained by
`archcast.predictor.graph_training`; the score of a network is the mean over members of their scores in units of their
spread inside the pool.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from archcast.errors import BundleError
from archcast.graphs.graph import GraphBatch
from archcast.predictor.calibration import standardised

if TYPE_CHECKING:
    from torch import Tensor, nn

FloatArray = NDArray[np.float64]
Weights = Mapping[str, NDArray[Any]]

HEAD: Final = "head."
"""What the names of a head's arrays begin with."""

_CHUNK: Final = 8192  # networks encoded together: enough to share nearly everything, few enough to fit the memory


@dataclass(frozen=True, eq=False)
class EncoderRanker(ABC):
    """An ensemble of encoders with heads, as plain data; torch is only imported to use it.

    Attributes:
        encoder: fields of the encoder's config.
        pools: names of the pools the members learnt from.
        members: the weights of each: names of the encoder's, and `head.weight` `[1, dim]`. With K clusters
            `head.weight` is `[K, dim]`, and the clusters are `head.centres` and so on.
    """

    encoder: Mapping[str, Any]
    pools: tuple[str, ...]
    members: tuple[Weights, ...]

    @abstractmethod
    def build(self) -> tuple[nn.Module, int]:
        """An encoder as `encoder` says, with weights of any value, and the length of its embeddings."""

    @abstractmethod
    def read(self, batch: GraphBatch, device: str) -> Any:
        """The networks as `embed` takes them."""

    @abstractmethod
    def embed(self, encoder: nn.Module, given: Any) -> Tensor:
        """`[m, dim]` embeddings of what was read."""

    def scores(self, batch: GraphBatch, device: str = "cpu") -> FloatArray:
        """`[m]` scores of the networks of one pool among themselves, of zero mean and unit spread."""
        import torch

        found = np.empty((len(self.members), len(batch)))
        with torch.inference_mode():
            for start in range(0, len(batch), _CHUNK):
                part = batch if len(batch) <= _CHUNK else batch[start : start + _CHUNK]
                given = self.read(part, device)
                for row, (encoder, head) in zip(found, self._modules, strict=True):
                    embeddings = self.embed(encoder.to(device), given)
                    row[start : start + len(part)] = head.to(device)(embeddings)[:, 0].double().cpu().numpy()
        return standardised(np.mean([standardised(row) for row in found], axis=0))

    @cached_property
    def _modules(self) -> list[tuple[nn.Module, nn.Module]]:
        """The members as modules in evaluation mode.

        Raises:
            BundleError: the weights do not belong to `encoder`.
        """
        import torch

        from archcast.predictor.fuzzy_heads import head_from_arrays

        made: list[tuple[nn.Module, nn.Module]] = []
        for member in self.members:
            inner = {name: array for name, array in member.items() if not name.startswith(HEAD)}
            outer = {name[len(HEAD) :]: array for name, array in member.items() if name.startswith(HEAD)}
            try:
                encoder, dim = self.build()
                encoder.load_state_dict(
                    {name: torch.from_numpy(np.asarray(value, np.float32)) for name, value in inner.items()}
                )
                head = head_from_arrays(outer, dim)
            except (RuntimeError, TypeError) as error:
                raise BundleError(
                    f"the encoders do not fit their description: {' '.join(str(error).split())[:300]}; "
                    "save or download the bundle again"
                ) from error
            made.append((encoder.eval(), head.eval()))
        return made


@dataclass(frozen=True, eq=False)
class GraphRanker(EncoderRanker):
    """An ensemble of graph encoders; `encoder` holds the fields of `GraphEncoderConfig`."""

    def build(self) -> tuple[nn.Module, int]:
        from archcast.encoders.gcn import GraphEncoder, GraphEncoderConfig

        encoder = GraphEncoder(GraphEncoderConfig(**self.encoder))
        return encoder, encoder.config.dim

    def read(self, batch: GraphBatch, device: str) -> Any:
        from archcast.encoders.graph_tensors import GraphTensors

        return GraphTensors.of(batch, device=device)

    def embed(self, encoder: nn.Module, given: Any) -> Tensor:
        from archcast.encoders.colours import encode_shared

        return encode_shared(encoder, given)  # type: ignore[arg-type]
