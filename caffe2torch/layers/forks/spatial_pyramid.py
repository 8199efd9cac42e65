"""SpatialPyramidPooling: SPP-net's, from a BVLC branch that is older than Caffe's SPP."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from caffe2torch._torch import torch
from caffe2torch.layers.axes import product
from caffe2torch.layers.caffe.pooling import Pooling
from caffe2torch.layers.converter import Converter, Shape
from caffe2torch.layers.geometry import View
from caffe2torch.layers.registry import converts
from caffe2torch.net import Layer
from caffe2torch.net.fields import Fields

if TYPE_CHECKING:
    from torch import Tensor


@converts("SpatialPyramidPooling")
class SpatialPyramidPooling(Converter):
    """A BVLC branch's: MAX over windows of 1 / `spatial_bin` of the image, for each bin, in one axis.

    The windows are whole pixels, so a size that is not a multiple of a bin gets more of them.
    """

    held_against = "NumPy loops"
    fork_fields = frozenset({"spatial_pyramid_pooling_param"})

    def __init__(self, layer: Layer, bottoms: tuple[Shape | None, ...]) -> None:
        super().__init__(layer, bottoms)
        p = layer.fields.spatial_pyramid_pooling_param
        self.bins = tuple(p.spatial_bin)
        if not self.bins or min(self.bins) < 1 or p.pool != "MAX" or p.scale != 1:
            raise self.refuse(f"needs positive spatial_bin, pool: MAX and scale: 1; has {p}")

    def look(self, view: View) -> View | None:
        return None

    def top_shapes(self) -> tuple[Shape | None, ...]:
        bottom = self.bottoms[0]
        if bottom is None:
            return (None,)
        if None in bottom[2:]:
            return (bottom,) if len(self.bins) == 1 else ((bottom[0], None),)
        pooled = [self._pooling(bottom, bins).top_shapes()[0] or bottom for bins in self.bins]
        if len(pooled) == 1:
            return (pooled[0],)
        sizes = [product(shape[1:]) for shape in pooled]
        return ((bottom[0], None if None in sizes else sum(size or 0 for size in sizes)),)

    def _pooling(self, bottom: Shape, bins: int) -> Pooling:
        height, width = ((size or 0) // bins for size in bottom[2:])
        if not height or not width:
            raise self.refuse(f"its bottom {bottom} is too small for {bins} x {bins} windows")
        window = {"kernel_h": height, "kernel_w": width, "stride_h": height, "stride_w": width}
        fields = self.layer.fields.replace(pooling_param=Fields("PoolingParameter", window))
        return Pooling(replace(self.layer, fields=fields), (bottom,))

    def forward(self, *bottoms: Tensor, **blobs: Tensor) -> Tensor | tuple[Tensor, ...]:
        (x,) = bottoms
        pooled = [self._pooling(tuple(x.shape), bins).forward(x) for bins in self.bins]
        if len(pooled) == 1:
            return pooled[0]
        return torch.cat([y.flatten(1) for y in pooled if isinstance(y, torch.Tensor)], 1)
