"""Plain: the signed sum of weight times gradient (Abdelfattah et al., ICLR 2021; after Mozer and Smolensky, 1989).

In front of a normalisation the sum over one layer is zero up to rounding, because scaling the layer changes nothing;
what remains comes from the layers that no normalisation follows, such as the classifier.
"""

from __future__ import annotations

from archcast.proxies.passes import Passes
from archcast.proxies.proxy import NodeValues, Proxy


def nodes(passes: Passes) -> NodeValues:
    gradients = passes.weight_gradients
    return {
        value: sum(float((w.detach() * g).sum()) for w, g in zip(group, gradients[value], strict=True))
        for value, group in passes.weights.items()
    }


PROXIES = (
    Proxy(
        name="plain",
        paper="Abdelfattah et al., ICLR 2021",
        formula="sum w dL/dw over all weights",
        sign=1,
        unit="1",
        invariances="scale of a weight in front of a normalisation",
        reads="inputs, labels",
        cost="fast",
        nodes=nodes,
    ),
)
