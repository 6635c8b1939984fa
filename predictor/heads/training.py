"""The one training loop of all neural heads, through `accelerate`: any device, mixed precision, several processes.

Every step ranks one batch of labelled networks. Started by `accelerate launch` or `torchrun`, each process scores its
share of the batch; the scores of all are then gathered with their gradients (`archcast.encoders.gathering`), so that
every process computes the loss of the whole batch: a ranking loss compares networks that different processes scored.
Averaged over processes, the gradients are those of one process that scored the batch alone.

Importing this module does not import torch.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from archcast.errors import ConfigError, DataError

if TYPE_CHECKING:
    import torch
    from accelerate import Accelerator
    from torch import Tensor, nn

Weights = dict[str, NDArray[Any]]

_PACE_FROM: Final = 0.2  # share of the time limit after which the pace decides how many steps still fit


@dataclass(frozen=True)
class HeadTraining:
    """How the weights of a head are learnt."""

    steps: int = 300
    """Updates."""
    epochs: int = 0
    """Passes over the labels; where it is not 0, `steps` does not count."""
    batch_size: int = 128
    """Networks a step, over all processes together; an epoch is cut into batches of about this size."""
    learning_rate: float = 2e-3
    """AdamW's, after the warm-up."""
    final_rate: float = 0.02
    """Share of `learning_rate` that the cosine ends at."""
    warmup: float = 0.06
    """Share of the steps over which the rate rises from 0."""
    weight_decay: float = 0.01
    """On matrices; vectors (biases, norms) have none."""
    clip: float = 1.0
    """Largest norm of the gradient."""
    mixed_precision: str = "no"
    """no, bf16 or fp16."""
    seconds: float = math.inf
    """Time limit. If the steps would take longer, fewer are made, and the cosine ends with the last of them."""
    cpu: bool = False
    """Stay on the CPU where there is an accelerator."""
    seed: int = 0
    """Of the order of batches and of dropout."""

    def __post_init__(self) -> None:
        if self.mixed_precision not in ("no", "bf16", "fp16"):
            raise ConfigError(f"mixed_precision={self.mixed_precision!r}: choose no, bf16 or fp16")
        for name in ("steps", "batch_size"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, not {getattr(self, name)}")
        for name in ("learning_rate", "clip", "seconds"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"{name} must be positive, not {getattr(self, name)}")
        for name in ("epochs", "final_rate", "warmup", "weight_decay", "seed"):
            if getattr(self, name) < 0:
                raise ConfigError(f"{name} must not be negative, and is {getattr(self, name)}")

    def batches(self, count: int) -> int:
        """Batches of an epoch of `count` labels."""
        return max(1, round(count / self.batch_size))

    def updates(self, count: int) -> int:
        """Steps of a training on `count` labels."""
        return self.epochs * self.batches(count) or self.steps

    def rate(self, step: int, steps: int) -> float:
        """Learning rate of a step, counted from 0, of `steps`: a linear warm-up, then half a cosine."""
        rising = max(1, round(self.warmup * steps))
        if step < rising:
            return self.learning_rate * (step + 1) / rising
        done = min((step - rising) / max(steps - rising, 1), 1.0)
        return self.learning_rate * (self.final_rate + (1 - self.final_rate) * (1 + math.cos(math.pi * done)) / 2)


def train_head(
    model: nn.Module,
    batch: Callable[[NDArray[np.int64]], Any],
    targets: NDArray[np.floating],
    loss: Callable[[Tensor, Tensor], Tensor],
    config: HeadTraining | None = None,
    *,
    on_step: Callable[[Mapping[str, Any]], None] = lambda _: None,
) -> Weights:
    """Train `model` in place.

    Args:
        model: inputs -> `[b]` scores (`[b, 1]` is taken as well).
        batch: positions `[b]` of labelled networks -> the inputs of the model: a tensor, nested containers of tensors,
            or anything with `.to(device)`.
        targets: `[n]`, higher is better.
        loss: `(scores [b], targets [b]) -> scalar` to be lowered.
        config: steps and rates.
        on_step: called after each step with `step`, `steps`, `loss`, `learning_rate` and `seconds` since the start.

    Returns:
        The weights by name. The model itself is left on the CPU, in evaluation mode. The caller's random generators
        are as they were.

    Raises:
        ConfigError: accelerate cannot do what the config asks for, or there are more processes than networks.
        DataError: no labels, or a loss or gradient that is not finite.
    """
    import torch

    from archcast.encoders import devices

    config = config or HeadTraining()
    if not len(targets):
        raise DataError("there are no labels to train a head on; label some networks first")
    accelerator = devices.accelerator(mixed_precision=config.mixed_precision, cpu=config.cpu)
    device = accelerator.device
    # Every process draws its own dropout; the weights are those of the first one.
    noise = np.random.default_rng([config.seed, accelerator.process_index]).integers(2**31)
    with torch.random.fork_rng(device_type=device.type if device.type != "cpu" else "cuda"):
        torch.manual_seed(int(noise))
        wrapped, optimizer = accelerator.prepare(model.train(), _optimizer(config, model))
        _steps(wrapped, optimizer, accelerator, batch, targets, loss, config, on_step)
    accelerator.unwrap_model(wrapped, keep_fp32_wrapper=False).to("cpu").eval()
    return {name: value.detach().float().numpy().copy() for name, value in model.state_dict().items()}


def batch_order(count: int, config: HeadTraining) -> Iterator[NDArray[np.int64]]:
    """Batches of positions 0..count - 1, without end: every epoch is a new permutation, cut evenly."""
    rng = np.random.default_rng([config.seed, count])
    while True:
        yield from np.array_split(rng.permutation(count), config.batches(count))


def _steps(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    accelerator: Accelerator,
    batch: Callable[[NDArray[np.int64]], Any],
    targets: NDArray[np.floating],
    loss: Callable[[Tensor, Tensor], Tensor],
    config: HeadTraining,
    on_step: Callable[[Mapping[str, Any]], None],
) -> None:
    import torch
    from accelerate.utils import send_to_device

    from archcast.encoders.gathering import gather_rows

    device, processes, own = accelerator.device, accelerator.num_processes, accelerator.process_index
    wanted = torch.as_tensor(np.asarray(targets), dtype=torch.float32, device=device)
    order, clock = batch_order(len(targets), config), _Clock(config, config.updates(len(targets)), accelerator)
    step = 0
    while step < clock.steps(step):
        rows = next(order)
        if len(rows) < processes:
            raise ConfigError(f"a batch of {len(rows)} networks for {processes} processes; start fewer, or label more")
        rate = config.rate(step, clock.planned)
        for group in optimizer.param_groups:
            group["lr"] = rate
        share = np.array_split(rows, processes)[own]
        scores = model(send_to_device(batch(share), device)).float()
        value = loss(gather_rows(scores.reshape(len(share))), wanted[torch.as_tensor(rows, device=device)])
        _update(value, model, optimizer, accelerator, config, step)
        step += 1
        on_step({
            "step": step, "steps": clock.planned, "loss": float(value.detach()), "learning_rate": rate,
            "seconds": clock.elapsed,
        })  # fmt: skip


def _update(
    value: Tensor,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    accelerator: Accelerator,
    config: HeadTraining,
    step: int,
) -> None:
    if not math.isfinite(float(value.detach())):
        raise DataError(f"the loss of step {step + 1} is {float(value.detach())}; lower learning_rate")
    accelerator.backward(value)
    norm = float(accelerator.clip_grad_norm_(model.parameters(), config.clip))
    if not math.isfinite(norm) and accelerator.scaler is None:  # a scaler leaves such a step out by itself
        raise DataError(f"the gradient of step {step + 1} is {norm}; lower learning_rate, or look at the inputs")
    optimizer.step()
    optimizer.zero_grad()


class _Clock:
    """How many steps fit into the time limit; all processes agree on it."""

    def __init__(self, config: HeadTraining, steps: int, accelerator: Accelerator) -> None:
        self.limit, self.wanted, self.planned, self.accelerator = config.seconds, steps, steps, accelerator
        self.start = time.monotonic()

    @property
    def elapsed(self) -> float:
        return time.monotonic() - self.start

    def steps(self, done: int) -> int:
        """Steps to make in all, after `done` of them; at least one."""
        elapsed = self.elapsed
        if not math.isinf(self.limit):
            if done and elapsed >= _PACE_FROM * self.limit:
                left = max(self.limit - elapsed, 0.0)
                self.planned = min(self.wanted, done + int(left * done / elapsed))
            self.planned = self._agreed(self.planned)
        return self.planned

    def _agreed(self, planned: int) -> int:
        import torch

        if self.accelerator.num_processes == 1:
            return planned
        counts: Tensor = self.accelerator.gather(torch.tensor([planned], device=self.accelerator.device))
        return int(counts.min())


def _optimizer(config: HeadTraining, model: nn.Module) -> torch.optim.Optimizer:
    import torch

    matrices = [value for value in model.parameters() if value.ndim > 1 and value.requires_grad]
    vectors = [value for value in model.parameters() if value.ndim <= 1 and value.requires_grad]
    groups: list[dict[str, Any]] = [{"params": matrices}, {"params": vectors, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=config.learning_rate, weight_decay=config.weight_decay)
