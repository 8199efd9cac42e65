"""ColorConv and BGR2LabLayer: the colors of the colorization nets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from caffe2torch._torch import torch
from caffe2torch.layers.converter import Converter, Shape
from caffe2torch.layers.registry import converts
from caffe2torch.net import Layer

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class _Colors:
    """The numbers in which two definitions of the same color spaces differ."""

    xyz: tuple[tuple[float, ...], ...]
    """Linear sRGB to XYZ; the middle row is also the gray value."""
    white: tuple[float, float, float]
    bend: float
    """Below this a line replaces the cube root: `slope` x + 4 / 29."""
    slope: float


_FORK = _Colors(
    ((0.4124564, 0.3575761, 0.1804375), (0.2126729, 0.7151522, 0.0721750), (0.0193339, 0.1191920, 0.9503041)),
    (0.95074, 1.0, 1.08883),
    0.008867,
    903.3 / 116,
)
"""color_conv_layer.cpp."""
_SKIMAGE = _Colors(
    ((0.412453, 0.357580, 0.180423), (0.212671, 0.715160, 0.072169), (0.019334, 0.119193, 0.950227)),
    (0.95047, 1.0, 1.08883),
    0.008856,
    7.787,
)
"""skimage.color.rgb2lab."""


def _xyz(rgb: Tensor, colors: _Colors = _FORK) -> Tensor:
    """RGB, 0 to 255, as XYZ, 0 to about 1."""
    x = rgb / 255
    linear = torch.where(x <= 0.04045, x / 12.92, ((x.clamp(min=0) + 0.055) / 1.055) ** 2.4)
    return torch.einsum("ij,njhw->nihw", linear.new_tensor(colors.xyz), linear)


def _lab(rgb: Tensor, colors: _Colors = _FORK) -> Tensor:
    """RGB, 0 to 255, as CIE Lab: lightness 0 to 100, a and b about -110 to 110."""
    x = _xyz(rgb, colors) / rgb.new_tensor(colors.white).view(3, 1, 1)
    root = x.clamp(min=colors.bend) ** (1 / 3)
    f = torch.where(x > colors.bend, root, colors.slope * x + 16 / 116)
    return torch.stack([116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])], 1)


def _gray(rgb: Tensor) -> Tensor:
    return torch.einsum("j,njhw->nhw", rgb.new_tensor(_FORK.xyz[1]), rgb)[:, None]


_FROM_RGB = {"RGB": lambda rgb: rgb, "XYZ": _xyz, "Lab": _lab, "Gray": _gray}


@converts("ColorConv")
class ColorConv(Converter):
    """Colorization nets': images in another color space.

    `input` is BGR or RGB, 0 to 255; `output` is BGR, RGB, Gray, XYZ or Lab.
    """

    held_against = "NumPy loops"
    fork_fields = frozenset({"color_conv_param"})

    def __init__(self, layer: Layer, bottoms: tuple[Shape | None, ...]) -> None:
        super().__init__(layer, bottoms)
        self.p = layer.fields.color_conv_param
        if self.p.input not in ("BGR", "RGB"):
            raise self.refuse(f"input: {self.p.input} is not supported, BGR and RGB are")
        if bottoms[0] is not None and bottoms[0][1] not in (3, None):
            raise self.refuse(f"needs 3 channels, its bottom has {bottoms[0][1]}")

    def top_shapes(self) -> tuple[Shape | None, ...]:
        bottom = self.bottoms[0]
        channels = 1 if self.p.output == "Gray" else 3
        return (None if bottom is None else (bottom[0], channels, *bottom[2:]),)

    def forward(self, *bottoms: Tensor, **blobs: Tensor) -> Tensor:
        rgb = bottoms[0].flip(1) if self.p.input == "BGR" else bottoms[0]
        return rgb.flip(1) if self.p.output == "BGR" else _FROM_RGB[self.p.output](rgb)


@converts("caffe_traininglayers.BGR2LabLayer")
class BGR2Lab(Converter):
    """Colorful image colorization's Python layer: BGR, truncated to whole numbers from 0 to 255, as Lab."""

    held_against = "NumPy loops"

    def forward(self, *bottoms: Tensor, **blobs: Tensor) -> Tensor:
        # The Python layer goes through 8-bit numbers; values that do not fit are meaningless there.
        return _lab(bottoms[0].flip(1).trunc(), _SKIMAGE)
