"""The networks of Accel-NASBench as PyTorch modules."""

from __future__ import annotations

from archcast.datasets.accel_nasbench import MnasNet, chain
from archcast.datasets.inverted_residual_module import ChainNetwork


class AccelNetwork(ChainNetwork):
    """The layers of the authors' network. Their stochastic depth, which acts only while training, is left out."""

    def __init__(self, arch: MnasNet, num_classes: int = 1000, in_channels: int = 3) -> None:
        super().__init__(chain(arch), num_classes, in_channels)
