"""Optuna: `Sampler` proposes architectures, `Pruner` stops those that are forecast to be of no use.

    space = archcast.ChoiceSpace(choices, build)

    def objective(trial):
        config = space.chosen_by(trial.suggest_categorical)
        rate = trial.suggest_float("rate", 1e-4, 1e-1, log=True)
        return train(build(config), rate)

    study = optuna.create_study(direction="maximize", sampler=Sampler(space, predictor="base"))
    study.optimize(objective, n_trials=50, n_jobs=2)

The study is the memory: a new sampler on an old study, or one in another process, learns all its trials first.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from archcast.errors import ConfigError, DataError
from archcast.search.adapters.core import Settings, missing, spec_or_none
from archcast.search.core import Search
from archcast.search.spaces import ChoiceSpace

try:
    from optuna import TrialPruned
    from optuna.distributions import CategoricalDistribution
    from optuna.samplers import BaseSampler, RandomSampler
    from optuna.study import Study, StudyDirection
    from optuna.trial import FrozenTrial, TrialState
except ImportError as error:
    raise missing("Optuna", error) from error

_SPEC = "archcast:spec"  # system attribute of a trial: what was proposed
_TRIES = 20  # proposals that another process was quicker to write


@dataclass
class _Known:
    """What a sampler knows of a study."""

    search: Search
    proposed: dict[int, str] = field(default_factory=dict)
    too_many: set[int] = field(default_factory=set)
    ended: set[int] = field(default_factory=set)


class Sampler(BaseSampler):  # type: ignore[misc]  # Optuna is not followed by mypy
    """Proposes the choices of `space`, all of a trial at once.

    Args:
        space: the objective has to suggest its choices under the same names with the same options.
        objectives: a name for each value of the study, without a sign; one that is a cost (`macs`, `params`) is
            counted before training. By default none is.
        others: samples parameters that are not the space's, such as a learning rate; at random when left out.
        settings: see `archcast.search.adapters.core.Settings`.

    Failed and pruned trials are known as failures and not proposed again. Enqueued choices win over a proposal, which
    then counts as failed. Once every architecture was proposed, the study stops.
    """

    def __init__(
        self, space: ChoiceSpace, *, objectives: Sequence[str] = (), others: BaseSampler | None = None, **settings: Any
    ) -> None:
        self.space, self.objectives, self.settings = space, tuple(objectives), Settings.of(settings)
        self.others = RandomSampler(self.settings.seed) if others is None else others
        self._known: dict[tuple[Any, str], _Known] = {}
        self._lock = threading.RLock()

    def search(self, study: Study) -> Search:
        """The search behind a study, with all that its trials have taught."""
        with self._lock:
            return self._learnt(study).search

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, Any]:
        rest = self.others.infer_relative_search_space(study, trial)
        spec = self._propose(study, trial)
        options = {} if spec is None else self.space.options_of(spec)
        return {**rest, **{name: CategoricalDistribution(among) for name, among in options.items()}}

    def sample_relative(self, study: Study, trial: FrozenTrial, search_space: dict[str, Any]) -> dict[str, Any]:
        spec = self._learnt(study).proposed.get(trial.number)
        chosen = {} if spec is None else self.space.chosen(spec)
        rest = {name: distribution for name, distribution in search_space.items() if name not in chosen}
        return {**self.others.sample_relative(study, trial, rest), **chosen}

    def sample_independent(self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: Any) -> Any:
        if trial.number in self._learnt(study).too_many:
            raise TrialPruned(f"every architecture of {self.space.name} was proposed")
        return self.others.sample_independent(study, trial, param_name, param_distribution)

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        self.others.before_trial(study, trial)

    def after_trial(self, study: Study, trial: FrozenTrial, state: Any, values: Sequence[float] | None) -> None:
        self.others.after_trial(study, trial, state, values)
        with self._lock:
            self._learn(self._learnt(study), trial, state, values)

    def reseed_rng(self) -> None:
        self.others.reseed_rng()  # ours depends on what is known, which threads share

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_known": {}, "_lock": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _lock=threading.RLock())

    def _propose(self, study: Study, trial: FrozenTrial) -> str | None:
        if spec_or_none(self.space, trial.system_attrs.get("fixed_params", {})) is not None:
            return None  # enqueued whole
        with self._lock:
            for _ in range(_TRIES):
                known = self._learnt(study)
                specs = known.search.ask(1)
                if not specs:
                    known.too_many.add(trial.number)
                    self._stop(study)
                    return None
                study._storage.set_trial_system_attr(trial._trial_id, _SPEC, specs[0])
                known.proposed[trial.number] = specs[0]
                taken = (other.system_attrs.get(_SPEC) for other in _trials(study) if other.number != trial.number)
                if specs[0] not in taken:  # else another process has written it since we looked
                    return specs[0]
        raise DataError(f"other processes took {_TRIES} proposals in a row; run fewer of them, or with other seeds")

    def _stop(self, study: Study) -> None:
        """End the study; the trial that has nothing to evaluate is pruned as soon as it asks for a choice."""
        try:
            study.stop()
        except RuntimeError:  # asked outside of `optimize`, which alone can be stopped
            raise DataError(f"every architecture of {self.space.name} was proposed; ask for no more trials") from None

    def _learnt(self, study: Study) -> _Known:
        """What is known of `study`, brought up to date with its storage."""
        key = (study._storage, study.study_name)
        with self._lock:
            if key not in self._known:
                self._known[key] = _Known(self.settings.search(self.space, self._named(study)))
            known = self._known[key]
            for trial in _trials(study):
                if trial.number not in known.ended:
                    self._learn(known, trial, trial.state, trial.values)
            return known

    def _learn(self, known: _Known, trial: FrozenTrial, state: Any, values: Sequence[float] | None) -> None:
        proposed = trial.system_attrs.get(_SPEC)
        made = (
            spec_or_none(self.space, trial.params)
            or spec_or_none(self.space, trial.system_attrs.get("fixed_params", {}))
            or proposed
        )
        search = known.search
        if state in (TrialState.RUNNING, TrialState.WAITING):
            for spec in (proposed, made):
                if spec is not None:
                    search.adopt(spec)
            return
        known.ended.add(trial.number)
        if made is not None:
            if values is None or state != TrialState.COMPLETE:
                search.tell(made, TrialPruned(state.name.lower()))
            else:
                search.tell(made, dict(zip(search.objectives.names, values, strict=True)))
        if proposed not in (None, made):
            search.tell(proposed, DataError("the trial evaluated another architecture"))

    def _named(self, study: Study) -> list[str]:
        count = len(study.directions)
        names = self.objectives or tuple(f"value{i}" if i else "value" for i in range(count))
        if len(names) != count:
            raise ConfigError(f"{len(names)} objectives for a study with {count} directions; name one each")
        signs = ("-" if direction == StudyDirection.MINIMIZE else "" for direction in study.directions)
        return [sign + name for sign, name in zip(signs, names, strict=True)]


def _trials(study: Study) -> list[FrozenTrial]:
    """All trials, whatever bracket a pruner has put them into."""
    trials: list[FrozenTrial] = study._storage.get_all_trials(study._study_id, deepcopy=False)
    return trials
