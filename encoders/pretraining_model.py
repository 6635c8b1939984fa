"""Encoders and objectives as one module, so that one pass gives all losses of a step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from archcast.encoders.contrastive import OBJECTIVES, Objective, Views, Widths
from archcast.encoders.gathering import gather_rows
from archcast.errors import ConfigError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from archcast.encoders.pretraining_data import PretrainingData, StepInputs
    from archcast.graphs.graph import GraphBatch

CROSS_MODAL = "cross_modal"


class Reader(nn.Module):
    """An encoder with the way its inputs are made from graphs.

    Attributes:
        width: columns of the embedding.
        node_width: columns of the embeddings of nodes; 0 for an encoder that has none.
    """

    width: int
    node_width: int = 0

    def tensors(self, graphs: GraphBatch, measured: NDArray[np.float32] | None) -> Any:
        """Inputs of `forward`, on the CPU; `measured` has a row per node."""
        raise NotImplementedError

    def forward(self, tensors: Any) -> tuple[Tensor, Tensor | None]:
        """Embeddings `[G, width]` and, where there are such, those of nodes `[N, node_width]`.

        An encoder of nodes may leave some out: `tensors.nodes` `[N]` says which nodes of the batch they are.
        """
        raise NotImplementedError


class PretrainingModel(nn.Module):
    """Encoders with the objectives they are trained by.

    Args:
        readers: encoders by name.
        objectives: weight of each; a plain name stands for all encoders it applies to, `encoder/name` for one.
        data: tells how many targets there are.

    Raises:
        ConfigError: an objective asks for an encoder or for targets that there are not.
    """

    def __init__(self, readers: Mapping[str, Reader], objectives: Mapping[str, float], data: PretrainingData) -> None:
        super().__init__()
        self.readers = nn.ModuleDict(dict(readers))
        self.weights: dict[str, float] = {}
        self.objectives = nn.ModuleDict()
        for name, weight in objectives.items():
            for key in _keys(name, readers):
                self.weights[key] = float(weight)
                self.objectives[key] = _build(key, readers, data)

    @property
    def named_readers(self) -> dict[str, Reader]:
        """The encoders by name."""
        return {name: reader for name, reader in self.readers.items() if isinstance(reader, Reader)}

    def forward(self, inputs: StepInputs) -> dict[str, Tensor]:
        """The loss of each objective on the networks of all processes, unweighted."""
        views = {name: self._views(name, inputs) for name in self.readers}
        if CROSS_MODAL in self.objectives:
            graph, text = views["graph"], views["text"]
            views[CROSS_MODAL] = Views(graph.embedding, other=text.embedding, identity=graph.identity)
        # Cosines over temperatures overflow and round off in half precision.
        with torch.autocast(inputs.targets["identity"].device.type, enabled=False):
            return {key: objective(views[_reader(key)]) for key, objective in self.objectives.items()}

    def _views(self, name: str, inputs: StepInputs) -> Views:
        needs = frozenset[str]().union(*(_needs(key) for key in self.objectives if _reader(key) == name))
        reader, plain = self.readers[name], inputs.plain[name]
        embedding, nodes = reader(plain)
        computed: dict[str, Tensor | None] = {"nodes": nodes if "nodes" in needs else None}
        if "again" in needs:
            computed["again"] = reader(plain)[0]
        if "augmented" in needs:
            computed["augmented"] = reader(inputs.augmented[name])[0]
        targets = {field: value for field, value in inputs.targets.items() if field in needs or field == "identity"}
        if "node_measured" in targets:
            targets["node_measured"] = targets["node_measured"][plain.nodes]
        return Views(embedding, **computed, **targets).map(_single).map(gather_rows)


def input_names(model: PretrainingModel) -> frozenset[str]:
    """Fields of `Views` that any objective of the model needs."""
    return frozenset[str]().union(*(_needs(key) for key in model.objectives))


def _single(rows: Tensor) -> Tensor:
    return rows.float() if rows.is_floating_point() else rows


def _reader(key: str) -> str:
    """`graph/statistics` -> `graph`; the objective between encoders has views of its own."""
    return CROSS_MODAL if key == CROSS_MODAL else key.partition("/")[0]


def _needs(key: str) -> frozenset[str]:
    return OBJECTIVES[key.rpartition("/")[2]].needs


def _keys(name: str, readers: Mapping[str, Reader]) -> list[str]:
    """The objectives a name of the config stands for."""
    encoder, _, objective = name.rpartition("/")
    if objective == CROSS_MODAL:
        if not {"graph", "text"} <= set(readers):
            raise ConfigError(f"cross_modal needs the encoders graph and text; there are {', '.join(readers)}")
        return [CROSS_MODAL]
    if encoder and encoder not in readers:
        raise ConfigError(f"objective {name}: there is no encoder {encoder}, only {', '.join(readers)}")
    able = [known for known, reader in readers.items() if reader.node_width or objective != "nodes"]
    keys = [f"{known}/{objective}" for known in able if encoder in ("", known)]
    if not keys:
        raise ConfigError(f"objective {name}: no encoder gives embeddings of nodes; leave it out")
    return keys


def _build(key: str, readers: Mapping[str, Reader], data: PretrainingData) -> Objective:
    objective = OBJECTIVES[key.rpartition("/")[2]]
    missing = sorted(name for name in ("measured", "node_measured") if name in objective.needs and not _has(data, name))
    if missing:
        raise ConfigError(f"objective {key}: the data has no {missing[0]}; measure some networks or leave it out")
    graph = readers["graph" if key == CROSS_MODAL else _reader(key)]
    return objective(
        Widths(
            graph.width,
            other=readers["text"].width if key == CROSS_MODAL else 0,
            statistics=data.statistics.shape[1],
            measured=0 if data.measured is None else data.measured.shape[1],
            nodes=graph.node_width,
            node_measured=data.node_columns,
        )
    )


def _has(data: PretrainingData, name: str) -> bool:
    return getattr(data, name) is not None
