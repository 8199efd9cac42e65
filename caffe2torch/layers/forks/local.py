"""Local: a convolution whose weights differ from position to position (BVLC/caffe pull request 1271)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from caffe2torch._torch import torch
from caffe2torch.layers.axes import product
from caffe2torch.layers.converter import BlobSpec, Converter, Shape
from caffe2torch.layers.geometry import View, Window
from caffe2torch.layers.registry import converts
from caffe2torch.net import Layer

if TYPE_CHECKING:
    from torch import Tensor


@converts("Local", "LocalWeightedConvolution")
class Local(Converter):
    """A BVLC branch's: a convolution without shared weights; square kernel, stride and pad.

    It has weights for each position, so its net runs at one size only.
    """

    held_against = "NumPy loops"
    fork_fields = frozenset({"local_param", "local_weighted_convolution_param"})

    def __init__(self, layer: Layer, bottoms: tuple[Shape | None, ...]) -> None:
        super().__init__(layer, bottoms)
        old = layer.fields.has("local_weighted_convolution_param")
        p = self.p = layer.fields.local_weighted_convolution_param if old else layer.fields.local_param
        if not p.num_output or not p.kernel_size or not p.stride:
            raise self.refuse("needs positive num_output, kernel_size and stride")

    def look(self, view: View) -> View:
        p = self.p
        return view.through(Window((p.kernel_size,) * 2, (p.stride,) * 2, (p.pad,) * 2))

    def _places(self) -> tuple[int | None, int | None]:
        bottom = self.bottoms[0] or (None,) * 4
        height, width = (None if size is None else self._size(size) for size in bottom[2:])
        return height, width

    def _size(self, size: int) -> int:
        places = (size + 2 * self.p.pad - self.p.kernel_size) // self.p.stride + 1
        if places < 1:
            raise self.refuse(f"its kernel of {self.p.kernel_size} does not fit a bottom of {size} pixels")
        return int(places)

    def blob_specs(self) -> tuple[BlobSpec, ...]:
        p, channels = self.p, self.bottoms[0][1] if self.bottoms[0] else None
        under, places = product((channels, p.kernel_size, p.kernel_size)), product(self._places())
        weight = BlobSpec("weight", (p.num_output, 1, under, places), p.weight_filler)
        return (weight, BlobSpec("bias", (1, 1, p.num_output, places), p.bias_filler))[: 1 + p.bias_term]

    def top_shapes(self) -> tuple[Shape | None, ...]:
        bottom = self.bottoms[0]
        return (None if bottom is None else (bottom[0], self.p.num_output, *self._places()),)

    def forward(self, *bottoms: Tensor, **blobs: Tensor) -> Tensor:
        (x,), p, weight = bottoms, self.p, blobs["weight"]
        height, width = (self._size(size) for size in x.shape[2:])
        if weight.shape[3] != height * width:
            raise self.refuse(f"has weights for {weight.shape[3]} places, its bottom has {height} x {width}")
        under = torch.nn.functional.unfold(x, p.kernel_size, padding=p.pad, stride=p.stride)
        y = torch.einsum("nkp,okp->nop", under, weight[:, 0])
        y = y + blobs["bias"][0] if "bias" in blobs else y
        return y.view(len(x), p.num_output, height, width)
