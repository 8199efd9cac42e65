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
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import reduce

from caffe2torch.eliding.spans import FAR, Region, Span, enclosed, seen, touched
from caffe2torch.layers.caffe.convolution import Convolution, Deconvolution
from caffe2torch.layers.caffe.crop import Crop
from caffe2torch.layers.caffe.pooling import Pooling
from caffe2torch.layers.converter import Converter, Shape
from caffe2torch.layers.geometry import Window
from caffe2torch.plan import Plan, Step
from caffe2torch.plan.sizes import tops_at

Sizes = Mapping[str, tuple[int, int]]
"""The height and width of each input."""

_NEURONS = "AbsVal BNLL Clip Dropout ELU Exp Log Power PReLU ReLU Sigmoid Swish TanH"
POINTWISE = frozenset(["Eltwise", *_NEURONS.split()])
"""Layers of which every pixel depends on the same pixel of their bottoms."""
COPY = 150
"""How many multiplications take as long as copying a value: measured on CPUs with AVX-512."""


@dataclass(frozen=True)
class Value:
    """What a step makes: a blob, or what an in-place layer makes of it. `spans` are its rows and columns."""

    shape: Shape
    maker: int
    spans: Region | None
    """None for what is no image."""


@dataclass(frozen=True)
class Part:
    """A step at one size. Values are numbered; regions are in the pixels of the whole blob."""

    step: Step
    bottoms: tuple[int, ...]
    """Those whose numbers it needs."""
    tops: tuple[int, ...]
    reads: tuple[Region | None, ...] = ()
    """Of each bottom; None for all of it."""
    computes: Region | None = None
    """None for all."""
    pads: tuple[int, int, int, int] = (0, 0, 0, 0)
    """The zeros above, below, left and right of what is read: the net's own padding, where it is in reach."""
    relu: bool = False
    """Whether the ReLU that follows is computed as well."""


@dataclass(frozen=True)
class Schedule:
    """A net at one size. `holds` are the regions of images that are kept, frames included."""

    sizes: Sizes
    values: tuple[Value, ...]
    parts: tuple[Part, ...]
    inputs: Mapping[str, int]
    outputs: Mapping[str, int]
    holds: Mapping[int, Region]
    framed: frozenset[int] = frozenset()

    @property
    def multiplications(self) -> int:
        """What the convolutions take, for one image."""
        return sum(part_cost(part, self.values) for part in self.parts)


def schedule(plan: Plan, sizes: Sizes, *, elide: bool = True) -> Schedule:
    """The net at a size; without `elide` every layer computes all of its tops.

    Raises NetError for a size that the net does not take.
    """
    values, parts, inputs, names = _numbered(plan, sizes)
    outputs = {name: names[name] for name in plan.outputs}
    elide = elide and not any(step.overwrites for step in plan.steps)
    whole = {number: value.spans for number, value in enumerate(values) if value.spans}
    if not elide:
        parts = [_whole(part, values) for part in parts]
        return Schedule(sizes, values, tuple(parts), inputs, outputs, whole)
    reached = _spread(values, parts, {}, whole, touched)
    parts, holds, framed = _demanded(values, parts, outputs.values(), whole, reached)
    return Schedule(sizes, values, tuple(parts), inputs, outputs, whole | holds, framed)


def fused(found: Schedule) -> Schedule:
    """The schedule with each ReLU computed by the convolution before it, where nothing else reads that."""
    readers = Counter(bottom for part in found.parts for bottom in part.bottoms)
    kept = {*found.outputs.values(), *found.framed}
    parts = list[Part]()
    for part in found.parts:
        before = next((made for made in parts[-1:] if made.tops == part.bottoms), None)
        alone = before is not None and readers[before.tops[0]] == 1 and before.tops[0] not in kept
        if before is not None and alone and _is_relu(part) and _can_fuse(before):
            parts[-1] = replace(before, tops=part.tops, relu=True)
        else:
            parts.append(part)
    return replace(found, parts=tuple(parts))


def _is_relu(part: Part) -> bool:
    layer = part.step.layer
    return layer.type == "ReLU" and layer.fields.relu_param.negative_slope == 0


def _can_fuse(part: Part) -> bool:
    return part.computes is not None and isinstance(part.step.converter, Convolution)


def undisturbed(found: Schedule) -> dict[int, Region]:
    """The pixels of each value that no padding reaches but that of an input, for an image of zeros."""
    endless = (Span(-FAR, FAR),) * 2
    whole = {number: value.spans for number, value in enumerate(found.values) if value.spans}
    starts = {number: endless for number in found.inputs.values() if number in whole}
    return _spread(found.values, found.parts, starts, whole, enclosed)


