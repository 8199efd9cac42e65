"""Plan, size -> Schedule: of every blob, only what the image can reach is computed.

A net that pads its image by 100 computes mostly what no pixel of the image has a part in: its answer to an
image of zeros. For each value, rows and columns apart (Span):

    reached   what a pixel of an image can change; everything else is background
    demanded  what the layers that read it need, down to the outputs
    computed  what is demanded, or, where a frame of background is put around it, what of that is reached

A layer between two frames computes without padding, each a little less than the one before. Where more work
is saved by a frame than it costs to copy, there is one.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import reduce

from caffe2torch.eliding.layers import Traits, traits_of
from caffe2torch.eliding.spans import FAR, Region, Span, enclosed, seen, touched
from caffe2torch.layers.caffe.convolution import Convolution, Deconvolution
from caffe2torch.layers.caffe.pooling import Pooling
from caffe2torch.layers.converter import Shape
from caffe2torch.layers.geometry import Window
from caffe2torch.plan import Plan, Step
from caffe2torch.plan.sizes import tops_at
from caffe2torch.zoo.inputs import known_shapes

Sizes = Mapping[str, tuple[int, int]]
"""The height and width of each input."""
Regions = Mapping[int, Region]
"""By the numbers of values."""
Through = Callable[[Span, Window, int], Span]
"""How a span passes a window along an axis: `touched` or `enclosed`."""

COPY = 150
"""How many multiplications take as long as copying a value: measured on CPUs with AVX-512."""
_NO_PADS = (0, 0, 0, 0)


@dataclass(frozen=True)
class Part:
    """A step at one size. Values are numbered, one made in place too; regions are of whole blobs."""

    step: Step
    traits: Traits
    bottoms: tuple[int, ...]
    """Those whose numbers it needs."""
    tops: tuple[int, ...]
    reads: tuple[Region | None, ...] = ()
    """Of each bottom; None for all of it."""
    computes: Region | None = None
    """None for all."""
    pads: tuple[int, int, int, int] = _NO_PADS
    """The zeros above, below, left and right of what is read: the net's own padding, where it is in reach."""
    relu: bool = False
    """Whether the ReLU that follows is computed as well."""
    checks: bool = False
    """Whether it is made sure that its bottom is not too large for that."""

    @property
    def multiplications(self) -> int:
        """What it takes for one image."""
        return 0 if self.computes is None else _area(self.computes) * self.traits.multiplications


@dataclass(frozen=True)
class Schedule:
    """A net at one size; `whole` are all the pixels of each value that is an image, `holds` those kept."""

    sizes: Sizes
    parts: tuple[Part, ...]
    inputs: Mapping[str, int]
    outputs: Mapping[str, int]
    whole: Regions
    holds: Regions
    makers: Mapping[int, int]
    """The part that makes each value."""
    framed: frozenset[int] = frozenset()

    @property
    def multiplications(self) -> int:
        """What the convolutions take, for one image."""
        return sum(part.multiplications for part in self.parts)


