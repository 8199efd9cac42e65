"""Where Caffe spoils its own numbers by computing in place; ours, which copy, are not.

A layer in place writes its top over its bottom, and Net::Backward then reads what is left: some layers need
the values that they, or a layer below, had there. Nothing is wrong where a layer keeps a copy (Scale,
BatchNorm), where it needs its top (Sigmoid), or where what counts is left, as ReLU's sign is by Dropout.
A Flatten makes its bottom's gradient its top's, memory and all, which a Reshape or LSTM below never sees.

    forward:   step -> _Trace, which memory it reads in its backward pass and which it overwrites
    backward:  _Trace -> whether a later layer has overwritten that
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, NamedTuple, get_args

from caffe2torch.net import Layer
from caffe2torch.plan.backward import loss_weights, propagated, with_gradient
from caffe2torch.plan.reads import (
    How,
    Read,
    backward_reads,
    is_in_place,
    left,
    never_below_0,
    shares_gradient,
    spoils_its_gradient,
    spoils_its_top,
    takes_gradient,
)

if TYPE_CHECKING:
    from caffe2torch.layers.converter import Converter
    from caffe2torch.plan import Plan


def output_notes(plan: Plan) -> tuple[str, ...]:
    """A sentence for a net of which Caffe's outputs differ."""
    layers = [step.layer for step in plan.steps if is_in_place(step.layer) and spoils_its_top(step.layer)]
    if not layers:
        return ()
    return (
        f"Caffe's outputs differ: in place, {_listed(map(_named, layers))} overwrites its bottom there "
        f"before it has read it; here it reads it first (docs/caffe.md)",
    )


def gradient_notes(plan: Plan) -> tuple[str, ...]:
    """A sentence for a net of which Caffe's gradients differ."""
    found = [_sentence(layer, below) for layer, below in _spoiled(plan)]
    found += [
        f"{_named(step.layer)} also changes {min(step.overwrites)!r}, in the same memory"
        for step in plan.steps
        if step.overwrites
    ]
    if not found:
        return ()
    return (f"Caffe's gradients differ: {_listed(found)}; here they are the derivatives (docs/caffe.md)",)


def _sentence(layer: Layer, below: Layer) -> str:
    if not is_in_place(layer):
        return f"{_named(layer)} leaves {_named(below)} without one"
    whose = "its own backward pass" if layer is below else f"the backward pass of {_named(below)}"
    return f"{_named(layer)} overwrites in place what {whose} needs"


def _named(layer: Layer) -> str:
    return f"{layer.name!r} ({layer.type})"


def _listed(items: Iterable[str]) -> str:
    names = list(items)
    return ", ".join(names[:3]) + (f", and {len(names) - 3} more" if len(names) > 3 else "")


class _Use(NamedTuple):
    """What of a piece of memory the backward pass of a layer reads."""

    memory: str
    how: How
    own: bool
    """The layer itself wrote it."""


@dataclass(eq=False)
class _Version:
    """A blob as one layer made it, until another writes over it in place."""

    memory: str
    """The name of the first blob in it."""
    maker: Layer
    wanted: bool
    """Its gradient reaches a parameter or, with force_backward, an input."""
    positive: bool
    """It has no values below 0."""
    readers: int = 0


@dataclass(frozen=True)
class _Trace:
    """A layer as Caffe runs it."""

    layer: Layer
    bottoms: tuple[_Version, ...]
    tops: tuple[_Version, ...]
    uses: tuple[_Use, ...]
    """For gradients that somebody wants."""
    in_place: bool
    wants: bool
    """Somebody wants a gradient that it computes."""


def _traced(plan: Plan) -> list[_Trace]:
    """All layers in order, with what Caffe keeps in one piece of memory under one name."""
    learned, traces = with_gradient(plan), list[_Trace]()
    now: dict[str, _Version] = {}
    for step in plan.steps:
        layer, bottoms = step.layer, tuple(now[bottom] for bottom in step.layer.bottoms)
        flows = propagated(plan, layer) or (True,) * len(bottoms)
        wanted = [flow and bottom.wanted for flow, bottom in zip(flows, bottoms, strict=True)]
        weights = any(parameter.key in learned for parameter in step.parameters)
        for bottom in bottoms:
            bottom.readers += 1
        tops = _made(step.converter, bottoms, weights or any(wanted) or plan.net.force_backward)
        now |= zip(layer.tops, tops, strict=True)
        uses = tuple(
            _Use(
                (bottoms if read.end == "bottom" else tops)[read.position].memory, read.how, read.end == "top"
            )
            for read in backward_reads(layer, positive=bool(bottoms) and bottoms[0].positive)
            if _is_for(read, wanted, weights)
        )
        traces.append(_Trace(layer, bottoms, tops, uses, is_in_place(layer), weights or any(wanted)))
    return traces


def _made(converter: Converter, bottoms: Sequence[_Version], wanted: bool) -> tuple[_Version, ...]:
    """The tops of a layer."""
    layer, first = converter.layer, bottoms[0] if bottoms else None
    in_place = is_in_place(layer)
    positive = never_below_0(layer, first is not None and first.positive)
    if first is not None and (in_place or converter.shares_memory()):
        # For who gets its gradient, a layer in place is a part of the one below.
        maker = first.maker if in_place else layer
        return tuple(_Version(first.memory, maker, wanted, positive) for _ in layer.tops)
    return tuple(_Version(top, layer, wanted, positive) for top in layer.tops)


def _is_for(read: Read, wanted: Sequence[bool], weights: bool) -> bool:
    """Whether somebody wants a gradient that a read is for."""
    if read.use == "weights":
        return weights
    others = (want for i, want in enumerate(wanted) if i != read.position)
    return any(others if read.use == "others" else wanted)


def _spoiled(plan: Plan) -> list[tuple[Layer, Layer]]:
    """Each layer that takes from one below, or from itself, what its gradient needs, with that one."""
    lost, barely_left = dict[_Use, Layer](), dict[str, dict[_Use, Layer]]()
    under_loss: set[str] = set()
    found = []
    for trace in reversed(_traced(plan)):
        layer = trace.layer
        for memory in {top.memory for top in trace.tops if top.readers > 1}:
            lost |= barely_left.pop(memory, {})
        if any(loss_weights(layer)) or under_loss & set(layer.tops):
            under_loss |= set(layer.bottoms)
            found += [(writer, layer) for writer in [lost[use] for use in trace.uses if use in lost][:1]]
            if trace.wants and trace.in_place and spoils_its_gradient(layer):
                found.append((layer, layer))
            if takes_gradient(layer) and _waits(trace.bottoms[0]):
                found.append((layer, trace.bottoms[0].maker))
        if trace.in_place:
            _overwrite(trace, lost, barely_left.setdefault(trace.bottoms[0].memory, {}))
    return found[::-1]


def _waits(blob: _Version) -> bool:
    """Whether a blob's maker waits for its gradient where a Flatten puts none."""
    return blob.wanted and blob.readers == 1 and shares_gradient(blob.maker)


def _overwrite(trace: _Trace, lost: dict[_Use, Layer], barely_left: dict[_Use, Layer]) -> None:
    """Takes note of what a layer in place leaves, or barely: to one that gets no other gradient."""
    memory, positive = trace.bottoms[0].memory, trace.bottoms[0].positive
    for how, own in product(get_args(How), (False, True)):
        use = _Use(memory, how, own)
        if not left(trace.layer, how, positive=positive, straight=own):
            lost[use] = trace.layer
        elif not left(trace.layer, how, positive=positive, straight=False):
            barely_left[use] = trace.layer
