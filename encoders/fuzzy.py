"""Fuzzy c-means on embeddings: how much a network belongs to each of several families.

The clustering is scikit-fuzzy's (Bezdek's algorithm). What is kept are the centres and the fuzziness, from which the
memberships of any network follow in closed form:

    u_ic = |x_i - v_c|^(-2 / (m - 1)) / sum over k of |x_i - v_k|^(-2 / (m - 1))

so inference needs neither scikit-fuzzy nor the training networks. GENNAPE (Mills et al., AAAI 2023) weighs one head
per cluster by these memberships.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from archcast.errors import BundleError, ConfigError, DataError

if TYPE_CHECKING:
    import torch

FloatArray = NDArray[np.float64]

_TINY: Final = 1e-12  # squared distance below which a network counts as lying on a centre
_APART: Final = 1e-3  # centres closer than this share of the spread of the data are one and the same


@dataclass(frozen=True, eq=False)
class FuzzyClusters:
    """Centres of clusters that networks belong to in part.

    Attributes:
        centres: `[C, D]` one row per cluster.
        fuzziness: the exponent m > 1; towards 1 each network belongs to one cluster, large m spreads it over all.
        partition_coefficient: mean over the training networks of the sum of their squared memberships, 1 / C
            (everybody belongs everywhere) to 1 (crisp).
    """

    centres: NDArray[np.float32]
    fuzziness: float
    partition_coefficient: float = float("nan")

    @classmethod
    def fit(
        cls,
        embeddings: NDArray[Any],
        clusters: int,
        *,
        fuzziness: float | None = None,
        seed: int = 0,
        tolerance: float = 1e-4,
        max_iterations: int = 500,
    ) -> FuzzyClusters:
        """Cluster `[n, D]` embeddings.

        Args:
            embeddings: one row per network, columns on comparable scales.
            clusters: their number C.
            fuzziness: the exponent m; `suggested_fuzziness` of the data when left out. The textbook's m = 2 pulls all
                centres into one point where D is large (Winkler et al., 2011).
            seed: of the first centres, drawn as k-means++ draws them.
            tolerance: the iteration ends when the norm of the change of all memberships falls below it.
            max_iterations: or after this many rounds.

        Raises:
            ConfigError: fewer than 2 clusters, or a fuzziness that is not above 1.
            DataError: embeddings are no finite matrix, are fewer than clusters, or the centres fell together.
        """
        from scipy.spatial.distance import pdist
        from skfuzzy.cluster import cmeans
        from sklearn.cluster import kmeans_plusplus

        rows = _checked(embeddings)
        if clusters < 2:
            raise ConfigError(f"clusters={clusters}: ask for at least 2")
        if fuzziness is not None and not fuzziness > 1:
            raise ConfigError(f"fuzziness={fuzziness}: it must be above 1")
        if len(np.unique(rows, axis=0)) < clusters:
            raise DataError(f"{clusters} clusters need as many different embeddings; ask for fewer")
        exponent = suggested_fuzziness(*rows.shape) if fuzziness is None else float(fuzziness)
        start, _ = kmeans_plusplus(rows, clusters, random_state=seed)
        found = cmeans(  # features x networks; an explicit start keeps it away from numpy's global generator
            rows.T, clusters, exponent, tolerance, max_iterations, init=_memberships(rows, start, exponent).T
        )
        result = cls(found[0].astype(np.float32), exponent, float(found[6]))
        if pdist(result.centres).min() < _APART * rows.std(axis=0).max():
            raise DataError(
                f"centres fell together at fuzziness {exponent:.3g}; give one nearer to 1 or ask for fewer clusters"
            )
        return result

    def __len__(self) -> int:
        return len(self.centres)

    def memberships(self, embeddings: NDArray[Any]) -> FloatArray:
        """`[n, C]` membership of each row of `[n, D]` in each cluster; rows sum to 1.

        Raises:
            DataError: the embeddings are no finite matrix of width D.
        """
        rows = _checked(embeddings)
        if rows.shape[1] != self.centres.shape[1]:
            raise DataError(f"embeddings have {rows.shape[1]} columns, the clusters {self.centres.shape[1]}")
        return _memberships(rows, self.centres.astype(np.float64), self.fuzziness)

    def torch_memberships(self, embeddings: torch.Tensor) -> torch.Tensor:
        """The same in torch, on the device of `embeddings`; differentiable and exportable to ONNX."""
        centres = embeddings.new_tensor(self.centres)
        squared = (embeddings[:, None] - centres[None]).square().sum(dim=2)
        return (squared.clamp_min(_TINY).log() / (1 - self.fuzziness)).softmax(dim=1)

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Everything as arrays, for a safetensors file."""
        return {
            "centres": self.centres,
            "fuzziness": np.asarray([self.fuzziness]),
            "partition_coefficient": np.asarray([self.partition_coefficient]),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> FuzzyClusters:
        """What `to_arrays` gave.

        Raises:
            BundleError: an array is missing or has another form.
        """
        try:
            centres = np.asarray(arrays["centres"], dtype=np.float32)
            fuzziness, coefficient = float(arrays["fuzziness"][0]), float(arrays["partition_coefficient"][0])
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise BundleError(f"the arrays of the clusters are damaged ({error!r}); save them again") from error
        if centres.ndim != 2 or len(centres) < 2 or not np.isfinite(centres).all() or not fuzziness > 1:
            raise BundleError(f"centres of shape {centres.shape} with fuzziness {fuzziness} are no clusters; save anew")
        return cls(centres, fuzziness, coefficient)


def suggested_fuzziness(networks: int, columns: int) -> float:
    """Exponent m at which structureless data of this size just gives no clusters, at most 2.

    Schwaemmle and Jensen, Bioinformatics 26 (2010), equation 5:
    m = 1 + (1418 / n + 22.05) D^-2 + (12.33 / n + 0.243) D^(-0.0406 ln n - 0.1134).
    """
    first = (1418 / networks + 22.05) * columns**-2.0
    second = (12.33 / networks + 0.243) * columns ** (-0.0406 * np.log(networks) - 0.1134)
    return float(min(1 + first + second, 2.0))


def _memberships(rows: FloatArray, centres: FloatArray, fuzziness: float) -> FloatArray:
    """The formula above, with logarithms: for m near 1 the powers themselves leave the range of floats."""
    from scipy.spatial.distance import cdist
    from scipy.special import softmax

    squared = np.maximum(cdist(rows, centres, "sqeuclidean"), _TINY)
    return np.asarray(softmax(np.log(squared) / (1 - fuzziness), axis=1))


def _checked(embeddings: NDArray[Any]) -> FloatArray:
    rows = np.asarray(embeddings, dtype=np.float64)
    if rows.ndim != 2 or not rows.size or not np.isfinite(rows).all():
        raise DataError(f"embeddings of shape {rows.shape} must be a finite matrix, networks by columns")
    return rows
