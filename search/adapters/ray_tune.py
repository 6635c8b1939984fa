"""Ray Tune: `Searcher` proposes architectures.

def trainable(config):
    tune.report({"accuracy": train(space.network(config["arch"]), config["rate"])})

searcher = ConcurrencyLimiter(Searcher(space, metric="accuracy", mode="max"), max_concurrent=2)
tuner = tune.Tuner(
    trainable,
    param_space={"rate": tune.loguniform(1e-4, 1e-1)},      # others are drawn at random
    tune_config=tune.TuneConfig(search_alg=searcher, num_samples=50),
)
tuner.fit().get_best_result("accuracy", "max").config["arch"]
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from archcast.datasets.atomic import atomic_path
from archcast.errors import ConfigError, DataError
from archcast.search.adapters.core import Asker, Settings, missing
from archcast.search.core import Search
from archcast.search.space import Space

try:
    from ray.tune.search.searcher import Searcher as BaseSearcher
    from ray.tune.search.variant_generator import generate_variants, parse_spec_vars
except ImportError as error:
    raise missing("Ray Tune", error) from error


class Searcher(BaseSearcher):  # type: ignore[misc]  # Ray is not followed by mypy
    """Proposes `config["arch"]`, a spec of `space`.

    Args:
        space: where architectures come from.
        metric: what trials report, or several; `TuneConfig` gives it as well where there is a `param_space`.
        mode: "max" or "min", one for each metric.
        settings: see `archcast.search.adapters.core.Settings`.

    Its state is JSON (`save`, `restore`), without `param_space`: give `Tuner.restore` the same again. A trial that a
    scheduler stops early counts with its last result, and one that has failed stays a failure when it is restarted.
    """

    _metric: Any
    _mode: Any

    def __init__(
        self, space: Space, metric: str | list[str] | None = None, mode: str | list[str] | None = None, **settings: Any
    ) -> None:
        super().__init__(metric=metric, mode=mode)
        self.space, self.settings = space, Settings.of(settings)
        self._others: dict[str, Any] = {}
        self._names: set[str] = set()
        self._asker: Asker | None = None

    @property
    def search(self) -> Search:
        """The search behind, with all that trials have taught."""
        return self._asked().search

    def set_search_properties(self, metric: str | None, mode: str | None, config: dict[str, Any], **spec: Any) -> bool:
        del spec
        if "arch" in config or parse_spec_vars(config)[2]:
            raise ConfigError(
                "param_space must not hold arch, which is searched, nor a grid; the rest is drawn at random"
            )
        self._metric, self._mode, self._others = metric or self._metric, mode or self._mode, dict(config)
        return True

    def suggest(self, trial_id: str) -> Any:
        if lost := self._names - set(self._others):
            raise ConfigError(f"give Tuner.restore the param_space again; without it nobody knows {sorted(lost)}")
        asker = self._asked()
        spec = asker.ask(trial_id)
        if spec is None:
            return BaseSearcher.FINISHED
        rng = np.random.default_rng([self.settings.seed, len(asker.search.history)])
        _, others = next(iter(generate_variants(self._others, random_state=rng)))
        return {**others, "arch": spec}

    def on_trial_complete(self, trial_id: str, result: Mapping[str, Any] | None = None, error: bool = False) -> None:
        asker = self._asked()
        if error or result is None:
            asker.tell(trial_id, DataError("the trial failed"))
        else:
            asker.tell(trial_id, result)

    def save(self, checkpoint_path: str) -> None:
        state = {**self._asked().state(), "metric": self._metric, "mode": self._mode, "others": list(self._others)}
        with atomic_path(Path(checkpoint_path)) as temporary:
            temporary.write_text(json.dumps(state), encoding="utf-8")

    def restore(self, checkpoint_path: str) -> None:
        try:
            state = json.loads(Path(checkpoint_path).read_text(encoding="utf-8"))
            metric, mode, names = state["metric"], state["mode"], set(state["others"])
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(
                f"{checkpoint_path} is no state of this searcher ({error}); start the run anew with its results"
            ) from error
        self._metric, self._mode, self._names = self._metric or metric, self._mode or mode, names
        self._asked().restore(state)

    def _asked(self) -> Asker:
        if self._asker is None:
            if not self._metric or not self._mode:
                raise ConfigError('there is nothing to optimise: give Searcher a metric and mode="max" or "min"')
            several = isinstance(self._metric, list)
            metrics, modes = (self._metric, self._mode) if several else ([self._metric], [self._mode])
            names = ["-" + metric if mode == "min" else metric for metric, mode in zip(metrics, modes, strict=True)]
            self._asker = Asker(self.space, names, self.settings)
        return self._asker
