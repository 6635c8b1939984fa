"""Teaching `archcast.predictor.in_context` to read pools: thousands of small tasks drawn from labelled pools.

Every step draws tasks. A task is a family (all alike, however many pools they have), one of its pools and label sets,
often only the networks in a slice of the values of some column (of some depth, width, number of pools, ...), a number
of labelled members, columns that are hidden, and sources of the same family are never heard. The loss

    log(1 - corr(few-shot score, target) + 0.01) + zero_weight (1 - corr(zero-shot score, target)) + penalties

is Pearson's correlation on normal scores of the labels, of members that are not in the context. Some families are held
out by turns: every few steps the same tasks of theirs are scored, and the best weights are kept, those of the start
included.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from archcast.encoders.features import FEATURE_NAMES
from archcast.errors import ConfigError, DataError
from archcast.predictor.calibration import rank_gauss
from archcast.predictor.in_context import CARRIES_OVER, Described, InContextNetwork, Scale, describe_pool
from archcast.predictor.in_context_process import Context, Members, Parameters, zero_shot
from archcast.predictor.losses import correlation

FloatArray = NDArray[np.float64]

_LEAST = 40  # labelled networks of a pool that teaches an expert
_FIXED = ("experts", "gates")
_STRENGTHS = (0.05, 0.25)  # of the experts, per labelled network


@dataclass(frozen=True)
class InContextTraining:
    """How the network is trained."""

    steps: int = 200
    """Updates."""
    tasks: int = 6
    """Tasks of a step, all with the same number of labels."""
    labels: tuple[int, int] = (8, 100)
    """Least and greatest number of labels, drawn evenly on a log scale."""
    queries: int = 80
    """Members that are ranked."""
    learning_rate: float = 0.03
    """Adam's greatest, for kernels and the mean function."""
    token_rate: float = 0.004
    """The same for the set network over columns, which has more to overfit with."""
    group_decay: float = 0.01
    """Penalty on the mean square of the weights of groups of columns."""
    own_decay: float = 0.1
    """The same for single columns."""
    token_decay: float = 0.02
    """The same for what the set network has, and for the reliability of sources."""
    zero_weight: float = 0.5
    """Weight of the zero-shot loss."""
    slices: float = 0.5
    """Share of tasks inside a slice of a column."""
    with_measured: float = 0.5
    """Share of steps that see measured statistics."""
    held_out: int = 2
    """Families that choose when to stop, and are not learnt from; 0 to stop at the end."""
    check_every: int = 25
    """Steps from one look at them to the next."""


@dataclass(frozen=True, eq=False)
class LabelledPool:
    """Networks of one space as numbers.

    Attributes:
        name: of the pool.
        family: pools of one family share what they are made of: none is a source of another.
        features: `[n, F]` columns of `FEATURE_NAMES`.
        labels: name of a task -> `[n]` labels, higher is better, NaN where there is none.
        measured: `[n, P]` finite measured statistics; P may be 0.
    """

    name: str
    family: str
    features: FloatArray
    labels: Mapping[str, FloatArray]
    measured: FloatArray

    def __post_init__(self) -> None:
        if self.features.shape[1:] != (len(FEATURE_NAMES),):
            raise DataError(f"{self.name}: features {list(self.features.shape)} are not [n, {len(FEATURE_NAMES)}]")
        if not self.labels:
            raise DataError(f"{self.name} has no labels; leave it out")
        for task, values in [*self.labels.items(), ("measured", self.measured)]:
            if len(values) != len(self.features):
                raise DataError(f"{self.name}: {len(values)} rows of {task} for {len(self.features)} networks")
        if not np.isfinite(self.measured).all():
            raise DataError(
                f"{self.name}: measured statistics are missing; fill them (archcast.predictor.measured_inputs)"
            )


@dataclass(frozen=True, eq=False)
class Task:
    """A few labelled networks of a pool, and others to rank.

    Attributes:
        family: of the pool.
        context, queries, everyone: the networks, described by the context, by the context, and by all of them.
        targets, truth: normal scores of the labels of the context, and of the queries.
        overall: normal scores among all, context first.
    """

    family: str
    context: Described
    queries: Described
    everyone: Described
    targets: FloatArray
    truth: FloatArray
    overall: FloatArray


