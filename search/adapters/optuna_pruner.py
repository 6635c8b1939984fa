"""Optuna: `Pruner` ends trials whose network is forecast to be of no use, before or while it is trained.

def objective(trial):
    config = space.chosen_by(trial.suggest_categorical)
    if trial.should_prune():          # before anything is trained; nothing has to be reported
        raise optuna.TrialPruned
    return train(build(config))

study = optuna.create_study(direction="maximize", pruner=Pruner(space), sampler=optuna.samplers.TPESampler())
"""

from __future__ import annotations

import threading
from copy import copy
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from archcast.errors import CaptureError, ConfigError, DataError
from archcast.search.adapters.core import missing, spec_or_none
from archcast.search.spaces import ChoiceSpace

try:
    from optuna.pruners import BasePruner, NopPruner
    from optuna.study import Study, StudyDirection
    from optuna.trial import FrozenTrial, TrialState
except ImportError as error:
    raise missing("Optuna", error) from error

if TYPE_CHECKING:
    from archcast.predictor.predictor import Predictor


class Pruner(BasePruner):  # type: ignore[misc]  # Optuna is not followed by mypy
    """Prunes a trial if even the upper end of its network's 90 % interval lies below a quantile of what is complete.

    Args:
        space: the objective has to suggest its choices under the same names with the same options.
        predictor: where to start from, as an object, a name or a folder; None for one that knows the study alone. It is
            fitted anew, a second or two, whenever a trial was completed.
        n_startup: complete trials before anything is pruned.
        quantile: of the complete values: 0.5 is their median, 1 the best so far, which spares few trials.
        others: asked where the forecast does not prune; a pruner of intermediate values.

    The forecast knows the network and nothing else: no learning rate, and no intermediate value. Intervals hold for
    networks like those complete, and are wider for others. A trial is decided on once, when it first asks.
    """

    def __init__(
        self,
        space: ChoiceSpace,
        *,
        predictor: Predictor | str | Path | None = "base",
        n_startup: int = 20,
        quantile: float = 0.5,
        others: BasePruner | None = None,
    ) -> None:
        if n_startup < 10 or not 0 < quantile <= 1:
            raise ConfigError(f"n_startup={n_startup} must be 10 or more, and quantile={quantile} lie in 0..1")
        self.space, self.predictor, self.n_startup, self.quantile = space, predictor, n_startup, quantile
        self.others = NopPruner() if others is None else others
        self._decided: dict[tuple[str, int], bool] = {}
        self._lock = threading.Lock()

    def prune(self, study: Study, trial: FrozenTrial) -> bool:
        key = (study.study_name, trial.number)
        with self._lock:
            if key not in self._decided:
                self._decided[key] = self._hopeless(study, trial)
        return self._decided[key] or bool(self.others.prune(study, trial))

    def _hopeless(self, study: Study, trial: FrozenTrial) -> bool:
        spec = spec_or_none(self.space, trial.params)
        if spec is None:
            return False
        sign = -1.0 if study.direction == StudyDirection.MINIMIZE else 1.0
        complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        values = {
            made: sign * one.value for one in complete if (made := spec_or_none(self.space, one.params)) is not None
        }
        if len(values) < self.n_startup or spec in values:
            return False
        try:
            asked = self.space.graphs([spec])
            adapted = self._start().fit(self.space.graphs(list(values)), list(values.values()))
        except (CaptureError, DataError):
            return False  # a network of which there is no graph, or values that are all equal: there is no forecast
        bar = float(np.quantile(list(values.values()), self.quantile))
        return float(adapted.predict(asked, spread=False).high[0]) < bar

    def _start(self) -> Predictor:
        from archcast.predictor.predictor import Predictor

        if isinstance(self.predictor, (str, Path)):
            self.predictor = Predictor.from_pretrained(self.predictor)
        made = Predictor() if self.predictor is None else copy(self.predictor)
        made.unit = ""  # values of a study have no bounds that a unit would set
        return made

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_lock": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _lock=threading.Lock())
