"""Which heads, and is pretraining of use? scikit-learn's grid search over predictors of really trained networks.

python examples/sklearn_model_selection.py [--networks 24]
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.model_selection import GridSearchCV, KFold

from archcast.cli_output import print_table
from archcast.search.adapters.sklearn import NetworkRegressor
from archcast.search.config import load_file


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", type=int, default=24, help="trainings")
    options = parser.parse_args()
    space, evaluate = load_file(Path(__file__).with_name("search_space.py"))
    train: Any = evaluate
    rng = np.random.default_rng(0)
    specs = list(dict.fromkeys(space.sample(rng) for _ in range(options.networks)))
    networks = list(space.graphs(specs))
    accuracies = [train(spec, epochs=1) for spec in specs]
    grid = {"predictor": [None, "base"], "heads": [["gp"], ["ridge"]]}
    search = GridSearchCV(NetworkRegressor(), grid, cv=KFold(3, shuffle=True, random_state=0), error_score="raise")
    search.fit(networks, accuracies)
    results = search.cv_results_
    rows = [
        [str(values["predictor"]), ", ".join(values["heads"]), f"{tau:.2f}"]
        for values, tau in zip(results["params"], results["mean_test_score"], strict=True)
    ]
    print_table(f"Kendall tau, {len(specs)} networks", ["predictor", "heads", "cross-validated"], rows)


if __name__ == "__main__":
    main()
