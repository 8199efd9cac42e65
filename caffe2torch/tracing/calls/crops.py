"""Slices and `narrow`: Caffe's Crop to the size of another tensor, or its Slice at constant points."""

from __future__ import annotations

import operator
from dataclasses import dataclass, field

import torch

from caffe2torch.tracing.calls import says
from caffe2torch.tracing.drawing import Call, Side, Size, Top


@dataclass(frozen=True)
class Cut:
    """The part of an axis that is kept; `to` is the tensor whose length it takes, if there is one."""

    start: int
    stop: int
    to: Top | None


@dataclass(frozen=True, eq=False)
class Cropped(Top):
    """A part of `whole`, drawn when it is first read: successive cuts of different axes are one layer."""

    call: Call = field(kw_only=True)
    whole: Top = field(kw_only=True)
    cuts: dict[int, Cut] = field(kw_only=True)
    drawn: list[Top] = field(kw_only=True, default_factory=list)

    def written(self) -> Top:
        """The part as a blob of the net."""
        if not self.drawn:
            self.drawn.append(_drawn(self.call, self.whole, self.cuts, self.shape))
        return self.drawn[0]


@says("narrow", torch.narrow)
def narrow(call: Call, x: Top, dim: int, start: int, length: int) -> Top:
    """A part of one axis."""
    to = length.of if isinstance(length, Side) else None
    axis = dim % len(x.shape)
    first = start % x.shape[axis]
    return _cut(call, x, {axis: Cut(first, first + length, to)})


@says(operator.getitem)
def item(call: Call, x: Top, index: object) -> Top:
    """A part of some axes, such as x[:, :, 5 : 5 + y.shape[2], 5 : 5 + y.shape[3]]."""
    given: tuple[object, ...] = index if isinstance(index, tuple) else (index,)
    if given.count(Ellipsis):
        at = given.index(Ellipsis)
        missing = len(x.shape) - len(given) + 1
        given = (*given[:at], *(slice(None),) * missing, *given[at + 1 :])
    parts = [part for part in given if isinstance(part, slice) and part.step in (None, 1)]
    if len(parts) != len(given):
        call.refuse("the index drops or adds an axis, or has a step; Caffe cuts ranges: write x[:, 2:3]")
    cuts = {}
    for axis, part in enumerate(parts):
        start, stop, _ = part.indices(x.shape[axis])
        cuts[axis] = Cut(start, stop, getattr(part.stop, "of", None))
    return _cut(call, x, cuts)


def _cut(call: Call, x: Top, cuts: dict[int, Cut]) -> Top:
    """Cuts x; if x is itself cut along other axes, the cuts are merged."""
    cuts = {axis: cut for axis, cut in cuts.items() if (cut.start, cut.stop) != (0, x.shape[axis])}
    if not cuts:
        return x
    if isinstance(x, Cropped) and not x.drawn and not set(cuts) & set(x.cuts):
        cuts = {**x.cuts, **cuts}
        x = x.whole
    if empty := [axis for axis, cut in cuts.items() if cut.stop <= cut.start]:
        call.refuse(f"leaves nothing of axis {empty[0]}")
    shape = list(x.shape)
    for axis, cut in cuts.items():
        shape[axis] = cut.stop - cut.start
    return Cropped("", tuple(shape), call=call, whole=x, cuts=cuts)


def _drawn(call: Call, x: Top, cuts: dict[int, Cut], shape: Size) -> Top:
    """A Crop if all cuts are to the size of one tensor, matched from the first cut axis on; else Slices."""
    references = list({id(cut.to): cut.to for cut in cuts.values()}.values())
    axis, to = min(cuts), references[0]
    if len(references) == 1 and to is not None:
        if to.shape[axis:] != shape[axis:]:
            call.refuse(f"Caffe's Crop would cut {x.shape} to {to.shape[axis:]} on every axis from {axis} on")
        offsets = [cuts[i].start if i in cuts else 0 for i in range(axis, len(shape))]
        offsets = offsets[:1] if len(set(offsets)) == 1 else offsets
        return call.layer("Crop", x, to, crop_param={"axis": axis, "offset": offsets})
    for axis, cut in sorted(cuts.items()):
        x = _middle(call, x, axis, cut)
    return x


def _middle(call: Call, x: Top, axis: int, cut: Cut) -> Top:
    """The top of a Slice that is kept."""
    points = [point for point in (cut.start, cut.stop) if 0 < point < x.shape[axis]]
    p = {"axis": axis, "slice_point": points}
    tops = call.layers("Slice", x, tops=len(points) + 1, slice_param=p)
    return tops[0 if cut.start == 0 else 1]
