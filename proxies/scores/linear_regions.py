"""Linear regions (Chen et al., "Neural architecture search on ImageNet in four GPU hours" (TE-NAS), ICLR 2021).

TE-NAS counts the distinct activation patterns that some thousand inputs of a few pixels show, on networks of one block
and a few channels. On a network of full width every input has a pattern of its own, so that the count is always the
number of inputs. What is counted here are the borders between regions that a closed curve through input space meets:
regions are cut out by the units, and each change of sign of a unit between neighbouring points of the curve is one
border, found by the units of all layers together (Hanin and Rolnick, "Complexity of linear regions in deep networks",
ICML 2019, for the density of such borders along a line). Two borders of one unit between neighbouring points go unseen,
so the count is a lower bound.

The curve is a circle around the origin through two noise inputs. Maps are a quarter as high and wide as the network's
own inputs, or half, where it does not run on those; counts of networks measured at different resolutions do not
compare. At activations without a corner (GELU, Swish) what is counted is the sign of their input.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from archcast.graphs.feeds import Feed, Slot
from archcast.graphs.graph_layers import message_passing_layers
from archcast.proxies.passes import ACTIVATIONS, Passes, UnmeasurableError, activation_codes
from archcast.proxies.proxy import NodeValues, Proxy
from archcast.proxies.subject import Inputs, Subject
from archcast.proxies.tape import Tape

POINTS = 32
"""Points on the circle."""

SHRINKINGS = (4, 2)
"""What height and width are divided by, until the network runs."""

SMALLEST = 4
_STREAM = 4


def nodes(passes: Passes) -> NodeValues:
    """Changes of sign of the units of each activation function on the way around the circle."""
    subject = passes.subject
    if message_passing_layers(subject.module):
        raise UnmeasurableError("a graph network is fed with one graph: no curve leads through several inputs")
    if not any(slot.kind == "float" for slot in (*subject.feed.slots, *subject.feed.named.values())):
        raise UnmeasurableError("no floating-point input: linear regions are regions of a continuous input space")
    activations = [value for value in passes.tape.calls if passes.tape.nodes[value].op in ACTIVATIONS]
    for feed in _smaller_feeds(subject.feed):
        try:
            tape = _record(replace(subject, feed=feed))
        except Exception:  # whatever a forward method raises at a resolution it is not made for
            continue
        if [value for value in tape.calls if tape.nodes[value].op in ACTIVATIONS] == activations:
            return _borders(tape)
    return _borders(_record(replace(subject, feed=_resized(subject.feed, 1))))


def _borders(tape: Tape) -> NodeValues:
    codes = activation_codes(tape, POINTS)
    return {value: float((code != code.roll(1, dims=0)).sum()) for value, code in codes.items()}


def _record(subject: Subject) -> Tape:
    with torch.no_grad():
        return subject.record(_circle(subject.inputs(_STREAM)))[0]


def _smaller_feeds(feed: Feed) -> Iterator[Feed]:
    maps = [slot.shape for slot in (*feed.slots, *feed.named.values()) if _is_map(slot)]
    for shrinking in SHRINKINGS:
        if maps and min(min(shape[2:]) for shape in maps) >= shrinking * SMALLEST:
            yield _resized(feed, shrinking)


def _is_map(slot: Slot) -> bool:
    return slot.kind == "float" and len(slot.shape) == 4


def _resized(feed: Feed, shrinking: int) -> Feed:
    def resize(slot: Slot) -> Slot:
        sizes = slot.shape[1:]
        if _is_map(slot):
            sizes = (sizes[0], sizes[1] // shrinking, sizes[2] // shrinking)
        return Slot((POINTS, *sizes), slot.kind)

    return Feed(tuple(map(resize, feed.slots)), {key: resize(slot) for key, slot in feed.named.items()}, feed.constants)


def _circle(inputs: Inputs) -> Inputs:
    """cos(t) a + sin(t) b, with a and b the first two samples; other than floating-point inputs stay at the first."""
    angle = torch.arange(POINTS) * (2 * math.pi / POINTS)

    def place(samples: Tensor) -> Tensor:
        if not samples.is_floating_point():
            return samples[:1].expand_as(samples)
        cosine, sine = (part.to(samples).view(-1, *(1,) * (samples.dim() - 1)) for part in (angle.cos(), angle.sin()))
        return cosine * samples[0] + sine * samples[1]

    positional, named = inputs
    return tuple(map(place, positional)), {key: place(samples) for key, samples in named.items()}


PROXIES = (
    Proxy(
        name="linear_regions",
        paper="Chen et al., ICLR 2021; Hanin and Rolnick, ICML 2019",
        formula="number of changes of sign of all activations around a circle through two small inputs",
        sign=1,
        unit="borders",
        invariances="positive scale of any activation",
        reads="inputs",
        cost="full",
        nodes=nodes,
    ),
)
