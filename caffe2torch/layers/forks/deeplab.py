"""DeepLab's HoleConvolution, and Interp (interp_layer.cpp of deeplab-public, PSPNet, ICNet)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from caffe2torch._torch import torch
from caffe2torch.layers.caffe.convolution import Convolution
from caffe2torch.layers.converter import Converter, Shape
from caffe2torch.layers.geometry import View
from caffe2torch.layers.python_form import Place, PythonForm
from caffe2torch.layers.registry import converts
from caffe2torch.net import Layer

if TYPE_CHECKING:
    from torch import Tensor


@converts("HoleConvolution")
class HoleConvolution(Convolution):
    """DeepLab's older name of a Convolution that is dilated by `hole`."""

    held_against = "NumPy loops"


@converts("Interp")
class Interp(Converter):
    """DeepLab's, PSPNet's and ICNet's: bilinear interpolation with aligned corners.

    To a size from `zoom_factor` and `shrink_factor`, or to `height` and `width`; negative `pad_beg` and
    `pad_end` crop first. An `interp_type` other than bilinear and a second bottom are refused.
    """

    bottom_count = (1, 2)
    held_against = "NumPy loops"
    fork_fields = frozenset({"interp_param"})

    def __init__(self, layer: Layer, bottoms: tuple[Shape | None, ...]) -> None:
        super().__init__(layer, bottoms)
        p = self.p = layer.fields.interp_param
        if len(bottoms) != 1:
            raise self.refuse(
                f"needs one bottom, has {len(bottoms)}; sizes from a second one are not supported"
            )
        if p.interp_type != "bilinear":
            raise self.refuse(f"interp_type: {p.interp_type!r} is not supported, 'bilinear' is")
        if p.pad_beg > 0 or p.pad_end > 0:
            raise self.refuse(f"pad_beg: {p.pad_beg} and pad_end: {p.pad_end} must not be positive")
        if not (p.has("zoom_factor") or p.has("shrink_factor") or (p.has("height") and p.has("width"))):
            raise self.refuse("needs zoom_factor, shrink_factor, or height and width")
        if min(p.zoom_factor, p.shrink_factor) < 1:
            raise self.refuse(
                f"zoom_factor: {p.zoom_factor}, shrink_factor: {p.shrink_factor} must be positive"
            )

    def look(self, view: View) -> View | None:
        return None

    def top_shapes(self) -> tuple[Shape | None, ...]:
        bottom = self.bottoms[0]
        if bottom is None:
            return (None,)
        given = zip(bottom[2:], (self.p.height, self.p.width), strict=True)
        return ((*bottom[:2], *(None if size is None else self._size(size, to) for size, to in given)),)

    def _size(self, size: int, to: int) -> int:
        """The size of the top along one axis; `to` is the one that the file gives."""
        p = self.p
        size += p.pad_beg + p.pad_end
        # A factor on its own takes precedence over a size.
        if p.has("height") and p.has("width") and p.has("zoom_factor") == p.has("shrink_factor"):
            size = to
        else:
            size = (size - 1) // p.shrink_factor + 1
            size += (size - 1) * (p.zoom_factor - 1)
        if size < 1:
            raise self.refuse(f"would make an image {size} pixels high or wide")
        return size

    def forward(self, *bottoms: Tensor, **blobs: Tensor) -> Tensor:
        (x,) = bottoms
        height, width = (
            self._size(s, to) for s, to in zip(x.shape[2:], (self.p.height, self.p.width), strict=True)
        )
        begin, end = -self.p.pad_beg, self.p.pad_end
        x = x[:, :, begin : x.shape[2] + end, begin : x.shape[3] + end]
        return torch.nn.functional.interpolate(x, (height, width), mode="bilinear", align_corners=True)

    def python(self, place: Place) -> PythonForm:
        (x,), p = place.bottoms, self.p
        if p.pad_beg or p.pad_end or p.shrink_factor != 1:
            raise self.no_python_form("pad_beg, pad_end or shrink_factor")
        if p.has("height") and p.has("width") and p.has("zoom_factor") == p.has("shrink_factor"):
            size = f"({p.height}, {p.width})"
        else:
            sides = (f"({x}.shape[{axis}] - 1) * {p.zoom_factor} + 1" for axis in (2, 3))
            size = f"({', '.join(sides)})"
        return PythonForm(f'F.interpolate({x}, {size}, mode="bilinear", align_corners=True)')
