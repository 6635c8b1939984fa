"""What `archcast search` needs to know, as a frozen dataclass: on the command line and in YAML."""

from __future__ import annotations

import runpy
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from archcast.config_files import check_keys, read_yaml
from archcast.errors import ConfigError, MissingDataError
from archcast.ray_executor import RayExecutor
from archcast.shipping import Shipped

if TYPE_CHECKING:
    from archcast.search.core import Search
    from archcast.search.result import SearchResult
    from archcast.search.run import Evaluate, Watch
    from archcast.search.space import Space


@dataclass(frozen=True)
class SearchConfig:
    """A search from end to end."""

    space: str
    """Name of a benchmark, or a Python file with `space` and `evaluate`."""
    task: str | None = None
    """Data set of a benchmark; its first when left out."""
    budget: int = 150
    """Evaluations, failures included."""
    strategy: str = "guided"
    """How to search (`archcast.search.strategy.STRATEGIES`)."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Settings of the strategy, by name."""
    batch: int = 5
    """Networks proposed together."""
    seed: int = 0
    """The same seed gives the same search."""
    predictor: str | None = "base"
    """Pretrained predictor: a name or a folder; `none` for a search without."""
    objectives: tuple[str, ...] = ("score",)
    """What to optimise; - in front where less is better."""
    limits: Mapping[str, float] = field(default_factory=dict)
    """Cost -> most that is allowed."""
    journal: str | None = None
    """SQLite file that keeps the trials."""
    resume: bool = False
    """Go on with a journal that exists."""
    isolate: bool = False
    """Evaluate in a process of its own."""
    timeout: float | None = None
    """Seconds for one evaluation, with `isolate`."""
    ray: str | None = None
    """Evaluate on a Ray cluster: host:port of its head, `auto`, or `local` for this machine."""
    cpus_per_evaluation: float = 1.0
    """Cores that an evaluation takes, with `ray`."""
    gpus_per_evaluation: float = 0.0
    """GPUs, or a part of one, that an evaluation takes, with `ray`."""
    report: str | None = None
    """HTML page to write."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "objectives", tuple(self.objectives))
        if self.predictor in ("none", "None"):
            object.__setattr__(self, "predictor", None)
        if self.timeout is not None and not self.isolate:
            raise ConfigError("timeout needs isolate: only a process of its own can be stopped")
        for name in ("isolate", "ray"):
            if getattr(self, name) and Path(self.space).suffix != ".py":
                raise ConfigError(f"{name} is for a Python file of your own; scores of a benchmark are only looked up")
        if self.ray is None and (self.cpus_per_evaluation, self.gpus_per_evaluation) != (1.0, 0.0):
            raise ConfigError("cpus_per_evaluation and gpus_per_evaluation need ray, which shares machines out")

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> SearchConfig:
        """A config from plain values.

        Raises:
            ConfigError: a key that does not exist, a value of the wrong type, or no space.
        """
        check_keys(cls, values)
        if not isinstance(values.get("space"), str):
            raise ConfigError("name a space: --space nasbench201, or a Python file with space and evaluate")
        for name, kinds in _KINDS.items():
            value = values.get(name)
            if value is not None and (not isinstance(value, kinds) or isinstance(value, bool) != (kinds is bool)):
                raise ConfigError(f"{name} must be {_WORDS[kinds]}, not {value!r}")
        limits = values.get("limits") or {}
        try:
            numbers = {str(name): float(most) for name, most in limits.items()}
        except (TypeError, ValueError) as error:
            raise ConfigError(f"limits must be numbers by name of a cost, not {limits!r}") from error
        return cls(**{**values, "limits": numbers})

    @classmethod
    def from_file(cls, path: str | Path, **overrides: Any) -> SearchConfig:
        """A config from a YAML file; `overrides` replace its values.

        Raises:
            MissingDataError: there is no such file.
            ConfigError: the file is not YAML, or not a config.
        """
        return cls.from_dict({**read_yaml(path), **overrides})

    def run(self, on_start: Callable[[Search], None], on_result: Watch) -> SearchResult:
        """The search itself."""
        from archcast.search.isolation import Isolated
        from archcast.search.run import run_search
        from archcast.search.strategy import make_strategy

        space: str | Space = self.space
        evaluate: Evaluate | None = None
        if Path(self.space).suffix == ".py":
            space, evaluate = load_file(Path(self.space))
            if self.isolate:
                fresh = FileEvaluation(self.space) if self.ray is None else Shipped.of(evaluate)
                evaluate = Isolated(fresh, self.timeout)
        with self._executor() as executor:
            return run_search(
                space, evaluate, predictor=self.predictor, budget=self.budget, seed=self.seed,
                strategy=make_strategy(self.strategy, **self.settings), batch=self.batch, objectives=self.objectives,
                limits=self.limits, task=self.task, journal=self.journal, resume=self.resume, executor=executor,
                on_start=on_start, on_result=on_result,
            )  # fmt: skip

    def _executor(self) -> AbstractContextManager[Executor | None]:
        if self.ray is None:
            return nullcontext()
        return RayExecutor(self.ray, cpus=self.cpus_per_evaluation, gpus=self.gpus_per_evaluation)


_KINDS: dict[str, Any] = {
    "task": str, "budget": int, "strategy": str, "settings": Mapping, "batch": int, "seed": int, "predictor": str,
    "objectives": (list, tuple), "limits": Mapping, "journal": str, "resume": bool, "isolate": bool,
    "timeout": (int, float), "report": str, "ray": str, "cpus_per_evaluation": (int, float),
    "gpus_per_evaluation": (int, float),
}  # fmt: skip
_WORDS: dict[Any, str] = {
    str: "a text", int: "a whole number", bool: "true or false", Mapping: "values by name",
    (list, tuple): "a list of names", (int, float): "a number",
}  # fmt: skip


@dataclass(frozen=True)
class FileEvaluation:
    """`evaluate` of a Python file, for another process, which has to read the file itself."""

    path: str

    def __call__(self, spec: str) -> Any:
        return load_file(Path(self.path))[1](spec)


def load_file(path: Path) -> tuple[Space, Evaluate]:
    """`space` and `evaluate` of a Python file, which is run.

    Raises:
        MissingDataError: there is no such file.
        ConfigError: it lacks one of them.
    """
    from archcast.search.space import Space

    if not path.is_file():
        raise MissingDataError(f"there is no file {path.absolute()}; give a Python file with space and evaluate")
    names = runpy.run_path(str(path))
    space, evaluate = names.get("space"), names.get("evaluate")
    if not isinstance(space, Space) or not callable(evaluate):
        raise ConfigError(f"{path} must define `space` (archcast.ChoiceSpace ...) and `evaluate(spec) -> score`")
    return space, evaluate
