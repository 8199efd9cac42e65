"""Spatial pyramid pooling (spp_layer.cpp; He et al., ECCV 2014)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from caffe2torch._torch import torch
from caffe2torch.layers.caffe.pooling import Pooling
from caffe2torch.layers.converter import Converter, Shape
from caffe2torch.layers.geometry import View
from caffe2torch.layers.registry import converts
from caffe2torch.net import Layer
from caffe2torch.net.fields import Fields

if TYPE_CHECKING:
    from torch import Tensor


MAX_LEVELS = 16
"""32768 bins along each axis."""


@converts("SPP")
class SPP(Converter):
    """MAX or AVE over 1, 2 x 2, 4 x 4, … bins, `pyramid_height` levels, flattened into one axis.

    STOCHASTIC is refused, and so is an image too small for its bins, as in Caffe. The windows depend on the
    image's size, so a traced net runs at one size only.
    """

    held_against = "NumPy loops; SSD's Caffe"

    def __init__(self, layer: Layer, bottoms: tuple[Shape | None, ...]) -> None:
        super().__init__(layer, bottoms)
        self.p = layer.fields.spp_param
        if self.p.pyramid_height < 1:
            raise self.refuse("pyramid_height must be given and positive")
        if self.p.pyramid_height > MAX_LEVELS:
            raise self.refuse(
                f"pyramid_height: {self.p.pyramid_height} asks for more bins than an image has pixels"
            )
        if self.p.pool == "STOCHASTIC":
            raise self.refuse("pool: STOCHASTIC has no deterministic meaning here; MAX and AVE are supported")

    def look(self, view: View) -> View | None:
        return None

    def top_shapes(self) -> tuple[Shape | None, ...]:
        bottom, levels = self.bottoms[0], self.p.pyramid_height
        if bottom is None:
            return (None,)
        if levels == 1:
            return ((*bottom[:2], 1, 1),)
        bins = sum(4**level for level in range(levels))
        return ((bottom[0], None if bottom[1] is None else bottom[1] * bins),)

    def forward(self, *bottoms: Tensor, **blobs: Tensor) -> Tensor:
        (x,) = bottoms
        pooled = [self._pool(x, 2**level) for level in range(self.p.pyramid_height)]
        return torch.cat([y.flatten(1) for y in pooled], 1) if len(pooled) > 1 else pooled[0]

    def _pool(self, x: Tensor, bins: int) -> Tensor:
        """One level; the last bins reach into the padding if the size is not a multiple of their number."""
        size = {"h": x.shape[2], "w": x.shape[3]}
        window: dict[str, int | str] = {"pool": self.p.pool}
        for axis in size:
            kernel = (size[axis] + bins - 1) // bins
            window |= {f"kernel_{axis}": kernel, f"stride_{axis}": kernel}
            window[f"pad_{axis}"] = (kernel * bins - size[axis] + 1) // 2
        fields = Fields("LayerParameter", {"pooling_param": Fields("PoolingParameter", window)})
        layer = Layer(self.layer.name, "Pooling", self.layer.bottoms, self.layer.tops, fields)
        y = Pooling(layer, (tuple(x.shape),)).forward(x)
        assert isinstance(y, torch.Tensor)  # noqa: S101 (there is no mask)
        return y
