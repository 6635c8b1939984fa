"""Sub-networks of once-for-all supernets as PyTorch modules."""

from __future__ import annotations

from archcast.datasets.inverted_residual_module import ChainNetwork
from archcast.datasets.ofa_mobilenetv3 import SubNetwork, Supernet, chain


class OFANetwork(ChainNetwork):
    """One sub-network, as a network of its own. It takes images of any size."""

    def __init__(self, supernet: Supernet, arch: SubNetwork, num_classes: int = 1000, in_channels: int = 3) -> None:
        super().__init__(chain(supernet, arch), num_classes, in_channels)
