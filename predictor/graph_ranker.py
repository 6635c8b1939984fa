"""Ranking an unseen pool by graph encoders that learnt to rank many other pools.

Where the features of `PoolRanker` know amounts, message passing knows places: which layer feeds which, at what depth
and resolution. Both err in different pools, so `PoolRanker.scores` adds them up. Every member is a graph encoder with a
linear head, trained by `archcast.predictor.graph_training`; the score of a network is the mean over members of their
scores in units of their spread inside the pool.
"""

from __future__ import annotations

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
    from torch import nn

FloatArray = NDArray[np.float64]
Weights = Mapping[str, NDArray[Any]]

_HEAD: Final = "head."
_CHUNK: Final = 8192  # networks encoded together: enough to share nearly everything, few enough to fit the memory


@dataclass(frozen=True, eq=False)
class GraphRanker:
    """An ensemble of graph encoders with linear heads, as plain data; torch is only imported to use it.

    Attributes:
        encoder: fields of `GraphEncoderConfig`.
        pools: names of the pools the members learnt from.
        members: the weights of each: names of `GraphEncoder`'s, and `head.weight` `[1, dim]`.
    """

    encoder: Mapping[str, Any]
    pools: tuple[str, ...]
    members: tuple[Weights, ...]

    def scores(self, batch: GraphBatch, device: str = "cpu") -> FloatArray:
        """`[m]` scores of the networks of one pool among themselves, of zero mean and unit spread."""
        import torch

        from archcast.encoders.colours import encode_shared
        from archcast.encoders.graph_tensors import GraphTensors

        found = np.empty((len(self.members), len(batch)))
        with torch.inference_mode():
            for start in range(0, len(batch), _CHUNK):
                part = batch if len(batch) <= _CHUNK else batch[start : start + _CHUNK]
                tensors = GraphTensors.of(part, device=device)
                for row, (encoder, head) in zip(found, self._modules, strict=True):
                    embeddings = encode_shared(encoder.to(device), tensors)  # type: ignore[arg-type]
                    row[start : start + len(part)] = head.to(device)(embeddings)[:, 0].double().cpu().numpy()
        return standardised(np.mean([standardised(row) for row in found], axis=0))

    @cached_property
    def _modules(self) -> list[tuple[nn.Module, nn.Module]]:
        """The members as modules in evaluation mode.

        Raises:
            BundleError: the weights do not belong to `encoder`.
        """
        import torch

        from archcast.encoders.gcn import GraphEncoder, GraphEncoderConfig

        made: list[tuple[nn.Module, nn.Module]] = []
        for member in self.members:
            try:
                encoder = GraphEncoder(GraphEncoderConfig(**self.encoder))
                head = torch.nn.Linear(encoder.config.dim, 1, bias=False)
                tensors = {name: torch.from_numpy(np.asarray(value, np.float32)) for name, value in member.items()}
                inner = {name: value for name, value in tensors.items() if not name.startswith(_HEAD)}
                outer = {name[len(_HEAD) :]: value for name, value in tensors.items() if name.startswith(_HEAD)}
                encoder.load_state_dict(inner)
                head.load_state_dict(outer)
            except (RuntimeError, TypeError) as error:
                raise BundleError(
                    f"the graph encoders do not fit their description: {' '.join(str(error).split())[:300]}; "
                    "save or download the bundle again"
                ) from error
            made.append((encoder.eval(), head.eval()))
        return made
