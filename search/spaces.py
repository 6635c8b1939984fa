"""Spaces by name, and the user's own: `open_space`, `BenchmarkSpace`, `ChoiceSpace`."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from archcast.datasets.benchmark import INPUT_SHAPES, Benchmark, load_benchmark
from archcast.datasets.labels import NUM_CLASSES
from archcast.datasets.space import SearchSpace
from archcast.datasets.spaces import get_space
from archcast.errors import ConfigError, SpecError, UnknownNameError
from archcast.search.space import ENUMERABLE, Space

if TYPE_CHECKING:
    from archcast.graphs.graph import GraphBatch

Choose = Callable[[str, Sequence[Any]], Any]
"""`choose(name, options)` gives one of the options."""

_MOST_CHOICES = 10_000


class BenchmarkSpace(Space):
    """A space of `archcast.datasets`, whole or only what a benchmark has measured.

    Args:
        space: the grammar.
        classes: of the task; the space's own when left out.
        benchmark: restricts the space to the architectures of its table, whose scores `lookup` gives.
    """

    def __init__(self, space: SearchSpace[Any], classes: int | None = None, benchmark: Benchmark | None = None) -> None:
        self.space, self.benchmark = space, benchmark
        self.classes = space.classes if classes is None else classes
        self.name = space.name if benchmark is None else f"{benchmark.name}/{benchmark.task}"

    @classmethod
    def of(cls, benchmark: Benchmark) -> BenchmarkSpace:
        """The measured architectures of a benchmark."""
        return cls(benchmark.space, benchmark.num_classes, benchmark)

    @cached_property
    def _row_of(self) -> dict[str, int]:
        """Identity -> the first row of the table that is this network."""
        assert self.benchmark is not None
        rows: dict[str, int] = {}
        for row, spec in enumerate(self.benchmark.specs):
            rows.setdefault(self.space.isomorphism_hash(spec), row)
        return rows

    @cached_property
    def _row_of_spec(self) -> dict[str, int]:
        assert self.benchmark is not None
        return {spec: row for row, spec in enumerate(self.benchmark.specs)}

    def lookup(self, spec: str) -> float:
        """The measured score of a spec, or of the first that is the same network.

        Raises:
            SpecError: it was not measured.
        """
        assert self.benchmark is not None
        row = self._row_of_spec.get(spec)
        row = self._row_of.get(self.identity(spec)) if row is None else row
        if row is None:
            raise SpecError(f"{spec!r} has no score in {self.name}; search its measured architectures only")
        return float(self.benchmark.scores[row])

    @property
    def size(self) -> float:
        return float(self.space.size if self.benchmark is None else len(self.benchmark))

    def specs(self) -> tuple[str, ...] | None:
        if self.benchmark is not None:
            return self.benchmark.specs
        return tuple(self.space.all_specs()) if self.space.size <= ENUMERABLE else None

    def sample(self, rng: np.random.Generator) -> str:
        if self.benchmark is None:
            return self.space.sample(rng)
        return self.benchmark.specs[int(rng.integers(len(self.benchmark)))]

    def neighbours(self, spec: str) -> list[str]:
        near = self.space.neighbours(spec)
        if self.benchmark is None:
            return near
        rows = (self._row_of_spec.get(other, self._row_of.get(self.identity(other), -1)) for other in near)
        found = (self.benchmark.specs[row] for row in rows if row >= 0)
        return [other for other in dict.fromkeys(found) if other != spec]

    def contains(self, spec: str) -> bool:
        return self.space.contains(spec) if self.benchmark is None else spec in self._row_of_spec

    def identity(self, spec: str) -> str:
        return self.space.isomorphism_hash(spec)

    def graphs(self, specs: Sequence[str]) -> GraphBatch:
        return self.space.stamp(specs, self.classes)

    def network(self, spec: str) -> Any:
        return self.space.module(spec, self.classes)


@dataclass(frozen=True, eq=False)
class ChoiceSpace(Space):
    """A space of your own: choices, and what builds a network from them.

    Attributes:
        choices: name -> options; or a function that is given `choose(name, options)`, calls it for every choice it
            has, later ones depending on earlier ones if need be, and returns what `build` takes.
        build: the chosen configuration -> `nn.Module`.
        input_shape: of one input, batch first, for the graph; by default what the first layer needs.
        name: for people and for the journal.

    A spec is the JSON of the choices that were made. Neighbours differ in one choice; choices that only then exist
    take their first option, and a random one in a mutant.

    Examples:
        >>> space = ChoiceSpace({"width": [16, 32], "depth": [1, 2, 3]}, build)
        >>> def cells(choose):
        ...     return [choose(f"kernel{i}", [3, 5]) for i in range(choose("depth", [1, 2, 3]))]
        >>> space = ChoiceSpace(cells, build)
    """

    choices: Mapping[str, Sequence[Any]] | Callable[[Choose], Any]
    build: Callable[[Any], Any]
    input_shape: tuple[int, ...] | None = None
    name: str = "own"

    scored_whole: ClassVar[int] = 1000  # networks have to be captured, tens of milliseconds each

    def __post_init__(self) -> None:
        if isinstance(self.choices, Mapping):
            empty = [name for name, options in self.choices.items() if not len(options)]
            if empty or not self.choices:
                raise ConfigError(f"choices without options: {empty}; give each at least one")

    def sample(self, rng: np.random.Generator) -> str:
        return _text(self._play(lambda _, options: int(rng.integers(len(options))))[1])

    def neighbours(self, spec: str) -> list[str]:
        made = self._read(spec)
        options = self._options(made)
        near = [
            _text(self._play(partial(_as_in, {**made, name: other}))[1])
            for name, among in options.items()
            for other in range(len(among))
            if other != made[name]
        ]
        return [other for other in dict.fromkeys(near) if other != spec]

    def mutate(self, spec: str, rng: np.random.Generator) -> str:
        made = self._read(spec)
        free = [(name, len(among)) for name, among in self._options(made).items() if len(among) > 1]
        if not free:
            return spec
        name, count = free[int(rng.integers(len(free)))]
        changed = {**made, name: (made[name] + 1 + int(rng.integers(count - 1))) % count}
        return _text(self._play(partial(_as_in, changed, rng=rng))[1])

    def crossover(self, one: str, other: str, rng: np.random.Generator) -> str:
        left, right = self._read(one), self._read(other)
        names = {*left, *right}
        mixed = {
            name: (left if name not in right or (name in left and rng.random() < 0.5) else right)[name]
            for name in sorted(names)
        }
        child = _text(self._play(partial(_as_in, mixed, rng=rng))[1])
        return child if child not in (one, other) else self.mutate(one, rng)

    def config(self, spec: str) -> Any:
        """What `build` takes for a spec.

        Raises:
            SpecError: it does not belong to the space.
        """
        return self._play(partial(_as_in, self._read(spec)))[0]

    def chosen(self, spec: str) -> dict[str, Any]:
        """Name -> option of every choice, in the order they are made.

        Raises:
            SpecError: it does not belong to the space.
        """
        return self._play(partial(_as_in, self._read(spec)))[1]

    def chosen_by(self, choose: Choose) -> Any:
        """What `build` takes, where `choose(name, options)` gives an option: `trial.suggest_categorical`, say."""
        if isinstance(self.choices, Mapping):
            return {name: choose(name, options) for name, options in self.choices.items()}
        return self.choices(choose)

    def spec_of(self, chosen: Mapping[str, Any]) -> str:
        """The spec of choices by name, as other programs keep them; names that are no choice are left out.

        Raises:
            SpecError: a choice is missing, or is none of its options.
        """
        try:
            return _text(self._play(partial(_as_in, self._places(json.loads(json.dumps(dict(chosen))))))[1])
        except (ValueError, KeyError, TypeError) as error:
            raise self._refused(str(dict(chosen)), error) from None

    def options_of(self, spec: str) -> dict[str, Sequence[Any]]:
        """Name -> all options of every choice that a spec makes.

        Raises:
            SpecError: it does not belong to the space.
        """
        return self._options(self._read(spec))

    def network(self, spec: str) -> Any:
        return self.build(self.config(spec))

    def graphs(self, specs: Sequence[str]) -> GraphBatch:
        from archcast.graphs.capture import capture
        from archcast.graphs.graph import GraphBatch

        return GraphBatch.from_graphs(
            capture(partial(self.network, spec), self.input_shape, name=spec) for spec in specs
        )

    @property
    def size(self) -> float:
        if isinstance(self.choices, Mapping):
            return float(math.prod(len(options) for options in self.choices.values()))
        return math.inf if self._all is None else float(len(self._all))

    def specs(self) -> tuple[str, ...] | None:
        return self._all

    @cached_property
    def _all(self) -> tuple[str, ...] | None:
        """Every way to choose, by counting up like an odometer whose wheels may change."""
        if isinstance(self.choices, Mapping) and self.size > ENUMERABLE:
            return None
        found: list[str] = []
        turns: list[tuple[int, int]] = []
        while len(found) <= ENUMERABLE:
            path = [turn for turn, _ in turns]
            turns = []

            def choose(_: str, options: Sequence[Any], path: list[int] = path, made: Any = turns) -> int:
                turn = path[len(made)] if len(made) < len(path) else 0
                made.append((turn, len(options)))
                return turn

            found.append(_text(self._play(choose)[1]))
            while turns and turns[-1][0] + 1 == turns[-1][1]:
                turns.pop()
            if not turns:
                return tuple(found)
            turns[-1] = (turns[-1][0] + 1, turns[-1][1])
        return None

    def contains(self, spec: str) -> bool:
        try:
            self._read(spec)
        except SpecError:
            return False
        return True

    def _play(self, choose: Callable[[str, Sequence[Any]], int]) -> tuple[Any, dict[str, Any]]:
        """The configuration and the options chosen, where `choose` gives positions of options."""
        made: dict[str, Any] = {}

        def record(name: str, options: Sequence[Any]) -> Any:
            if name in made:
                raise ConfigError(f"choice {name!r} was made twice; give every choice a name of its own")
            if not len(options) or len(made) >= _MOST_CHOICES:
                raise ConfigError(f"choice {name!r} has no options, or there are more than {_MOST_CHOICES} choices")
            made[name] = options[choose(name, options)]
            return made[name]

        if isinstance(self.choices, Mapping):
            return {name: record(name, options) for name, options in self.choices.items()}, made
        return self.choices(record), made

    def _options(self, made: Mapping[str, int]) -> dict[str, Sequence[Any]]:
        """The options of every choice that exists when choosing as in `made`."""
        seen: dict[str, Sequence[Any]] = {}

        def choose(name: str, options: Sequence[Any]) -> int:
            seen[name] = options
            return _as_in(made, name, options)

        self._play(choose)
        return seen

    def _read(self, spec: str) -> dict[str, int]:
        """Positions of the options that a spec chooses."""
        try:
            chosen = json.loads(spec)
            made = self._places(chosen)
            if set(made) != set(chosen):
                raise KeyError(", ".join(sorted(set(chosen) - set(made))))
        except (ValueError, KeyError, TypeError) as error:
            raise self._refused(spec, error) from None
        return made

    def _places(self, chosen: Mapping[str, Any]) -> dict[str, int]:
        """Positions of the options that are chosen by name; names that are no choice are left out."""
        made: dict[str, int] = {}

        def choose(name: str, options: Sequence[Any]) -> int:
            made[name] = [json.loads(json.dumps(option)) for option in options].index(chosen[name])
            return made[name]

        self._play(choose)
        return made

    def _refused(self, text: str, error: Exception) -> SpecError:
        return SpecError(
            f"{text[:120]!r} is no architecture of {self.name} ({error}); a spec is the JSON of all its choices"
        )


def _as_in(made: Mapping[str, int], name: str, options: Sequence[Any], rng: np.random.Generator | None = None) -> int:
    """The position chosen before, where there is one and it still exists; else a random one, or the first."""
    position = made.get(name, -1)
    if 0 <= position < len(options):
        return position
    return 0 if rng is None else int(rng.integers(len(options)))


def _text(made: Mapping[str, Any]) -> str:
    return json.dumps(made, separators=(",", ":"), ensure_ascii=False)


def open_space(space: str | Benchmark | SearchSpace[Any] | Space, task: str | None = None, *, table: bool) -> Space:
    """Whatever names a space -> the `Space`.

    Args:
        space: name of a benchmark, or an object that is a space.
        task: data set; decides the image size and the classes of a benchmark.
        table: only the architectures whose score is known, with `BenchmarkSpace.lookup`.

    Raises:
        UnknownNameError: no such benchmark.
        ConfigError: `table` of a space that has none, or something that is no space.
    """
    if isinstance(space, Benchmark):
        return BenchmarkSpace.of(space)
    if isinstance(space, str):
        return BenchmarkSpace.of(load_benchmark(space, task)) if table else _whole(get_space(space), task)
    if table:
        raise ConfigError("a space of your own has no table of scores: pass evaluate, which trains a spec")
    if isinstance(space, SearchSpace):
        return _whole(space, task)
    if isinstance(space, Space):
        return space
    raise ConfigError(f"{type(space).__name__} is no search space; give a benchmark name, a SearchSpace or a Space")


def _whole(space: SearchSpace[Any], task: str | None) -> BenchmarkSpace:
    if task is None:
        return BenchmarkSpace(space)
    if task not in NUM_CLASSES:
        raise UnknownNameError(f"no task {task!r}; there are: {', '.join(NUM_CLASSES)}")
    space = space.for_task(task)
    shape = INPUT_SHAPES.get(task)
    return BenchmarkSpace(space if shape is None else type(space)(shape), NUM_CLASSES[task])
