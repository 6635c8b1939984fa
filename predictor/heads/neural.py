"""What all neural heads share: standardised targets in, scores on the scale of the targets out, several members.

Ranking losses fix neither level nor scale of scores. A head therefore keeps a line from the raw scores of the labelled
networks to their targets; its slope is never negative, so that it changes no order.

Importing this module does not import torch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from archcast.errors import ConfigError
from archcast.predictor.calibration import standardised
from archcast.predictor.heads.training import HeadTraining, Weights, train_head

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

FloatArray = NDArray[np.float64]

LARGEST = 4096
"""Widths and lengths of a head above this are refused."""


@dataclass(frozen=True)
class ScoreLine:
    """`score = slope * raw + offset`."""

    slope: float
    offset: float

    @classmethod
    def fit(cls, raw: FloatArray, targets: FloatArray) -> ScoreLine:
        """Least squares, slope >= 0; flat where raw scores cannot be told apart."""
        centred = raw - raw.mean()
        variance = float((centred**2).mean())
        slope = max(float((centred * targets).mean()), 0.0) / variance if variance > 1e-12 else 0.0
        return cls(slope, float(targets.mean()) - slope * float(raw.mean()))

    def __call__(self, raw: FloatArray) -> FloatArray:
        return self.slope * raw + self.offset


def check_sizes(config: Any, **limits: tuple[int, int]) -> None:
    """Refuse whole-number settings outside of `name=(least, most)`."""
    for name, (least, most) in limits.items():
        if not least <= getattr(config, name) <= most:
            raise ConfigError(f"{name} must lie in {least}..{most}, not {getattr(config, name)}")


def trained(
    build: Callable[[], nn.Module],
    batch: Callable[[NDArray[np.int64]], Any],
    targets: FloatArray,
    loss: str,
    training: HeadTraining,
    seed: int,
    penalty: Callable[[nn.Module], Tensor] | None = None,
) -> tuple[nn.Module, Weights]:
    """A module that was made and trained by `seed`, on the CPU and in evaluation mode, and its weights.

    Args:
        build: makes the module; called with torch seeded.
        batch: positions of labelled networks -> inputs of the module.
        targets: `[n]`; standardised here, as the losses want them.
        loss: a name of `archcast.predictor.losses.LOSSES`.
        training: steps and rates; its seed is replaced by `seed`.
        seed: of weights, batches, dropout and noise.
        penalty: of the module, added to the loss.
    """
    from archcast.predictor.losses import get_loss

    base, model = get_loss(loss), seeded(build, seed)

    def objective(scores: Tensor, wanted: Tensor) -> Tensor:
        value = base(scores, wanted)
        return value if penalty is None else value + penalty(model)

    if targets.std() > 0:
        train_head(model, batch, standardised(targets), objective, replace(training, seed=seed))
    weights = {name: value.detach().float().numpy().copy() for name, value in model.state_dict().items()}
    return model.eval(), weights


def seeded(build: Callable[[], nn.Module], seed: int) -> nn.Module:
    """What `build` makes with torch seeded; the caller's generator is left alone."""
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build()


def on_meta(build: Callable[[], nn.Module]) -> nn.Module:
    """What `build` makes, without memory for its weights: to learn the shapes that a description asks for."""
    import torch

    with torch.device("meta"):
        return build()


def raw_scores(
    model: nn.Module, inputs: Callable[[slice], Any], count: int, chunk: int = 1024, seed: int | None = None
) -> FloatArray:
    """`[count]` scores of a module, chunk by chunk; with `seed`, every chunk sees the same noise."""
    import torch

    parts = [np.zeros(0)]
    with torch.random.fork_rng(devices=[], enabled=seed is not None), torch.inference_mode():
        for start in range(0, count, chunk):
            if seed is not None:
                torch.manual_seed(seed)
            scores: torch.Tensor = model(inputs(slice(start, start + chunk)))
            parts.append(scores.reshape(-1).double().numpy())
    return np.concatenate(parts)
