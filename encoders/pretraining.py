"""Contrastive pretraining of encoders on unlabelled networks: an `accelerate` loop that can be killed at any moment.

Everything random is either a function of seed, step and process (which networks, which augmentations) or comes from
torch's generators, whose states are part of every checkpoint (dropout). On one CPU process a resumed training repeats
the losses of an uninterrupted one bit by bit. Start several processes with `accelerate launch` or `torchrun`; a batch
is then shared among them, and every network has those of all processes as negatives.
"""

from __future__ import annotations

import json
import math
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch
from torch import Tensor, nn

from archcast.config_files import check_keys, read_yaml
from archcast.encoders import devices
from archcast.encoders.augmentations import AUGMENTATIONS
from archcast.encoders.checkpoints import Checkpoint, MetricsLog, latest_checkpoint, write_checkpoint
from archcast.encoders.contrastive import OBJECTIVES
from archcast.encoders.gcn import GraphEncoderConfig
from archcast.encoders.pretraining_data import BatchOrder, PretrainingData, StepInputs, StepMaker
from archcast.encoders.pretraining_model import PretrainingModel, Reader, input_names
from archcast.encoders.readers import GraphReader, TextReader
from archcast.encoders.spectra import EIGENVALUES
from archcast.encoders.text import TextEncoderConfig
from archcast.errors import ConfigError, DataError, MissingDataError

if TYPE_CHECKING:
    from accelerate import Accelerator

OnStep = Callable[[Mapping[str, Any]], None]

_MAY_CHANGE: Final = frozenset({"workers", "checkpoint_every", "keep_checkpoints", "cpu"})  # between resumptions