def train_in_context(
    pools: Sequence[LabelledPool],
    config: InContextTraining | None = None,
    *,
    seed: int = 0,
    on_step: Callable[[str], None] = lambda _: None,
) -> InContextNetwork:
    """Train on `pools`.

    Args:
        pools: what to learn from, of `held_out` + 2 families at least.
        config: sizes and rates.
        seed: of the tasks, of the families that are held out, and of the hidden units.
        on_step: called at every look at the held-out families, with a short text.

    Raises:
        ConfigError: too few families.
    """
    config = config or InContextTraining()
    rng = np.random.default_rng(seed)
    families = sorted({pool.family for pool in pools})
    if len(families) < config.held_out + 2:
        raise ConfigError(
            f"{len(families)} families of pools ({', '.join(families)}) are too few to learn from with "
            f"held_out={config.held_out}; add pools of other spaces"
        )
    judges = set(rng.permutation(families)[: config.held_out].tolist())
    known = [pool for pool in pools if pool.family not in judges]
    network = with_experts(known, seed)
    judging = _judging_tasks([pool for pool in pools if pool.family in judges], config, seed)
    weights = {name: value.clone() for name, value in network.tensors.items()}
    best, kept = _judge(network, weights, judging), _copied(weights)
    optimizer, schedule = _optimizer(weights, config)
    for step in range(config.steps):
        labels = int(np.exp(rng.uniform(*np.log(config.labels))))
        tasks = [draw_task(known, labels, config, rng) for _ in range(config.tasks)]
        few, none = _losses(network, weights, tasks, bool(rng.random() < config.with_measured))
        loss = few + config.zero_weight * none + _penalty(weights, config)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_([value for value in weights.values() if value.requires_grad], 1.0)
        optimizer.step()
        schedule.step()
        if (step + 1) % config.check_every == 0 or step + 1 == config.steps:
            found = _judge(network, weights, judging) if judging else -float(step)
            on_step(f"step {step + 1}: loss {float(loss.detach()):.3f}, held out {found:.4f}")
            if found <= best:
                best, kept = found, _copied(weights)
    return InContextNetwork(network.sources, network.families, kept)


def with_experts(pools: Sequence[LabelledPool], seed: int = 0) -> InContextNetwork:
    """An untrained network that knows one expert of each pool of enough labels (mean over its tasks)."""
    sources = [pool for pool in pools if len(pool.features) >= _LEAST]
    experts, gates = [], []
    for pool in sources:
        described = Scale.of(pool.features).describe(pool.features)
        gate = described.gate * CARRIES_OVER
        experts.append(_expert(described.rows * gate, pool.labels))
        gates.append(described.gate)
    shape = (len(sources), len(FEATURE_NAMES))
    return InContextNetwork.untrained(
        [pool.name for pool in sources], [pool.family for pool in sources],
        np.reshape(experts, shape), np.reshape(gates, shape), seed=seed,
    )  # fmt: skip


def _expert(relative: FloatArray, labels: Mapping[str, FloatArray]) -> FloatArray:
    """`[F]` ridge solutions of normal scores, in units of the spread of their scores, averaged and scaled again."""
    total = np.zeros(relative.shape[1])
    for values in labels.values():
        known = np.isfinite(values)
        rows, targets = relative[known], rank_gauss(values[known])
        for strength in _STRENGTHS:
            penalty = strength * len(rows) * np.eye(rows.shape[1])
            solution = np.linalg.solve(rows.T @ rows + penalty, rows.T @ targets)
            total += solution / max(float((rows @ solution).std()), 1e-9)
    return np.asarray(total / max(float((relative @ total).std()), 1e-9))


def draw_task(pools: Sequence[LabelledPool], labels: int, config: InContextTraining, rng: np.random.Generator) -> Task:
    """A random task; a family without a pool of enough labels is passed over.

    Raises:
        DataError: no pool has a task that can be drawn.
    """
    least = labels + config.queries // 4
    fit = [pool for pool in pools if max(np.isfinite(values).sum() for values in pool.labels.values()) >= least]
    if not fit:
        raise DataError(f"no pool has {least} labelled networks; draw fewer labels or give larger pools")
    while True:
        family = rng.choice(sorted({pool.family for pool in fit}))
        pool = _one([pool for pool in fit if pool.family == family], rng)
        values = pool.labels[_one(sorted(pool.labels), rng)]
        rows = _slice(pool, np.flatnonzero(np.isfinite(values)), least, config, rng)
        if len(rows) < least:
            continue
        chosen = rng.permutation(rows)[: labels + config.queries]
        if (short := labels + config.queries - len(chosen)) > 0:
            chosen = np.concatenate([chosen, rng.choice(chosen[labels:], short)])
        hidden = rng.random(len(FEATURE_NAMES)) >= _one((1.0, 0.8, 0.5), rng)
        task = make_task(pool, values, chosen, labels, hidden)
        if task.targets.std() > 0 and task.truth.std() > 0 and (task.context.gate > 0).any():
            return task


def make_task(
    pool: LabelledPool, values: FloatArray, chosen: NDArray[np.int64], labels: int, hidden: NDArray[np.bool_]
) -> Task:
    """The networks `chosen` of a pool, the first `labels` of them labelled, some columns hidden."""
    features = np.where(hidden, 0.0, pool.features[chosen])
    measured = pool.measured[chosen]
    scale = Scale.of(features[:labels], measured[:labels])
    return Task(
        pool.family,
        scale.describe(features[:labels], measured[:labels]),
        scale.describe(features[labels:], measured[labels:]),
        describe_pool(features),
        rank_gauss(values[chosen[:labels]]),
        rank_gauss(values[chosen[labels:]]),
        rank_gauss(values[chosen]),
    )


