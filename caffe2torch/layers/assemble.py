"""Layers that put blobs together, take them apart or give them another shape."""

from __future__ import annotations

from typing import TYPE_CHECKING

from caffe2torch._torch import torch
from caffe2torch.geometry import View
from caffe2torch.layers.axes import canonical, product
from caffe2torch.net import Layer
from caffe2torch.registry import Converter, Shape, converts

if TYPE_CHECKING:
    from torch import Tensor


@converts("Concat")
class Concat(Converter):
    """Bottoms one after the other along `axis` (or the older `concat_dim`)."""

    def __init__(self, layer: Layer, bottoms: tuple[Shape | None, ...]) -> None:
        super().__init__(layer, bottoms)
        p = layer.fields.concat_param
        self.axis = p.concat_dim if p.has("concat_dim") else p.axis

    def top_shapes(self) -> tuple[Shape | None, ...]:
        known = [bottom for bottom in self.bottoms if bottom is not None]
        if len(known) != len(self.bottoms):
            return (None,)
        axis = canonical(self, known[0], self.axis)
        for bottom in known[1:]:
            if not _agree(known[0][:axis] + known[0][axis + 1 :], bottom[:axis] + bottom[axis + 1 :]):
                raise self.refuse(f"its bottoms {known[0]} and {bottom} differ beside axis {axis}")
        sizes = [bottom[axis] for bottom in known]
        total = None if None in sizes else sum(size for size in sizes if size is not None)
        return ((*known[0][:axis], total, *known[0][axis + 1 :]),)

    def forward(self, *bottoms: Tensor, **blobs: Tensor) -> Tensor:
        return torch.cat(bottoms, self.axis)


def _agree(a: Shape, b: Shape) -> bool:
    return len(a) == len(b) and all(None in (x, y) or x == y for x, y in zip(a, b, strict=True))


@converts("Eltwise")
class Eltwise(Converter):
    """SUM with `coeff`, PROD and MAX of two or more bottoms of one shape."""

    def __init__(self, layer: Layer, bottoms: tuple[Shape | None, ...]) -> None:
        super().__init__(layer, bottoms)
        p = self.p = layer.fields.eltwise_param
        if len(bottoms) < 2:
            raise self.refuse("needs two or more bottoms")
        if p.coeff and p.operation != "SUM":
            raise self.refuse(f"coeff goes with operation: SUM alone, not {p.operation}")
        if p.coeff and len(p.coeff) != len(bottoms):
            raise self.refuse(f"{len(p.coeff)} coeff for {len(bottoms)} bottoms")
        for bottom in bottoms[1:]:
            if bottom is not None and bottoms[0] is not None and not _agree(bottom, bottoms[0]):
                raise self.refuse(f"its bottoms {bottoms[0]} and {bottom} differ")

    def forward(self, *bottoms: Tensor, **blobs: Tensor) -> Tensor:
        # Broadcasting would hide what Caffe refuses.
        if any(bottom.shape != bottoms[0].shape for bottom in bottoms):
            raise self.refuse(f"its bottoms differ: {', '.join(str(tuple(b.shape)) for b in bottoms)}")
        y = bottoms[0] if not self.p.coeff else bottoms[0] * self.p.coeff[0]
        for position, x in enumerate(bottoms[1:], start=1):
            if self.p.operation == "PROD":
                y = y * x
            elif self.p.operation == "MAX":
                y = torch.maximum(y, x)
            else:
                y = y + (x * self.p.coeff[position] if self.p.coeff else x)
        return y


@converts("Crop")
class Crop(Converter):
    """The first bottom cut to the second's size from `axis` on, starting at `offset` (crop_layer.cpp).

    The CROP of the CVPR 2015 nets names no offset; it is found from the alignment of the two bottoms.
    """

    shape_only = frozenset({1})

    def __init__(self, layer: Layer, bottoms: tuple[Shape | None, ...]) -> None:
        super().__init__(layer, bottoms)
        self.p = layer.fields.crop_param
        if len(bottoms) != 2:
            raise self.refuse(f"needs 2 bottoms, has {len(bottoms)}")
        axes = next((len(bottom) for bottom in bottoms if bottom is not None), 4)
        self.axis = canonical(self, (None,) * axes, self.p.axis)
        if len(self.p.offset) not in (0, 1, axes - self.axis):
            raise self.refuse(
                f"{len(self.p.offset)} offsets for {axes - self.axis} axes; give one, or one each"
            )
        offsets = tuple(self.p.offset) or (0,)
        self.offsets = offsets * (axes - self.axis) if len(offsets) == 1 else offsets

    def look(self, view: View) -> View | None:
        return view.shifted(self.offsets) if self.axis == 2 else None

    def top_shapes(self) -> tuple[Shape | None, ...]:
        cropped, reference = self.bottoms
        if cropped is None:
            return (None,)
        return ((*cropped[: self.axis], *(reference or (None,) * len(cropped))[self.axis :]),)

    def forward(self, *bottoms: Tensor, **blobs: Tensor) -> Tensor:
        y, reference = bottoms
        for axis, offset in enumerate(self.offsets, start=self.axis):
            if offset + reference.shape[axis] > y.shape[axis]:
                raise self.refuse(
                    f"offset {offset} + {reference.shape[axis]} is past {y.shape[axis]} on axis {axis}"
                )
            y = y.narrow(axis, offset, reference.shape[axis])
        return y


@converts("Flatten")
class Flatten(Converter):
    """The axes from `axis` to `end_axis`, both counted in, as one."""

    def top_shapes(self) -> tuple[Shape | None, ...]:
        bottom, p = self.bottoms[0], self.layer.fields.flatten_param
        if bottom is None:
            return (None,)
        start, end = (canonical(self, bottom, axis) for axis in (p.axis, p.end_axis))
        if start > end:
            raise self.refuse(f"axis: {p.axis} comes after end_axis: {p.end_axis}")
        return ((*bottom[:start], product(bottom[start : end + 1]), *bottom[end + 1 :]),)

    def look(self, view: View) -> View | None:
        return None

    def forward(self, *bottoms: Tensor, **blobs: Tensor) -> Tensor:
        p = self.layer.fields.flatten_param
        return bottoms[0].flatten(p.axis, p.end_axis)


@converts("Split")
class Split(Converter):
    """The same blob under several names."""

    def forward(self, *bottoms: Tensor, **blobs: Tensor) -> tuple[Tensor, ...]:
        return bottoms * len(self.layer.tops)


@converts("Silence")
class Silence(Converter):
    """Takes blobs that nothing else uses, so that they are no outputs."""

    def forward(self, *bottoms: Tensor, **blobs: Tensor) -> tuple[Tensor, ...]:
        return ()
