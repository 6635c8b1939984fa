"""NePS: `Optimizer` proposes architectures.

    class Others(neps.PipelineSpace):            # may be empty
        rate = neps.Float(1e-4, 1e-1, log=True)

    def evaluate(arch, rate):
        return 100 - train(space.network(arch), rate)              # NePS minimises

    neps.run(evaluate, Others(), root_directory="run", evaluations_to_spend=50, optimizer=Optimizer(space))

NePS needs pandas and networkx below 3: give it an environment of its own. Its folder is the memory: workers share it,
and a run that is started again learns all its trials first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from archcast.errors import ConfigError, DataError
from archcast.search.adapters.core import Settings, missing
from archcast.search.space import Space

try:
    from neps.optimizers.neps_random_search import NePSRandomSearch
    from neps.optimizers.optimizer import SampledConfig
except ImportError as error:
    raise missing("NePS (neural-pipeline-search)", error, "neural-pipeline-search") from error


class Optimizer:
    """For `neps.run(optimizer=...)`: proposes `arch`, a spec of `space`; NePS draws the other parameters at random.

    Args:
        space: where architectures come from.
        objectives: a name for each of the losses; all are minimised.
        settings: see `archcast.search.adapters.core.Settings`.
    """

    def __init__(self, space: Space, *, objectives: Sequence[str] = ("loss",), **settings: Any) -> None:
        self.space, self.settings = space, Settings.of(settings)
        self.objectives = [f"-{name}" for name in objectives]

    def __call__(self, pipeline_space: Any) -> Ask:
        return Ask(self, pipeline_space)


class Ask(NePSRandomSearch):  # type: ignore[misc]  # NePS is not followed by mypy
    """What NePS asks. `search` is the search behind, with all that trials have taught."""

    def __init__(self, made: Optimizer, pipeline_space: Any) -> None:
        super().__init__(pipeline_space, ignore_fidelity="highest_fidelity")
        if "arch" in pipeline_space.get_attrs():
            raise ConfigError("the pipeline space must not hold arch, which is searched")
        self.search = made.settings.search(made.space, made.objectives)
        self._ended: set[str] = set()

    def __call__(self, trials: Mapping[str, Any], budget_info: Any, n: int | None = None) -> Any:
        for key in sorted(set(trials) - self._ended, key=_number):
            self._learn(key, trials[key])
        specs = self.search.ask(n or 1)
        if len(specs) < (n or 1):
            raise DataError(f"every architecture of {self.search.space.name} was proposed; ask for fewer evaluations")
        others = super().__call__(trials, budget_info, n or 1)
        configs = [
            SampledConfig(id=other.id, config={**other.config, "arch": spec})
            for other, spec in zip(others, specs, strict=True)
        ]
        return configs[0] if n is None else configs

    def _learn(self, key: str, trial: Any) -> None:
        spec = trial.config["arch"]
        if trial.report is None:
            self.search.adopt(spec)
            return
        self._ended.add(key)
        loss = trial.report.objective_to_minimize
        failed = trial.report.reported_as != "success" or loss is None
        self.search.tell(spec, DataError(f"the trial {trial.report.reported_as}") if failed else loss)


def _number(key: str) -> tuple[int, str]:
    return (int(key), key) if key.isdecimal() else (0, key)
