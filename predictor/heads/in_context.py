"""Head that reads its labels in context: nothing is fitted but where the labelled networks stand.

The learning was done before, on other spaces (`archcast.predictor.in_context`). Features beyond the columns of
`encode`, as a ranker's score, are left out; measured statistics count as far as the likelihood says.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from archcast.encoders.features import FEATURE_NAMES
from archcast.errors import DataError
from archcast.predictor.heads.networks import Networks
from archcast.predictor.in_context import InContextNetwork

FloatArray = NDArray[np.float64]

_MAX_ROWS = 400  # the process costs the cube of them, and other heads are as good with more


@dataclass(frozen=True, eq=False)
class InContextHead:
    """A network with its context. Build it with `InContextHead.fit`.

    Attributes:
        network: what was learnt on other spaces.
        features, measured: `[n, F]` and `[n, P]` of the labelled networks.
        targets: `[n]`.
    """

    network: InContextNetwork
    features: FloatArray
    measured: FloatArray
    targets: FloatArray = field(repr=False)

    @classmethod
    def fit(
        cls, networks: Networks, targets: FloatArray, *, seed: int = 0, network: InContextNetwork | None = None
    ) -> InContextHead:
        """Take `networks` and `targets` `[n]` as context.

        Args:
            networks: whose first columns are those of `encode`.
            targets: normal scores of labels.
            seed: of the subset that is kept of more than 400.
            network: what was learnt before; an untrained one by default.

        Raises:
            DataError: fewer columns than `encode` gives.
        """
        rows = np.arange(len(targets))
        if len(rows) > _MAX_ROWS:
            rows = np.sort(np.random.default_rng(seed).choice(rows, _MAX_ROWS, replace=False))
        features, measured = _parts(networks)
        return cls(network or InContextNetwork.untrained(), features[rows], measured[rows], targets[rows])

    def predict(self, networks: Networks) -> FloatArray:
        """`[m]` scores.

        Raises:
            DataError: fewer columns than `encode` gives, or other measured statistics than in the context.
        """
        features, measured = _parts(networks)
        if measured.shape[1] != self.measured.shape[1]:
            raise DataError(
                f"{measured.shape[1]} measured statistics, and {self.measured.shape[1]} of the labelled networks; "
                "measure both in the same way"
            )
        if not len(features):
            return np.zeros(0)
        return self.network.few_shot(self.features, self.targets, features, self.measured, measured)


def _parts(networks: Networks) -> tuple[FloatArray, FloatArray]:
    columns = networks.features.shape[1] - networks.measured
    if columns < len(FEATURE_NAMES):
        raise DataError(
            f"{columns} features, and {len(FEATURE_NAMES)} are needed: give those of archcast.encoders.features.encode"
        )
    return networks.features[:, : len(FEATURE_NAMES)], networks.features[:, columns:]