class Eliding:
    """A plan, ready to be scheduled at any size: up to the step `end`."""

    def __init__(self, plan: Plan, end: int | None = None) -> None:
        self.channels = {blob: (shape or (1, 1))[1] or 1 for blob, shape in known_shapes(plan).items()}
        self.plan = plan if end is None else replace(plan, steps=plan.steps[:end], outputs=())
        self.parts, self.inputs, self.makers = list[Part](), dict[str, int](), dict[int, int]()
        names: dict[str, int] = {}
        for place, step in enumerate(self.plan.steps):
            bottoms = tuple(names[bottom] for bottom in step.layer.bottoms)
            tops = tuple(range(len(self.makers), len(self.makers) + len(step.layer.tops)))
            self.makers |= dict.fromkeys(tops, place)
            names |= zip(step.layer.tops, tops, strict=True)
            if step.layer.type == "Input":
                self.inputs |= zip(step.layer.tops, tops, strict=True)
            self.parts.append(Part(step, traits_of(step), bottoms, tops))
        self.last = names
        """The number of each blob as its last layer leaves it."""
        self.outputs = {name: names[name] for name in self.plan.outputs}

    def at(self, sizes: Sizes) -> Schedule:
        """The net at a size. Raises NetError for one that it does not take."""
        if any(step.overwrites for step in self.plan.steps):
            return self.whole(sizes)
        whole = self._whole(sizes)
        reached = self._spread(whole, {}, touched)
        parts, held, framed = self._demanded(whole, reached)
        holds = {**whole, **held}
        return Schedule(sizes, parts, self.inputs, self.outputs, whole, holds, self.makers, framed)

    def whole(self, sizes: Sizes) -> Schedule:
        """The net at a size, each layer computing all of its tops. Raises NetError."""
        whole = self._whole(sizes)
        parts = tuple(in_full(part, whole) for part in self.parts)
        return Schedule(sizes, parts, self.inputs, self.outputs, whole, whole, self.makers)

    def undisturbed(self, whole: Regions) -> dict[int, Region]:
        """The pixels that no padding reaches but that of an input, for an image of zeros."""
        endless = (Span(-FAR, FAR), Span(-FAR, FAR))
        return self._spread(whole, dict.fromkeys(self.inputs.values(), endless), enclosed)

    def _whole(self, sizes: Sizes) -> dict[int, Region]:
        """All the pixels of every value that is an image."""
        shapes: dict[str, Shape | None] = {}
        for blob, shape in self.plan.inputs.items():
            shapes[blob] = (1, (shape or (None, None))[1], *sizes[blob]) if blob in sizes else shape
        whole: dict[int, Region] = {}
        for part in self.parts:
            tops = _top_at(part, shapes) or tops_at(part.step, shapes)
            shapes |= zip(part.step.layer.tops, tops, strict=True)
            for number, shape in zip(part.tops, tops, strict=True):
                if shape is not None and len(shape) == 4 and None not in shape[2:]:
                    whole[number] = Span(0, shape[2] or 0), Span(0, shape[3] or 0)
        return whole

    def _spread(self, whole: Regions, starts: Regions, through: Through) -> dict[int, Region]:
        """From regions of the inputs to such of every value, by a rule for windows."""
        known: dict[int, Region] = {}
        for part in self.parts:
            for top in part.tops:
                if top not in whole:
                    continue
                if part.step.layer.type == "Input":
                    known[top] = starts.get(top, whole[top])
                else:
                    known[top] = _through(part, known, whole[top], through)
        return known

    def _demanded(
        self, whole: Regions, reached: Regions
    ) -> tuple[tuple[Part, ...], dict[int, Region], frozenset[int]]:
        """From the outputs back: what each part computes and reads, what is held, and what gets a frame."""
        demand = {number: whole[number] for number in self.outputs.values() if number in whole}
        framed, found = set[int](), list[Part]()
        for part in reversed(self.parts):
            if part.traits.splits and all(number in whole for number in (*part.bottoms, *part.tops)):
                (top,) = part.tops
                region = demand.setdefault(top, whole[top])
                core = _both(region, reached[top])
                if core != region and self._pays(top, region, core):
                    framed.add(top)
                    region = core
                part = _reading(part, region, whole)
            else:
                part = in_full(part, whole)
                demand |= {top: whole[top] for top in part.tops if top in whole}
            found.append(part)
            for bottom, read in zip(part.bottoms, part.reads, strict=True):
                read = whole.get(bottom) if read is None else read
                if read is not None:
                    demand[bottom] = _hull(demand[bottom], read) if bottom in demand else read
        return tuple(reversed(found)), demand, frozenset(framed)

    def _pays(self, top: int, region: Region, core: Region) -> bool:
        """Whether a frame around what is reached saves more than it takes to copy it."""
        if not _area(core):
            return False
        shape = self.parts[self.makers[top]].step.tops[0]
        channels = (shape or (1, 1))[1] or 1
        return (_area(region) - _area(core)) * self._cost(top) > COPY * channels * _area(region)

    def _cost(self, number: int) -> int:
        """The multiplications for a pixel of a value, back to the last convolution."""
        part = self.parts[self.makers[number]]
        window = part.traits.window
        if part.traits.multiplications:
            return part.traits.multiplications
        if part.traits.pointwise:
            return sum(map(self._cost, set(part.bottoms)))
        if window is not None and not window.transposed:
            return math.prod(window.stride) * self._cost(part.bottoms[0])
        return 0


