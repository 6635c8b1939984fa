"""Syne Tune: `Searcher` proposes architectures.

    others = {"epochs": 10, "rate": loguniform(1e-4, 1e-1)}
    searcher = Searcher(space, others, seed=0)
    scheduler = SingleObjectiveScheduler(
        searcher.config_space, metric="accuracy", do_minimize=False, searcher=searcher
    )
    Tuner(PythonBackend(tune_function=train, config_space=searcher.config_space), scheduler, ...).run()

`train(arch, epochs, rate)` builds `space.network(arch)` and reports.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from archcast.errors import ConfigError, DataError
from archcast.search.adapters.core import Asker, Settings, missing
from archcast.search.core import Search
from archcast.search.space import Space

try:
    from syne_tune.config_space import Domain
    from syne_tune.optimizer.schedulers.searchers.single_objective_searcher import SingleObjectiveBaseSearcher
except ImportError as error:
    raise missing("Syne Tune", error) from error


class Searcher(SingleObjectiveBaseSearcher):  # type: ignore[misc]  # Syne Tune is not followed by mypy
    """Proposes `arch`, a spec of `space`, for a `SingleObjectiveScheduler`.

    Args:
        space: where architectures come from.
        others: further parameters: constants, and domains, which are drawn at random.
        settings: see `archcast.search.adapters.core.Settings`.

    Attributes:
        config_space: for the scheduler and the backend. `arch` is a constant there: no domain of Syne Tune can say
            what `space` knows.

    The result that counts is the last that a trial reports. The scheduler turns it so that less is better, and the
    search behind sees it like that. A pickled tuner, which is how Syne Tune resumes, brings everything back.
    """

    def __init__(self, space: Space, others: Mapping[str, Any] | None = None, **settings: Any) -> None:
        made, given = Settings.of(settings), dict(others or {})
        if "arch" in given:
            raise ConfigError("others must not hold arch, which is searched")
        super().__init__({"arch": "", **given}, random_seed=made.seed)
        self._asker = Asker(space, ("-metric",), made)
        self._suggested = 0

    @property
    def search(self) -> Search:
        """The search behind, with all that trials have taught."""
        return self._asker.search

    def suggest(self, **kwargs: Any) -> dict[str, Any] | None:
        del kwargs
        # Trials are numbered in the order they are suggested, all of them being new ones.
        spec = self._asker.ask(str(self._suggested))
        if spec is None:
            return None
        rng = np.random.RandomState([self.random_seed, self._suggested])
        self._suggested += 1
        others = {
            name: domain.sample(random_state=rng) if isinstance(domain, Domain) else domain
            for name, domain in self.config_space.items()
            if name != "arch"
        }
        return {"arch": spec, **others}

    def on_trial_complete(self, trial_id: int, config: dict[str, Any], metric: float) -> None:
        del config
        self._asker.tell(str(trial_id), metric)

    def on_trial_error(self, trial_id: int) -> None:
        self._asker.tell(str(trial_id), DataError("the trial failed"))
