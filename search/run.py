"""`run_search`: the whole loop, from a space and a function that evaluates to a result."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, wait
from pathlib import Path
from typing import TYPE_CHECKING, Any

from archcast.errors import ConfigError
from archcast.ray_executor import ClusterError
from archcast.search.core import Search
from archcast.search.costs import Cost
from archcast.search.history import Trial
from archcast.search.result import SearchResult
from archcast.search.space import Space
from archcast.search.spaces import BenchmarkSpace, open_space
from archcast.search.strategy import Strategy, make_strategy

if TYPE_CHECKING:
    from archcast.datasets.benchmark import Benchmark
    from archcast.datasets.space import SearchSpace
    from archcast.predictor.predictor import Predictor

Evaluate = Callable[[str], Any]
Watch = Callable[[Search, Trial], None]


def run_search(
    space: str | Benchmark | SearchSpace[Any] | Space,
    evaluate: Evaluate | None = None,
    *,
    predictor: Predictor | str | Path | None = "base",
    budget: int = 150,
    seed: int = 0,
    strategy: str | Strategy = "guided",
    batch: int = 5,
    objectives: str | Sequence[str] = ("score",),
    costs: Mapping[str, Cost] | None = None,
    limits: Mapping[str, float] | None = None,
    task: str | None = None,
    journal: str | Path | None = None,
    resume: bool = False,
    executor: Executor | None = None,
    pool: int = 1000,
    on_result: Watch = lambda *_: None,
    on_start: Callable[[Search], None] = lambda _: None,
) -> SearchResult:
    """Search `space` for the architectures that `evaluate` scores best.

    Args:
        space: name of a benchmark, a `Benchmark` (its measured architectures), or a space of your own
            (`archcast.search.spaces.ChoiceSpace`).
        evaluate: trains the architecture of a spec (`space.network(spec)` builds it) and gives its score, several
            scores, or a mapping by name. What it raises is recorded as a failure, never fatal. Left out, the scores are
            read from the table of the benchmark.
        predictor: pretrained, as an object, a name or a folder; None for a search without.
        budget: evaluations, failures included.
        seed: the same seed gives the same search, if results come in the same order.
        strategy: name of one (`archcast.search.strategy.STRATEGIES`), or one.
        batch: architectures proposed together; with an executor, evaluations under way at the same time.
        objectives: names, "-" in front where less is better: `("score", "-macs")`. Costs (params, macs,
            activation_memory, and those of `costs`) are known without training.
        costs: further costs: name -> function from a list of specs to numbers, or a table spec -> number.
        limits: cost -> most that is allowed, checked before anything is built.
        task: data set of a benchmark; the first of its own when left out.
        journal: SQLite file that keeps every proposal and result; several processes may share it.
        resume: go on with a journal that exists.
        executor: runs evaluations at the same time; `archcast.ray_executor.RayExecutor` does on many machines. One of
            processes needs an `evaluate` that can be pickled. Against crashes of the interpreter, use threads and
            `archcast.search.isolation.Isolated(evaluate)`.
        pool: architectures looked at in each step where the space cannot be enumerated.
        on_result: called with the search and each trial that has come to an end.
        on_start: called with the search before the first proposal.

    Raises:
        UnknownNameError: no such benchmark, task or strategy.
        ConfigError: settings that do not fit together, or a journal of another search.
        MissingExtraError: a journal without SQLAlchemy.
    """
    if batch < 1:
        raise ConfigError(f"batch={batch}: propose at least one architecture at a time")
    place = open_space(space, task, table=evaluate is None)
    made = make_strategy(strategy)
    kept = None
    if journal is not None:
        from archcast.search.journal import SQLiteJournal

        wanted = [objectives] if isinstance(objectives, str) else objectives
        about = {"space": place.name, "objectives": ", ".join(wanted)}
        kept = SQLiteJournal.open(journal, about, resume=resume)
    elif resume:
        raise ConfigError("there is nothing to resume without a journal; name its file")
    search = Search(
        place, strategy=made, objectives=objectives, costs=costs, limits=limits, budget=budget, seed=seed,
        predictor=_predictor(predictor, made), journal=kept, pool=pool,
    )  # fmt: skip
    if evaluate is None:
        assert isinstance(place, BenchmarkSpace)  # `open_space` gives no other with a table
        evaluate = place.lookup
    on_start(search)
    if executor is None:
        _run_here(search, evaluate, batch, on_result)
    else:
        _run_with(executor, search, evaluate, batch, on_result)
    return SearchResult.of(search)


def _predictor(given: Predictor | str | Path | None, strategy: Strategy) -> Predictor | None:
    if given is None or not getattr(strategy, "uses_predictor", False):
        return None
    if isinstance(given, (str, Path)):
        from archcast.predictor.predictor import Predictor

        return Predictor.from_pretrained(given)
    return given


def _run_here(search: Search, evaluate: Evaluate, batch: int, on_result: Watch) -> None:
    """One evaluation after the other."""
    while specs := search.claim() or search.ask(batch):
        for spec in specs:
            started = time.perf_counter()
            result = _attempt(evaluate, spec)
            search.tell(spec, result, seconds=time.perf_counter() - started)
            _report(search, spec, on_result)


def _run_with(executor: Executor, search: Search, evaluate: Evaluate, slots: int, on_result: Watch) -> None:
    """As many evaluations as there are slots; a new one as soon as one has ended."""
    running: dict[Future[Any], tuple[str, float]] = {}
    try:
        _keep_busy(executor, search, evaluate, slots, on_result, running)
    finally:  # where it was interrupted, what has not been told stays pending in the journal
        for future in running:
            future.cancel()


def _keep_busy(
    executor: Executor, search: Search, evaluate: Evaluate, slots: int, on_result: Watch,
    running: dict[Future[Any], tuple[str, float]],
) -> None:  # fmt: skip
    waiting = search.claim()
    while True:
        if not waiting and len(running) < slots:
            waiting = search.ask(slots - len(running))
        while waiting and len(running) < slots:
            spec = waiting.pop(0)
            running[_submit(executor, evaluate, spec)] = (spec, time.perf_counter())
        if not running:
            return
        ended, _ = wait(running, return_when=FIRST_COMPLETED)
        for future in ended:
            spec, started = running.pop(future)
            result = future.exception() or future.result()
            if isinstance(result, ClusterError):  # it says nothing about the architecture
                raise result
            search.tell(spec, result, seconds=time.perf_counter() - started)
            _report(search, spec, on_result)


def _submit(executor: Executor, evaluate: Evaluate, spec: str) -> Future[Any]:
    try:
        return executor.submit(evaluate, spec)
    except ClusterError:
        raise
    except BrokenExecutor as error:
        raise ConfigError(
            f"the executor is broken ({error}); evaluate with archcast.search.isolation.Isolated in a pool of threads "
            "instead, and resume from the journal"
        ) from error


def _attempt(evaluate: Evaluate, spec: str) -> Any:
    try:
        return evaluate(spec)
    except Exception as error:  # whatever goes wrong in there is a result
        return error


def _report(search: Search, spec: str, on_result: Watch) -> None:
    trial = search.history.of_spec(spec)
    if trial is not None:
        on_result(search, trial)
