"""Crop: the first bottom, cut to the size of the second."""

from __future__ import annotations

from typing import TYPE_CHECKING

from caffe2torch.layers.axes import canonical, part
from caffe2torch.layers.converter import Converter, Shape
from caffe2torch.layers.geometry import View
from caffe2torch.layers.python_form import Place, PythonForm, operand
from caffe2torch.layers.registry import converts
from caffe2torch.net import Layer

if TYPE_CHECKING:
    from torch import Tensor


def crop(x: Tensor, like: Tensor, top: int, left: int) -> Tensor:
    """`x` from row `top` and column `left` on, as high and wide as `like`."""
    return x[:, :, top : top + like.shape[2], left : left + like.shape[3]]


@converts("Crop")
class Crop(Converter):
    """The first bottom cut to the second's size from `axis` on, starting at `offset` (crop_layer.cpp).

    The CROP of the CVPR 2015 nets and RCF's AutoCrop give no offset; it follows from the alignment of the two
    bottoms.
    """

    bottom_count = (2, 2)
    shape_only = frozenset({1})

    def __init__(self, layer: Layer, bottoms: tuple[Shape | None, ...]) -> None:
        super().__init__(layer, bottoms)
        self.p = layer.fields.crop_param
        axes = next((len(bottom) for bottom in bottoms if bottom is not None), 4)
        self.axis = canonical(self, (None,) * axes, self.p.axis)
        if len(self.p.offset) not in (0, 1, axes - self.axis):
            raise self.refuse(
                f"{len(self.p.offset)} offsets for {axes - self.axis} axes; give one, or one per axis"
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
                    f"offset {offset} + size {reference.shape[axis]} exceeds {y.shape[axis]} on axis {axis}"
                )
            y = y[part(axis, offset, offset + reference.shape[axis])]
        return y

    def python(self, place: Place) -> PythonForm:
        y, reference = place.bottoms
        if self.axis == 2:
            return PythonForm(f"crop({y}, {reference}, {', '.join(map(str, self.offsets))})", parts=(crop,))
        cuts = [
            f"{offset} : {offset} + {operand(reference)}.shape[{axis}]"
            for axis, offset in enumerate(self.offsets, self.axis)
        ]
        return PythonForm(f"{operand(y)}[{', '.join([':'] * self.axis + cuts)}]")
