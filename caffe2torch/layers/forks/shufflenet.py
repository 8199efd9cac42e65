"""ShuffleChannel and the depthwise convolutions (ShuffleNet, MobileNet), Axpy (SENet)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from caffe2torch.layers.caffe.convolution import Convolution
from caffe2torch.layers.converter import BlobSpec, Converter, Shape
from caffe2torch.layers.python_form import Place, PythonForm
from caffe2torch.layers.registry import converts
from caffe2torch.net import Layer

if TYPE_CHECKING:
    from torch import Tensor


@converts("ShuffleChannel")
class ShuffleChannel(Converter):
    """ShuffleNet's: the first channel of each of `group` groups, then the second of each, and so on."""

    held_against = "NumPy loops"
    fork_fields = frozenset({"shuffle_channel_param"})

    def __init__(self, layer: Layer, bottoms: tuple[Shape | None, ...]) -> None:
        super().__init__(layer, bottoms)
        self.group = layer.fields.shuffle_channel_param.group
        channels = bottoms[0][1] if bottoms[0] else None
        if not self.group or (channels or 0) % self.group:
            raise self.refuse(f"its bottom's channels, {channels}, are not a multiple of group: {self.group}")

    def forward(self, *bottoms: Tensor, **blobs: Tensor) -> Tensor:
        (x,) = bottoms
        return x.reshape(len(x), self.group, -1, *x.shape[2:]).transpose(1, 2).flatten(1, 2)

    def python(self, place: Place) -> PythonForm:
        return PythonForm(f"F.channel_shuffle({place.bottoms[0]}, {self.group})")


@converts("ConvolutionDepthwise", "DepthwiseConvolution")
class ConvolutionDepthwise(Convolution):
    """MobileNet's and ShuffleNet's: a convolution of each channel on its own.

    The forks do not read `group`, and `num_output` must be the number of channels.
    """

    held_against = "NumPy loops"

    def __init__(self, layer: Layer, bottoms: tuple[Shape | None, ...]) -> None:
        p = layer.fields.convolution_param
        super().__init__(layer, bottoms)
        channels = bottoms[0][1] if bottoms[0] else None
        if channels not in (None, p.num_output) or p.group not in (1, p.num_output):
            raise self.refuse(
                f"num_output: {p.num_output} and group: {p.group}; its bottom has {channels} channels"
            )
        self.p = p.replace(group=p.num_output)

    def blob_specs(self) -> tuple[BlobSpec, ...]:
        weight, *bias = super().blob_specs()
        return (BlobSpec(weight.name, (weight.shape[0], 1, *weight.shape[2:]), weight.filler), *bias)


@converts("Axpy")
class Axpy(Converter):
    """SENet's: the second bottom, each channel times its factor in the first, plus the third.

    The factors are (N, C) or (N, C, 1, 1).
    """

    bottom_count = (3, 3)
    held_against = "NumPy loops"

    def top_shapes(self) -> tuple[Shape | None, ...]:
        return (self.bottoms[1],)

    def forward(self, *bottoms: Tensor, **blobs: Tensor) -> Tensor:
        factor, x, y = bottoms
        if factor.numel() != len(x) * x.shape[1] or x.shape != y.shape:
            shapes = ", ".join(str(tuple(bottom.shape)) for bottom in bottoms)
            raise self.refuse(f"its bottoms {shapes} should be (N, C), (N, C, H, W) and (N, C, H, W)")
        return factor.reshape(*x.shape[:2], *(1,) * (x.ndim - 2)) * x + y

    def python(self, place: Place) -> PythonForm:
        factor, x, y = place.bottoms
        axes = [None if bottom is None else len(bottom) for bottom in self.bottoms[:2]]
        if axes not in ([2, 4], [4, 4]):
            return super().python(place)
        spread = factor if axes[0] == 4 else f"{factor}[:, :, None, None]"
        return PythonForm(f"{spread} * {x} + {y}")
