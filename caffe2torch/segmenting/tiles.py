"""Photos in overlapping tiles whose labels are those of the whole photo.

A pixel of a tile's score is the whole photo's if everything that it depends on lies in the tile, or beyond
an edge that is the photo's own. Which pixels these are follows from the net's windows, layer by layer; it is
the same for every tile that starts and ends at a multiple of the net's strides.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from caffe2torch.errors import NetError
from caffe2torch.layers.geometry import View, Window
from caffe2torch.plan import Plan, Step

FLOAT_BYTES = 4
_WORKSPACE = 2
"""Convolutions copy what they read and write into layouts of their own."""


@dataclass(frozen=True)
class Inner(View):
    """A View of a tile that also knows which of its pixels are the whole image's, per axis (height, width).

    They go from `first` to before the blob's size at the photo's scale, `length / stride`, plus `last`.
    """

    first: tuple[int, ...] = (0, 0)
    last: tuple[int, ...] = (0, 0)
    is_cut: bool = False
    """Cropped, and not yet known to be no longer than its reference."""

    @staticmethod
    def of_tile() -> Inner:
        """All pixels of a tile are the image's own."""
        seen = View.of_input()
        return Inner(seen.stride, seen.start, seen.receptive_field)

    def through(self, window: Window) -> Inner:
        """The pixels whose windows hold only such pixels."""
        seen = super().through(window)
        first, last = [], []
        for axis, kernel in enumerate(window.kernel):
            step, pad = window.stride[axis], window.pad[axis]
            before, after = self.first[axis], self.last[axis]
            if window.transposed:
                first.append((before - 1) * step + kernel - pad)
                last.append(min(after * step - pad, (after - 1) * step + kernel - 2 * pad))
            else:
                first.append(-(-(before + pad) // step))
                last.append((after - kernel + pad) // step + 1)
        ends = tuple(max(0, value) for value in first), tuple(last)
        return Inner(seen.stride, seen.start, seen.receptive_field, *ends, self.is_cut)

    def shifted(self, offset: tuple[int, ...]) -> Inner:
        """The pixels that are left after cropping `offset` pixels away."""
        seen = super().shifted(offset)
        first = tuple(max(0, value - cut) for value, cut in zip(self.first, offset, strict=True))
        last = tuple(value - cut for value, cut in zip(self.last, offset, strict=True))
        return Inner(seen.stride, seen.start, seen.receptive_field, first, last, True)

    def within(self, reference: Inner) -> Inner:
        """Those that lie in a reference whose size the blob has been cut to."""
        last = tuple(map(min, self.last, reference.last))
        return replace(self, last=last, is_cut=False)

    def merged(self, other: View) -> View:
        """Those that are whole in both of two blobs; a plain View, which tells of none, if one is."""
        seen = super().merged(other)
        if not isinstance(other, Inner) or self.stride != other.stride:
            return View(seen.stride, seen.start, None)
        first, last = tuple(map(max, self.first, other.first)), tuple(map(min, self.last, other.last))
        return Inner(seen.stride, seen.start, seen.receptive_field, first, last, self.is_cut or other.is_cut)


@dataclass(frozen=True)
class Reach:
    """What tiles of a net need, per axis (height, width), in pixels of the photo.

    `before` and `after` are how many pixels at a tile's cut edges are not the whole photo's. Tiles start, and
    where they are cut end, at multiples of `period`.
    """

    before: tuple[int, ...]
    after: tuple[int, ...]
    period: int

    def least(self, axis: int) -> int:
        """The shortest tile that keeps any of its pixels."""
        return (-(-(self.before[axis] + self.after[axis]) // self.period) + 1) * self.period


@dataclass(frozen=True)
class Footprint:
    """The memory that a net takes for a photo: that of the blobs which are there at once.

    `margin` is how many pixels its padding adds on each side.
    """

    bytes_per_pixel: float
    margin: tuple[int, ...]

    def of(self, height: float, width: float) -> float:
        """Bytes for a photo."""
        return self.bytes_per_pixel * (height + 2 * self.margin[0]) * (width + 2 * self.margin[1])

    def longest(self, axis: int, other: int, memory: float) -> int:
        """The most pixels along an axis for `memory` bytes, with `other` along the other axis."""
        across = self.bytes_per_pixel * (other + 2 * self.margin[1 - axis])
        return int(memory / across) - 2 * self.margin[axis]


@dataclass(frozen=True)
class Strip:
    """A part of a photo along one axis: what the net sees, [start, end), and what of its labels is kept."""

    start: int
    end: int
    keep_start: int
    keep_end: int


def reach_of(plan: Plan, blob: str) -> Reach:
    """What tiles of the input `blob` need. Raises NetError if no tile is like the whole, naming the layer."""
    inner: dict[str, View] = {blob: Inner.of_tile()}
    period = 1
    for step in plan.steps:
        seen = None if step.layer.type == "Input" else _looked(step, inner)
        if seen is not None:
            inner |= dict.fromkeys(step.layer.tops, seen)
            period = math.lcm(period, *(stride.numerator for stride in seen.stride))
    ends = [view for name in plan.outputs if isinstance(view := inner.get(name), Inner)]
    before = tuple(max(0, *(view.first[axis] for view in ends)) for axis in (0, 1))
    after = tuple(max(0, *(-view.last[axis] for view in ends)) for axis in (0, 1))
    return Reach(before, after, period)


def footprint_of(plan: Plan, blob: str) -> Footprint:
    """What a photo takes that comes in as `blob`, from the blobs' channels and strides."""
    last_read = {bottom: index for index, step in enumerate(plan.steps) for bottom in step.layer.bottoms}
    last_read |= dict.fromkeys(plan.outputs, len(plan.steps))
    there, most, margin = dict[str, float](), 0.0, [0, 0]
    for index, step in enumerate(plan.steps):
        made = {top: _bytes(step, place, blob) for place, top in enumerate(step.layer.tops)}
        most = max(most, sum(there.values()) + sum(made.values()))  # torch computes nothing in place
        there = {name: size for name, size in (there | made).items() if last_read.get(name, 0) > index}
        if (view := step.views.get(blob)) is not None:
            margin = [max(old, math.ceil(-at)) for old, at in zip(margin, view.start, strict=True)]
    return Footprint(_WORKSPACE * most, (margin[0], margin[1]))


def _bytes(step: Step, place: int, blob: str) -> float:
    """Of a layer's top, for each pixel of the photo."""
    shape, view = step.tops[place], step.views.get(blob)
    if shape is None or len(shape) != 4 or view is None:
        return 0.0
    return FLOAT_BYTES * (shape[1] or 1) / float(math.prod(view.stride))


def strips(length: int, longest: int, reach: Reach, axis: int) -> list[Strip]:
    """A photo's axis in overlapping strips of at most `longest` pixels; each pixel is kept of one strip.

    `longest` must be at least the photo's, or `reach.least(axis)`.
    """
    if length <= longest:
        return [Strip(0, length, 0, length)]
    longest -= longest % reach.period
    found, start, kept = list[Strip](), 0, 0
    while start + longest < length:
        end = start + longest
        found.append(Strip(start, end, kept, end - reach.after[axis]))
        kept = end - reach.after[axis]
        start = (kept - reach.before[axis]) // reach.period * reach.period
    return [*found, Strip(start, length, kept, length)]


def tiles(size: tuple[int, int], plan: Plan, blob: str, memory: float) -> list[tuple[Strip, Strip]]:
    """A photo (height, width) in tiles, rows and columns, for each of which the net takes `memory` bytes.

    Raises NetError if that cannot be: if a layer sees the whole photo, or the net too much of it.
    """
    footprint = footprint_of(plan, blob)
    if footprint.of(*size) <= memory:
        whole = (Strip(0, size[0], 0, size[0]), Strip(0, size[1], 0, size[1]))
        return [whole]
    needed = f"needs {footprint.of(*size) / 1e9:.1f} GB in one piece, {memory / 1e9:.1f} GB are allowed"
    try:
        reach = reach_of(plan, blob)
    except NetError as error:
        raise NetError(f"a photo of {size[1]}x{size[0]} pixels {needed}; {error}") from None
    longest = _longest(size, footprint, reach, memory)
    for axis in (0, 1):
        if longest[axis] < min(size[axis], reach.least(axis)):
            least = footprint.of(*(min(size[axis], reach.least(axis)) for axis in (0, 1)))
            raise NetError(
                f"a photo of {size[1]}x{size[0]} pixels {needed}; in tiles whose labels are the photo's, "
                f"the net needs {least / 1e9:.1f} GB"
            )
    rows, columns = (strips(size[axis], longest[axis], reach, axis) for axis in (0, 1))
    return [(row, column) for row in rows for column in columns]


def _longest(size: tuple[int, int], footprint: Footprint, reach: Reach, memory: float) -> tuple[int, int]:
    """The sides of a tile: square, but a photo's short side is not cut."""
    side = math.isqrt(int(memory / footprint.bytes_per_pixel)) - 2 * max(footprint.margin)
    for axis in (0, 1):
        short = min(size[axis], max(side, reach.least(axis)))
        if size[axis] <= short:
            other = footprint.longest(1 - axis, short, memory)
            return (short, other) if axis == 0 else (other, short)
    return side, side


def _looked(step: Step, inner: Mapping[str, View]) -> Inner | None:
    """How a layer's tops see a tile; None for one that does not see it."""
    seen: View | None = None
    for position, bottom in enumerate(step.layer.bottoms):
        if bottom not in inner or position in step.converter.shape_only:
            continue
        looked = step.converter.look(inner[bottom])
        if looked is None:
            raise _whole(step)
        seen = looked if seen is None else seen.merged(looked)
    if seen is None:
        return None
    for position in step.converter.shape_only:
        reference = inner.get(step.layer.bottoms[position])
        if isinstance(seen, Inner) and isinstance(reference, Inner):
            seen = seen.within(reference)
    if not isinstance(seen, Inner) or seen.is_cut:
        raise _whole(step)
    return seen


def _whole(step: Step) -> NetError:
    return NetError(
        f"layer {step.key!r} ({step.layer.type}) sees the whole photo, or moves its pixels, so that no tiles "
        f"can replace it"
    )
