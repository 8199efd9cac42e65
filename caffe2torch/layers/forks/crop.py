"""The crops of forks: CropCenter (waifu2x) and SimpleCrop."""

from __future__ import annotations

from typing import TYPE_CHECKING

from caffe2torch.layers.axes import part
from caffe2torch.layers.caffe.crop import crop
from caffe2torch.layers.converter import Converter, Shape
from caffe2torch.layers.geometry import View
from caffe2torch.layers.python_form import Place, PythonForm
from caffe2torch.layers.registry import converts
from caffe2torch.net import Layer

if TYPE_CHECKING:
    from torch import Tensor


@converts("CropCenter")
class CropCenter(Converter):
    """waifu2x's: takes `crop_size` values off both ends of each axis."""

    held_against = "NumPy loops"
    fork_fields = frozenset({"crop_center_param"})

    def __init__(self, layer: Layer, bottoms: tuple[Shape | None, ...]) -> None:
        super().__init__(layer, bottoms)
        self.crop = tuple(layer.fields.crop_center_param.crop_size)
        axes = len(self.crop) if bottoms[0] is None else len(bottoms[0])
        if len(self.crop) != axes:
            raise self.refuse(f"{len(self.crop)} crop_size for {axes} axes; give one per axis")

    def look(self, view: View) -> View | None:
        return view.shifted(self.crop[2:])

    def top_shapes(self) -> tuple[Shape | None, ...]:
        bottom = self.bottoms[0]
        if bottom is None:
            return (None,)
        sizes = zip(bottom, self.crop, strict=True)
        return (tuple(None if size is None else self._size(size, crop) for size, crop in sizes),)

    def _size(self, size: int, crop: int) -> int:
        if size <= 2 * crop:
            raise self.refuse(f"cannot take {crop} values off both ends of {size}")
        return size - 2 * crop

    def forward(self, *bottoms: Tensor, **blobs: Tensor) -> Tensor:
        (x,) = bottoms
        for axis, cut in enumerate(self.crop):
            x = x[part(axis, cut, cut + self._size(x.shape[axis], cut))]
        return x

    def python(self, place: Place) -> PythonForm:
        cuts = ", ".join(f"{cut}:-{cut}" if cut else ":" for cut in self.crop)
        return PythonForm(f"{place.bottoms[0]}[{cuts}]")


@converts("SimpleCrop")
class SimpleCrop(Converter):
    """A BVLC branch's: the first bottom's top left part, as high and wide as the second bottom.

    A net that names the second in `crop_param.blob_name` gets it as a bottom when the net is upgraded.
    """

    held_against = "NumPy loops"
    shape_only = frozenset({1})
    bottom_count = (1, 2)

    def __init__(self, layer: Layer, bottoms: tuple[Shape | None, ...]) -> None:
        super().__init__(layer, bottoms)
        if len(bottoms) != 2:
            raise self.refuse(f"needs a second bottom, or the blob_name of one; has {len(bottoms)} bottoms")

    def look(self, view: View) -> View | None:
        return view

    def top_shapes(self) -> tuple[Shape | None, ...]:
        cropped, like = self.bottoms
        return (None if cropped is None else (*cropped[:2], *(like or (None,) * 4)[2:]),)

    def forward(self, *bottoms: Tensor, **blobs: Tensor) -> Tensor:
        x, (height, width) = bottoms[0], bottoms[1].shape[2:]
        if x.shape[2] < height or x.shape[3] < width:
            raise self.refuse(f"cannot crop {tuple(x.shape)} to {height} x {width}")
        return x[:, :, :height, :width]

    def python(self, place: Place) -> PythonForm:
        return PythonForm(f"crop({', '.join(place.bottoms)}, 0, 0)", parts=(crop,))