def window_of(converter: Converter) -> Window | None:
    """How a layer slides over its one bottom, if parts of its top can be computed from parts of that."""
    if len(converter.layer.bottoms) != 1 or len(converter.layer.tops) != 1:
        return None
    if isinstance(converter, Convolution | Deconvolution):
        images = converter.axes == 2 and converter.channel_axis == 1
        window = Window(converter.extent, converter.stride, converter.pad, converter.transposed)
        return window if images else None
    if isinstance(converter, Pooling) and converter.p.pool == "MAX" and not converter.p.global_pooling:
        plain = not any(converter.pad) and all(map(int.__le__, converter.stride, converter.kernel))
        return Window(converter.kernel, converter.stride, converter.pad) if plain else None
    return None


def is_pointwise(converter: Converter) -> bool:
    """Whether every pixel of the top depends on the same pixel of the bottoms alone."""
    layer = converter.layer
    if layer.type == "LRN":
        p = layer.fields.lrn_param
        return bool(p.norm_region == "ACROSS_CHANNELS" and p.fuse_type != "FUSED_POOL_MAX")
    if layer.type == "Scale":
        return (
            len(layer.bottoms) == 1
            and layer.fields.scale_param.axis == 1
            and bool(layer.fields.scale_param.num_axes == 1)
        )
    if layer.type == "Concat":
        return bool(layer.fields.concat_param.axis == 1 and not layer.fields.concat_param.has("concat_dim"))
    return layer.type in POINTWISE


def _numbered(
    plan: Plan, sizes: Sizes
) -> tuple[tuple[Value, ...], list[Part], dict[str, int], dict[str, int]]:
    """Values in place of names, and the shapes of all of them, for one image."""
    shapes: dict[str, Shape | None] = {}
    for blob, shape in plan.inputs.items():
        shapes[blob] = (1, (shape or (None, None))[1], *sizes[blob]) if blob in sizes else shape
    values, parts, names, inputs = list[Value](), list[Part](), dict[str, int](), dict[str, int]()
    for maker, step in enumerate(plan.steps):
        bottoms = tuple(names[bottom] for bottom in step.layer.bottoms)
        made = tuple(range(len(values), len(values) + len(step.layer.tops)))
        for shape in tops_at(step, shapes):
            values.append(Value(shape or (), maker, _spans(shape)))
        names |= zip(step.layer.tops, made, strict=True)
        if step.layer.type == "Input":
            inputs |= zip(step.layer.tops, made, strict=True)
        parts.append(Part(step, bottoms, made))
    return tuple(values), parts, inputs, names


def _spans(shape: Shape | None) -> Region | None:
    if shape is None or len(shape) != 4 or shape[2] is None or shape[3] is None:
        return None
    return Span(0, shape[2]), Span(0, shape[3])


def _spread(
    values: tuple[Value, ...],
    parts: Iterable[Part],
    starts: Mapping[int, Region],
    whole: Mapping[int, Region],
    through: Callable[[Span, Window, int], Span],
) -> dict[int, Region]:
    """From regions of the inputs to such of every value, by the rule `through` for windows."""
    known: dict[int, Region] = {}
    for part in parts:
        for top in part.tops:
            if top not in whole:
                continue
            if part.step.layer.type == "Input":
                known[top] = starts.get(top, whole[top])
            else:
                known[top] = _through(part, known, whole[top], through)
    return known


def _through(
    part: Part, known: Mapping[int, Region], whole: Region, through: Callable[[Span, Window, int], Span]
) -> Region:
    converter = part.step.converter
    regions = [known.get(bottom, whole) for bottom in part.bottoms]
    if (window := window_of(converter)) is not None:
        found = [through(regions[0][axis], window, axis) for axis in (0, 1)]
    elif isinstance(converter, Crop) and converter.axis == 2:
        found = [regions[0][axis].shifted(-converter.offsets[axis]) for axis in (0, 1)]
    elif is_pointwise(converter):
        join = Span.hull if through is touched else Span.within
        found = [reduce(join, (region[axis] for region in regions)) for axis in (0, 1)]
    else:
        return whole if through is touched else (Span(0, 0), Span(0, 0))
    rows, columns = (span.within(own) for span, own in zip(found, whole, strict=True))
    return rows, columns


