"""Crop: the first bottom, cut to the size of the second."""

from __future__ import annotations

from typing import TYPE_CHECKING

from caffe2torch.layers.axes import canonical
from caffe2torch.layers.converter import Converter, Shape
from caffe2torch.layers.geometry import View
from caffe2torch.layers.python_form import Place, PythonForm
from caffe2torch.layers.registry import converts
from caffe2torch.net import Layer

if TYPE_CHECKING:
    from torch import Tensor


def crop(x: Tensor, like: Tensor, *offsets: int) -> Tensor:
    """`x` with its last axes, from `offsets` on, cut to their sizes in `like`."""
    for axis, offset in enumerate(offsets, start=x.ndim - len(offsets)):
        x = x.narrow(axis, offset, like.shape[axis])
    return x


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
        return crop(y, reference, *self.offsets)

    def python(self, place: Place) -> PythonForm:
        arguments = [*place.bottoms, *map(str, self.offsets)]
        return PythonForm(f"crop({', '.join(arguments)})", parts=(crop,))