@dataclass(frozen=True)
class PretrainConfig:
    """One pretraining: what is learnt, on which batches, how."""

    graph: GraphEncoderConfig | None = field(default_factory=GraphEncoderConfig)
    """The graph encoder; null trains none."""
    text: TextEncoderConfig | None = field(default_factory=TextEncoderConfig)
    """The text encoder; null trains none."""
    objectives: dict[str, float] = field(
        default_factory=lambda: {"spectral": 1.0, "augmentation": 1.0, "cross_modal": 1.0, "statistics": 1.0}
    )
    """Weight of each objective of `archcast.encoders.contrastive.OBJECTIVES`. A name stands for every encoder that it
    applies to; `graph/statistics` for one of them."""
    augmentations: tuple[str, ...] = tuple(AUGMENTATIONS)
    """Augmentations that the objective `augmentation` uses."""
    eigenvalues: int = EIGENVALUES
    """Laplacian eigenvalues that the objective `spectral` compares; GENNAPE's 21, or 11 as in the SDM 2023 paper."""
    hide_measured: float = 0.5
    """Share of networks whose node measurements the encoder is not shown."""
    steps: int = 5000
    """Number of updates."""
    batch_size: int = 128
    """Networks a step, over all processes together."""
    pools_per_batch: int = 4
    """Groups a batch is put together from, each from one pool."""
    learning_rate: float = 1e-3
    """AdamW's, after the warm-up."""
    final_rate: float = 0.01
    """Share of `learning_rate` that the cosine ends at."""
    warmup_steps: int = 200
    """Updates over which the rate rises from 0."""
    weight_decay: float = 0.01
    """On matrices; vectors (biases, norms, temperatures) have none."""
    clip: float = 1.0
    """Largest norm of the gradient."""
    mixed_precision: str = "no"
    """no, bf16 or fp16."""
    cpu: bool = False
    """Stay on the CPU where there is an accelerator."""
    workers: int = 0
    """Processes that prepare batches ahead of time; none when 0."""
    checkpoint_every: int = 100
    """Updates between checkpoints."""
    keep_checkpoints: int = 2
    """Checkpoints to keep."""
    seed: int = 0
    """Of weights, batches, augmentations and dropout."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "augmentations", tuple(self.augmentations))
        unknown = sorted({name.rpartition("/")[2] for name in self.objectives} - set(OBJECTIVES))
        if unknown or not self.objectives:
            named = ", ".join(unknown) or "none"
            raise ConfigError(f"objectives: {named}; choose among {', '.join(OBJECTIVES)}")
        if wrong := sorted(set(self.augmentations) - set(AUGMENTATIONS)):
            raise ConfigError(f"unknown augmentations {', '.join(wrong)}; there are {', '.join(AUGMENTATIONS)}")
        if self.mixed_precision not in ("no", "bf16", "fp16"):
            raise ConfigError(f"mixed_precision={self.mixed_precision!r}: choose no, bf16 or fp16")
        for name in ("steps", "batch_size", "pools_per_batch", "checkpoint_every", "keep_checkpoints", "eigenvalues"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, not {getattr(self, name)}")
        for name in ("learning_rate", "clip"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"{name} must be positive, not {getattr(self, name)}")
        for name in ("warmup_steps", "weight_decay", "workers", "seed", "final_rate", "hide_measured"):
            if getattr(self, name) < 0:
                raise ConfigError(f"{name} must not be negative, and is {getattr(self, name)}")

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as JSON keeps them."""
        return {**asdict(self), "augmentations": list(self.augmentations)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> PretrainConfig:
        """A config from plain values.

        Raises:
            ConfigError: a key that does not exist, or a value of the wrong type or out of range.
        """
        from jsonargparse import ArgumentError, ArgumentParser

        check_keys(cls, values)
        parser = ArgumentParser(exit_on_error=False)
        parser.add_class_arguments(cls)
        try:
            parsed = parser.parse_object(dict(values)).as_dict()
        except ArgumentError as error:
            raise ConfigError(f"bad config: {' '.join(str(error).split())}") from error
        for name, kind in (("graph", GraphEncoderConfig), ("text", TextEncoderConfig)):
            if isinstance(parsed[name], Mapping):
                parsed[name] = kind(**parsed[name])
        return cls(**parsed)

    @classmethod
    def from_file(cls, path: str | Path) -> PretrainConfig:
        """A config from a YAML file.

        Raises:
            MissingDataError: there is no such file.
            ConfigError: the file is not YAML, or not a config.
        """
        return cls.from_dict(read_yaml(path))

    def rate(self, step: int) -> float:
        """Learning rate of a step, counted from 0: a linear warm-up, then half a cosine down to `final_rate`."""
        if step < self.warmup_steps:
            return self.learning_rate * (step + 1) / self.warmup_steps
        done = (step - self.warmup_steps) / max(self.steps - self.warmup_steps, 1)
        return self.learning_rate * (self.final_rate + (1 - self.final_rate) * (1 + math.cos(math.pi * done)) / 2)


def pretrain(
    config: PretrainConfig,
    data: PretrainingData,
    folder: str | Path,
    *,
    readers: Mapping[str, Callable[[], Reader]] | None = None,
    progress: bool = True,
    on_step: OnStep | None = None,
) -> PretrainingModel:
    """Train encoders, or go on with a training that was interrupted in `folder`.

    Args:
        config: what to do.
        data: the networks.
        folder: gets `checkpoints/`, `metrics.jsonl`, `config.json` and, in the end, `model.safetensors`.
        readers: makers of other encoders than those of `config`, by the names `graph` and `text`.
        progress: show a bar with the loss and the time left.
        on_step: called after each step with its line of the metrics.

    Returns:
        The model on the CPU, in evaluation mode; `model.readers["graph"]` is the graph encoder.

    Raises:
        ConfigError: the config does not fit the data, the encoders, or the training in `folder`.
        DataError: the loss became infinite, or the checkpoint is of other networks.
        StorageError: `folder` cannot be written.
    """
    if data.spectra.shape[1] < config.eigenvalues:
        raise ConfigError(
            f"the data has {data.spectra.shape[1]} eigenvalues a network, the config compares {config.eigenvalues}: "
            f"make it with PretrainingData.of(..., eigenvalues={config.eigenvalues}), or lower eigenvalues"
        )
    data = replace(data, spectra=data.spectra[:, : config.eigenvalues])  # ascending: the smallest come first
    accelerator = devices.accelerator(mixed_precision=config.mixed_precision, cpu=config.cpu)
    makers = encoder_makers(config) if readers is None else readers
    # The caller's generators are left as they were.
    with torch.random.fork_rng(device_type=accelerator.device.type if accelerator.device.type != "cpu" else "cuda"):
        torch.manual_seed(config.seed)
        model = PretrainingModel({name: make() for name, make in makers.items()}, config.objectives, data)
        training = _Training(config, data, model, Path(folder), accelerator)
        training.run(progress, on_step)
    return model.to("cpu").eval()


def encoder_makers(config: PretrainConfig) -> dict[str, Callable[[], Reader]]:
    """What makes the encoders of a config, by name."""
    makers: dict[str, Callable[[], Reader]] = {}
    if config.graph is not None:
        makers["graph"] = partial(GraphReader, config.graph)
    if config.text is not None:
        makers["text"] = partial(TextReader, config.text)
    return makers


def load_encoders(folder: str | Path) -> dict[str, nn.Module]:
    """The encoders that `pretrain` left in `folder`, by name, in evaluation mode: `GraphEncoder`, `TextEncoder`.

    Raises:
        MissingDataError: no training was finished there.
        ConfigError: `config.json` and the weights do not belong together.
    """
    from safetensors.torch import load_file

    folder = Path(folder)
    if not (folder / "model.safetensors").is_file():
        raise MissingDataError(f"there is no {folder / 'model.safetensors'}; pretrain into this folder first")
    config = PretrainConfig.from_dict(json.loads((folder / "config.json").read_text(encoding="utf-8")))
    weights = load_file(folder / "model.safetensors")
    encoders: dict[str, nn.Module] = {}
    for name, make in encoder_makers(config).items():
        prefix = f"readers.{name}."
        reader = make()
        own = {key.removeprefix(prefix): value for key, value in weights.items() if key.startswith(prefix)}
        try:
            reader.load_state_dict(own)
        except RuntimeError as error:
            raise ConfigError(
                f"{folder} holds other weights than its config: {' '.join(str(error).split())[:300]}"
            ) from error
        encoders[name] = getattr(reader, "encoder", reader).eval()
    return encoders


class _Training:
    """The state of a pretraining between two steps."""

    def __init__(
        self,
        config: PretrainConfig,
        data: PretrainingData,
        model: PretrainingModel,
        folder: Path,
        accelerator: Accelerator,
    ) -> None:
        self.config, self.plain, self.folder, self.accelerator = config, model, folder, accelerator
        self.fingerprint = data.fingerprint
        self.names = [name for name, _ in model.named_parameters()]
        self.weights = model.weights
        order = BatchOrder(data.pool, config.batch_size, config.pools_per_batch, config.seed)
        augmentations = config.augmentations if "augmented" in input_names(model) else ()
        self.maker = StepMaker(
            data, order, model.named_readers, augmentations, config.hide_measured,
            accelerator.process_index, accelerator.num_processes,
        )  # fmt: skip
        self.model, self.optimizer = accelerator.prepare(model, _optimizer(config, model))
        self.seconds = 0.0
        self.step = self._resume()

    def run(self, progress: bool, on_step: OnStep | None) -> None:
        """All steps that are left."""
        from tqdm import tqdm

        config, main = self.config, self.accelerator.is_main_process
        log = MetricsLog(self.folder / "metrics.jsonl", self.step) if main else None
        if main:
            _write_json(self.folder / "config.json", config.to_dict())
        bar = tqdm(total=config.steps, initial=self.step, disable=not (progress and main), desc="pretraining")
        started = time.perf_counter() - self.seconds
        self.model.train()
        for inputs in self._inputs():
            record = self._update(inputs.to(self.accelerator.device))
            self.seconds = time.perf_counter() - started
            record["seconds"] = round(self.seconds, 3)
            if log:
                log.append(record)
            if self.step % config.checkpoint_every == 0 or self.step == config.steps:
                self._save()
            bar.update()
            bar.set_postfix(loss=f"{record['loss']:.4f}", refresh=False)
            if on_step:
                on_step(record)
        bar.close()
        if log:
            log.close()
            self._finish()
        self.accelerator.wait_for_everyone()

    def _inputs(self) -> Iterator[StepInputs]:
        from torch.utils.data import DataLoader

        steps = range(self.step, self.config.steps)
        # A generator of its own: the loader would draw from torch's, and a resumed training draw once more.
        return iter(
            DataLoader(
                self.maker, batch_size=None, sampler=steps, num_workers=self.config.workers,  # type: ignore[arg-type]
                generator=torch.Generator().manual_seed(0),
            )
        )  # fmt: skip

    def _update(self, inputs: StepInputs) -> dict[str, Any]:
        """One step; its line of the metrics."""
        rate = self.config.rate(self.step)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        losses: dict[str, Tensor] = self.model(inputs)
        loss = sum((self.weights[name] * value for name, value in losses.items()), torch.zeros(()))
        if not bool(torch.isfinite(loss)):
            raise DataError(f"the loss of step {self.step + 1} is {float(loss.detach())}; lower learning_rate")
        self.accelerator.backward(loss)
        norm = self.accelerator.clip_grad_norm_(self.model.parameters(), self.config.clip)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.step += 1
        return {
            "step": self.step,
            "epoch": round(self.step / self.maker.order.steps_per_epoch, 4),
            "loss": float(loss.detach()),
            "losses": {name: float(value.detach()) for name, value in losses.items()},
            "learning_rate": rate,
            "gradient_norm": float(norm),
        }

    def _save(self) -> None:
        """A checkpoint of all processes, written by the first."""
        tensors = {f"model/{name}": value for name, value in self.plain.state_dict().items()}
        for number, state in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer/{self._ordered[number]}/{key}": value for key, value in state.items()}
        tensors |= {f"generator/{name}": value for name, value in self._generators().items()}
        scaler = getattr(self.accelerator, "scaler", None)
        record = {
            "config": self.config.to_dict(), "data": self.fingerprint, "processes": self.accelerator.num_processes,
            "seconds": self.seconds, "scaler": scaler.state_dict() if scaler is not None else None,
            "learning_rate": self.config.rate(self.step),
        }  # fmt: skip
        if self.accelerator.is_main_process:
            # Clones: parameters that share memory are stored one by one.
            tensors = {name: value.detach().cpu().clone() for name, value in tensors.items()}
            write_checkpoint(
                self.folder / "checkpoints", Checkpoint(self.step, tensors, record), self.config.keep_checkpoints
            )
        self.accelerator.wait_for_everyone()

    @property
    def _ordered(self) -> list[str]:
        """Names of parameters in the order of the optimizer's numbers."""
        names = {id(value): name for name, value in self.plain.named_parameters()}
        return [names[id(value)] for group in self.optimizer.param_groups for value in group["params"]]

    def _generators(self) -> dict[str, Tensor]:
        """`[processes, bytes]` states of torch's generators."""
        states = {"cpu": torch.get_rng_state()}
        device = self.accelerator.device
        if device.type == "cuda":
            states["cuda"] = torch.cuda.get_rng_state(device)
        return {name: self.accelerator.gather(state[None].to(device)).cpu() for name, state in states.items()}

    def _resume(self) -> int:
        """Take over the latest checkpoint; the number of steps that are done."""
        found = latest_checkpoint(self.folder / "checkpoints")
        if found is None:
            return 0
        self._check(found)
        self.plain.load_state_dict(found.part("model/"))
        numbers = {name: number for number, name in enumerate(self._ordered)}
        state: dict[int, dict[str, Tensor]] = {}
        for name, value in found.part("optimizer/").items():
            parameter, _, key = name.rpartition("/")
            state.setdefault(numbers[parameter], {})[key] = value
        self.optimizer.load_state_dict({**self.optimizer.state_dict(), "state": state})
        if found.record["scaler"] is not None and self.accelerator.scaler is not None:
            self.accelerator.scaler.load_state_dict(found.record["scaler"])
        self.seconds = float(found.record["seconds"])
        self._set_generators(found)
        return found.step

    def _set_generators(self, found: Checkpoint) -> None:
        process, processes = self.accelerator.process_index, self.accelerator.num_processes
        if found.record["processes"] != processes:
            warnings.warn(
                f"the training was begun by {found.record['processes']} processes and goes on with {processes}: "
                "dropout is drawn anew, and losses will differ a little from those of an uninterrupted training",
                RuntimeWarning,
                stacklevel=2,
            )
            torch.manual_seed(int(np.random.default_rng([self.config.seed, found.step, process]).integers(2**62)))
            return
        states = found.part("generator/")
        torch.set_rng_state(states["cpu"][process])
        if "cuda" in states and self.accelerator.device.type == "cuda":
            torch.cuda.set_rng_state(states["cuda"][process], self.accelerator.device)

    def _check(self, found: Checkpoint) -> None:
        """Refuse to go on with something else."""
        before, now = found.record["config"], self.config.to_dict()
        changed = sorted(key for key in now if key not in _MAY_CHANGE and now[key] != before.get(key))
        if changed:
            told = ", ".join(f"{key} was {before.get(key)!r} and is {now[key]!r}" for key in changed)
            raise ConfigError(f"{self.folder} holds another training: {told}; use its config or another folder")
        if found.record["data"] != self.fingerprint:
            raise DataError(f"{self.folder} holds a training on other networks; give those or use another folder")
        expected, stored = set(self.plain.state_dict()), set(found.part("model/"))
        if expected != stored:
            other = ", ".join(sorted(expected ^ stored)[:3])
            raise ConfigError(f"{self.folder} holds other encoders ({other}); use the same or another folder")

    def _finish(self) -> None:
        from safetensors.torch import save_file

        from archcast.datasets.atomic import atomic_path

        weights = {name: value.detach().cpu().clone() for name, value in self.plain.state_dict().items()}
        with atomic_path(self.folder / "model.safetensors") as temporary:
            save_file(weights, temporary)


def _optimizer(config: PretrainConfig, model: nn.Module) -> torch.optim.Optimizer:
    matrices = [value for value in model.parameters() if value.ndim > 1]
    vectors = [value for value in model.parameters() if value.ndim <= 1]
    groups: list[dict[str, Any]] = [{"params": matrices}, {"params": vectors, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=config.learning_rate, weight_decay=config.weight_decay)


def _write_json(path: Path, values: Mapping[str, Any]) -> None:
    from archcast.datasets.atomic import atomic_path

    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