def _demanded(
    values: tuple[Value, ...],
    parts: list[Part],
    outputs: Iterable[int],
    whole: Mapping[int, Region],
    reached: Mapping[int, Region],
) -> tuple[list[Part], dict[int, Region], frozenset[int]]:
    """From the outputs back: what each part computes and reads, what is held, and what gets a frame."""
    demand = {number: whole[number] for number in outputs if number in whole}
    framed = set[int]()
    found = list[Part]()
    for part in reversed(parts):
        if part.step.layer.type == "Input":
            found.append(part)
            continue
        image = all(number in whole for number in (*part.bottoms, *part.tops))
        splits = len(part.tops) == 1 and _splits(part.step.converter)
        if not image or not splits:
            part = _whole(part, values)
            reads = [whole.get(bottom) for bottom in part.bottoms]
        else:
            (top,) = part.tops
            region = demand.setdefault(top, whole[top])
            core = _both(region, reached[top])
            if core != region and _pays(top, region, core, values, parts):
                framed.add(top)
                region = core
            part = _reading(part, region, whole)
            reads = list(part.reads)
        found.append(part)
        for bottom, read in zip(part.bottoms, reads, strict=True):
            if read is not None:
                demand[bottom] = _hull(demand[bottom], read) if bottom in demand else read
    holds = {number: region for number, region in demand.items() if values[number].maker >= 0}
    return found[::-1], holds, frozenset(framed)


def _splits(converter: Converter) -> bool:
    """Whether a part of a layer's top can be computed alone."""
    cropped = isinstance(converter, Crop) and converter.axis == 2
    return window_of(converter) is not None or cropped or is_pointwise(converter)


def _whole(part: Part, values: tuple[Value, ...]) -> Part:
    """The part that computes all of its tops."""
    window = window_of(part.step.converter)
    spans = values[part.tops[0]].spans if part.tops else None
    if window is None or spans is None or values[part.bottoms[0]].spans is None:
        return replace(part, reads=(None,) * len(part.bottoms))
    return _reading(part, spans, {part.bottoms[0]: values[part.bottoms[0]].spans or spans})


def _reading(part: Part, region: Region, whole: Mapping[int, Region]) -> Part:
    """The part that computes a region of its top."""
    converter = part.step.converter
    if (window := window_of(converter)) is not None:
        own = whole[part.bottoms[0]]
        need = [seen(region[axis], window, axis) for axis in (0, 1)]
        rows, columns = (span.within(spans) for span, spans in zip(need, own, strict=True))
        if window.transposed or isinstance(converter, Pooling):
            pads = (0, 0, 0, 0)
        else:
            pads = (
                rows.start - need[0].start,
                need[0].end - rows.end,
                columns.start - need[1].start,
                need[1].end - columns.end,
            )
        return replace(part, reads=((rows, columns),), computes=region, pads=pads)
    if isinstance(converter, Crop):
        top, left = converter.offsets
        moved = region[0].shifted(top), region[1].shifted(left)
        return replace(part, bottoms=part.bottoms[:1], reads=(moved,), computes=region)
    return replace(part, reads=(region,) * len(part.bottoms), computes=region)


def _pays(top: int, region: Region, core: Region, values: tuple[Value, ...], parts: list[Part]) -> bool:
    """Whether a frame around what is reached saves more than it takes to copy it."""
    if not _area(core):
        return False
    channels = values[top].shape[1] or 1
    saved = (_area(region) - _area(core)) * _cost(top, values, parts)
    return saved > COPY * channels * _area(region)


def _cost(number: int, values: tuple[Value, ...], parts: list[Part]) -> int:
    """The multiplications for a pixel of a value, back to the last convolution."""
    part = parts[values[number].maker]
    window = window_of(part.step.converter)
    if window is not None and window.transposed:
        return 0
    if isinstance(part.step.converter, Convolution):
        return _per_pixel(part, values)
    if window is not None:
        return math.prod(window.stride) * _cost(part.bottoms[0], values, parts)
    if is_pointwise(part.step.converter):
        return sum(_cost(bottom, values, parts) for bottom in set(part.bottoms))
    return 0


def _per_pixel(part: Part, values: tuple[Value, ...]) -> int:
    converter = part.step.converter
    assert isinstance(converter, Convolution)  # noqa: S101
    channels = values[part.bottoms[0]].shape[1] or 1
    return int(channels // converter.p.group * math.prod(converter.kernel) * converter.p.num_output)


def part_cost(part: Part, values: tuple[Value, ...]) -> int:
    """The multiplications of a convolution; 0 for other layers."""
    if part.computes is None or not isinstance(part.step.converter, Convolution):
        return 0
    return _area(part.computes) * _per_pixel(part, values)


def _area(region: Region) -> int:
    return region[0].length * region[1].length


def _both(a: Region, b: Region) -> Region:
    return a[0].within(b[0]), a[1].within(b[1])


def _hull(a: Region, b: Region) -> Region:
    return a[0].hull(b[0]), a[1].hull(b[1])