def _slice(
    pool: LabelledPool,
    rows: NDArray[np.int64],
    least: int,
    config: InContextTraining,
    rng: np.random.Generator,
) -> NDArray[np.int64]:
    """`rows`, or those among two fifths of the values of a random column, where they are enough."""
    column = pool.features[rows, rng.integers(pool.features.shape[1])]
    start = rng.uniform(0, 0.6)
    if rng.random() >= config.slices or np.ptp(column) == 0:
        return rows
    low, high = np.quantile(column, (start, start + 0.4))
    part = rows[(column >= low) & (column <= high)]
    return part if len(part) >= least + config.queries // 2 else rows


def _losses(
    network: InContextNetwork, weights: Parameters, tasks: Sequence[Task], use_measured: bool
) -> tuple[Tensor, Tensor]:
    """Mean losses with labels and without."""
    hidden = torch.tensor([[family == task.family for family in network.families] for task in tasks])
    hidden = hidden.reshape(len(tasks), len(network.families)).bool()
    context, queries, everyone = (
        Members.of([getattr(task, name) for task in _even(tasks)], hidden)
        for name in ("context", "queries", "everyone")
    )
    targets, truth, overall = (
        torch.from_numpy(np.stack([getattr(task, name) for task in tasks])) for name in ("targets", "truth", "overall")
    )
    few = Context.of(weights, context, targets, use_measured).scores(weights, queries)
    none = zero_shot(weights, everyone)
    pairs = [zip(*pair, strict=True) for pair in ((few, truth), (none, overall))]
    with_labels, without = (torch.stack([correlation(*both) for both in pair]) for pair in pairs)
    return torch.log(with_labels + 0.01).mean(), without.mean()


def _even(tasks: Sequence[Task]) -> list[Task]:
    """The same tasks with equally many measured columns, those that are missing being constant."""
    most = max(task.context.measured.shape[1] for task in tasks)

    def padded(described: Described) -> Described:
        missing = most - described.measured.shape[1]
        return replace(described, measured=np.pad(described.measured, ((0, 0), (0, missing))))

    return [replace(task, context=padded(task.context), queries=padded(task.queries)) for task in tasks]


def _judging_tasks(pools: Sequence[LabelledPool], config: InContextTraining, seed: int) -> list[list[Task]]:
    """Tasks of held-out families, batched by number of labels."""
    if not pools:
        return []
    rng = np.random.default_rng([seed, 1])
    plain = replace(config, slices=0.25)
    sizes = np.geomspace(*config.labels, 3).astype(int)
    return [[draw_task(pools, int(size), plain, rng) for _ in range(2 * config.tasks)] for size in sizes]


def _judge(network: InContextNetwork, weights: Parameters, judging: Sequence[Sequence[Task]]) -> float:
    """Mean loss on tasks of held-out families, few-shot and zero-shot."""
    if not judging:
        return np.inf
    with torch.inference_mode():
        found = [
            few + none
            for tasks in judging
            for use_measured in (False, True)
            for few, none in [_losses(network, weights, tasks, use_measured)]
        ]
    return float(torch.stack(found).mean())


def _penalty(weights: Parameters, config: InContextTraining) -> Tensor:
    tokens = [value for name, value in weights.items() if name.startswith("token")] + [weights["reliability"]]
    return (
        config.group_decay * weights["group"].square().mean()
        + config.own_decay * weights["own"].square().mean()
        + config.token_decay * torch.stack([value.square().mean() for value in tokens if value.numel()]).sum()
    )


def _optimizer(weights: dict[str, Tensor], config: InContextTraining) -> tuple[Any, Any]:
    learnt = {name: value.requires_grad_() for name, value in weights.items() if name not in _FIXED}
    tokens = [value for name, value in learnt.items() if name.startswith(("token", "reliability"))]
    others = [value for name, value in learnt.items() if not name.startswith(("token", "reliability"))]
    rates = [config.token_rate, config.learning_rate]
    optimizer = torch.optim.Adam([{"params": tokens, "lr": rates[0]}, {"params": others, "lr": rates[1]}])
    return optimizer, torch.optim.lr_scheduler.OneCycleLR(optimizer, rates, total_steps=config.steps)


def _copied(weights: Parameters) -> dict[str, NDArray[Any]]:
    return {name: value.detach().numpy().copy() for name, value in weights.items()}


def _one(choices: Sequence[Any], rng: np.random.Generator) -> Any:
    return choices[int(rng.integers(len(choices)))]
