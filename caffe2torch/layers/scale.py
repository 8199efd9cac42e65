"""Scale and Bias: a learned blob, or a second bottom, along some axes (scale_layer.cpp, bias_layer.cpp)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from caffe2torch.layers.axes import canonical
from caffe2torch.net import Fields, Layer
from caffe2torch.registry import BlobSpec, Converter, Shape, converts

if TYPE_CHECKING:
    from torch import Tensor


class _Along(Converter):
    """An operand along `num_axes` axes from `axis` on: a learned blob, or else the second bottom."""

    p: Fields

    def __init__(self, layer: Layer, bottoms: tuple[Shape | None, ...]) -> None:
        super().__init__(layer, bottoms)
        self.learned = len(bottoms) == 1
        if len(bottoms) not in (1, 2):
            raise self.refuse(f"needs 1 or 2 bottoms, has {len(bottoms)}")

    def shape(self) -> Shape:
        """The shape of the operand."""
        if not self.learned and self.bottoms[1] is not None:
            return self.bottoms[1]
        bottom = self.bottoms[0]
        if bottom is None:
            return tuple(self.layer.blobs[0].shape) if self.layer.blobs else (None,)
        start = canonical(self, bottom, self.p.axis)
        end = len(bottom) if self.p.num_axes == -1 else start + self.p.num_axes
        if not start <= end <= len(bottom):
            raise self.refuse(
                f"axis: {self.p.axis} and num_axes: {self.p.num_axes} leave its bottom {bottom}"
            )
        return bottom[start:end]

    def spread(self, operand: Tensor, x: Tensor) -> Tensor:
        """The operand with the axes that broadcasting needs after its own."""
        axis = 0 if operand.ndim == 0 else self.p.axis % x.ndim
        if tuple(operand.shape) != tuple(x.shape[axis : axis + operand.ndim]):
            raise self.refuse(
                f"its operand {tuple(operand.shape)} does not match {tuple(x.shape)} from axis {axis}"
            )
        return operand.reshape(*operand.shape, *(1,) * (x.ndim - axis - operand.ndim))


@converts("Bias")
class Bias(_Along):
    """Adds a learned blob along `num_axes` axes from `axis` on (-1: to the last), or a bottom."""

    def __init__(self, layer: Layer, bottoms: tuple[Shape | None, ...]) -> None:
        super().__init__(layer, bottoms)
        self.p = layer.fields.bias_param

    def blob_specs(self) -> tuple[BlobSpec, ...]:
        return (BlobSpec("bias", self.shape(), self.p.filler),) if self.learned else ()

    def forward(self, *bottoms: Tensor, **blobs: Tensor) -> Tensor:
        return bottoms[0] + self.spread(blobs["bias"] if self.learned else bottoms[1], bottoms[0])


@converts("Scale")
class Scale(_Along):
    """Multiplies by a learned blob along `num_axes` axes from `axis` on (-1: to the last), or by a bottom.

    `bias_term` adds a learned blob of the same shape.
    """

    def __init__(self, layer: Layer, bottoms: tuple[Shape | None, ...]) -> None:
        super().__init__(layer, bottoms)
        self.p = layer.fields.scale_param

    def blob_specs(self) -> tuple[BlobSpec, ...]:
        p = self.p
        filler = p.filler if p.has("filler") else p.filler.replace(type="constant", value=1.0)
        weight = (BlobSpec("weight", self.shape(), filler),) if self.learned else ()
        return (*weight, BlobSpec("bias", self.shape(), p.bias_filler)) if p.bias_term else weight

    def forward(self, *bottoms: Tensor, **blobs: Tensor) -> Tensor:
        x = bottoms[0]
        y = x * self.spread(blobs["weight"] if self.learned else bottoms[1], x)
        return y + self.spread(blobs["bias"], x) if self.p.bias_term else y