def fused(found: Schedule) -> Schedule:
    """The schedule with each ReLU computed by the convolution before it, where nothing else reads that."""
    readers = Counter(bottom for part in found.parts for bottom in part.bottoms)
    kept = {*found.outputs.values(), *found.framed}
    parts = list[Part]()
    for part in found.parts:
        before = next((made for made in parts[-1:] if made.tops == part.bottoms), None)
        alone = before is not None and readers[before.tops[0]] == 1 and before.tops[0] not in kept
        if before is not None and alone and _is_relu(part) and before.traits.multiplications:
            parts[-1] = replace(before, tops=part.tops, relu=True)
        else:
            parts.append(part)
    return replace(found, parts=tuple(parts))


def _is_relu(part: Part) -> bool:
    layer = part.step.layer
    return layer.type == "ReLU" and layer.fields.relu_param.negative_slope == 0


def _top_at(part: Part, shapes: Mapping[str, Shape | None]) -> tuple[Shape | None, ...]:
    """The shape of a top, in a shorter way than by a new converter; () where that is needed."""
    bottoms = part.step.layer.bottoms
    shape = shapes.get(bottoms[0]) if bottoms else None
    if shape is None or len(shape) != 4 or len(part.tops) != 1:
        return ()
    converter, top = part.step.converter, part.step.tops[0]
    if part.traits.window is not None and isinstance(converter, Convolution | Deconvolution | Pooling):
        sizes = [converter.top_size(size or 0, axis) for axis, size in enumerate(shape[2:])]
        return ((shape[0], (top or (1, None))[1], *sizes),) if min(sizes) > 0 else ()
    if part.step.layer.type in ("ReLU", "Dropout", "LRN"):
        return (shape,)
    return ()


def _through(part: Part, known: Regions, whole: Region, through: Through) -> Region:
    traits = part.traits
    if not traits.splits or any(bottom not in known for bottom in part.bottoms):
        return whole if through is touched else (Span(0, 0), Span(0, 0))
    found = list(known[part.bottoms[0]])
    if traits.window is not None:
        found = [through(span, traits.window, axis) for axis, span in enumerate(found)]
    elif traits.offset is not None:
        found = [span.shifted(-offset) for span, offset in zip(found, traits.offset, strict=True)]
    else:
        join = Span.hull if through is touched else Span.within
        found = [reduce(join, (known[bottom][axis] for bottom in part.bottoms)) for axis in (0, 1)]
    return found[0].within(whole[0]), found[1].within(whole[1])


def in_full(part: Part, whole: Regions) -> Part:
    """The part that computes all of its tops."""
    if part.traits.window is not None and part.tops[0] in whole and part.bottoms[0] in whole:
        return _reading(part, whole[part.tops[0]], whole)
    return replace(part, reads=(None,) * len(part.bottoms))


def _reading(part: Part, region: Region, whole: Regions) -> Part:
    """The part that computes a region of its top."""
    traits, pads = part.traits, _NO_PADS
    if traits.window is not None:
        own = whole[part.bottoms[0]]
        rows, columns = (seen(region[axis], traits.window, axis) for axis in (0, 1))
        held = rows.within(own[0]), columns.within(own[1])
        if traits.pads:
            above, below = held[0].start - rows.start, rows.end - held[0].end
            pads = above, below, held[1].start - columns.start, columns.end - held[1].end
        return Part(part.step, traits, part.bottoms, part.tops, (held,), region, pads, part.relu)
    if traits.offset is not None:
        moved = region[0].shifted(traits.offset[0]), region[1].shifted(traits.offset[1])
        for axis, (cut, there) in enumerate(zip(moved, whole[part.bottoms[0]], strict=True)):
            if cut.end > there.end:
                problem = f"offset {traits.offset[axis]} + size {region[axis].end} exceeds {there.end}"
                raise part.step.converter.refuse(f"{problem} on axis {2 + axis}")
        return Part(part.step, traits, part.bottoms[:1], part.tops, (moved,), region)
    return Part(part.step, traits, part.bottoms, part.tops, (region,) * len(part.bottoms), region)


def _area(region: Region) -> int:
    return region[0].length * region[1].length


def _both(a: Region, b: Region) -> Region:
    return a[0].within(b[0]), a[1].within(b[1])


def _hull(a: Region, b: Region) -> Region:
    return a[0].hull(b[0]), a[1].hull(b[1])
