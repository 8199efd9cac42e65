"""BatchNorm and Scale (batch_norm_layer.cpp, scale_layer.cpp)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from caffe2torch._torch import torch
from caffe2torch.layers.axes import canonical
from caffe2torch.net import Layer
from caffe2torch.registry import BlobSpec, Converter, Shape, converts

if TYPE_CHECKING:
    from torch import Tensor


@converts("BatchNorm")
class BatchNorm(Converter):
    """Normalization per channel, without scale and shift.

    The statistics are stored times a factor, which is the third blob. In phase TRAIN, unless
    `use_global_stats`, the batch's own are used and the stored ones move.
    """

    has_statistics = True
    depends_on_phase = True

    def __init__(self, layer: Layer, bottoms: tuple[Shape | None, ...]) -> None:
        super().__init__(layer, bottoms)
        self.p = layer.fields.batch_norm_param

    def blob_specs(self) -> tuple[BlobSpec, ...]:
        bottom = self.bottoms[0]
        channels = None if bottom is None else 1 if len(bottom) == 1 else bottom[1]
        return BlobSpec("mean", (channels,)), BlobSpec("variance", (channels,)), BlobSpec("factor", (1,))

    def forward(self, *bottoms: Tensor, training: bool = False, **blobs: Any) -> Tensor:
        (x,) = bottoms
        uses_stored = self.p.use_global_stats if self.p.has("use_global_stats") else not training
        if uses_stored:
            factor = blobs["factor"]
            scale = torch.where(factor == 0, torch.zeros_like(factor), 1 / factor)
            mean, variance = blobs["mean"] * scale, blobs["variance"] * scale
        else:
            axes = [axis for axis in range(x.ndim) if axis != 1]
            variance, mean = torch.var_mean(x, axes, correction=0)
            self._move(blobs, mean.detach(), variance.detach(), x.numel() // mean.numel())
        shape = (1, -1, *(1,) * (x.ndim - 2)) if x.ndim > 1 else (-1,)
        return (x - mean.view(shape)) / (variance.view(shape) + self.p.eps).sqrt()

    def _move(self, blobs: dict[str, Tensor], mean: Tensor, variance: Tensor, count: int) -> None:
        keep = self.p.moving_average_fraction
        unbiased = count / (count - 1) if count > 1 else 1
        with torch.no_grad():
            blobs["factor"].mul_(keep).add_(1)
            blobs["mean"].mul_(keep).add_(mean)
            blobs["variance"].mul_(keep).add_(variance * unbiased)


@converts("Scale")
class Scale(Converter):
    """Multiplies the axes from `axis` by a learned blob or by the second bottom; `bias_term` adds one more."""

    def __init__(self, layer: Layer, bottoms: tuple[Shape | None, ...]) -> None:
        super().__init__(layer, bottoms)
        self.p = layer.fields.scale_param
        self.learned = len(bottoms) == 1

    def blob_specs(self) -> tuple[BlobSpec, ...]:
        filler = self.p.filler if self.p.has("filler") else self.p.filler.replace(type="constant", value=1.0)
        specs = [BlobSpec("weight", self._shape(), filler)] if self.learned else []
        return (*specs, BlobSpec("bias", self._shape(), self.p.bias_filler))[: len(specs) + self.p.bias_term]

    def _shape(self) -> Shape:
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

    def forward(self, *bottoms: Tensor, **blobs: Tensor) -> Tensor:
        x = bottoms[0]
        factor = blobs["weight"] if self.learned else bottoms[1]
        y = x * self._spread(factor, x)
        return y + self._spread(blobs["bias"], x) if "bias" in blobs else y

    def _spread(self, factor: Tensor, x: Tensor) -> Tensor:
        """The factor with the axes that broadcasting needs after its own."""
        axis = 0 if factor.ndim == 0 else self.p.axis % x.ndim
        if tuple(factor.shape) != tuple(x.shape[axis : axis + factor.ndim]):
            raise self.refuse(
                f"its factor {tuple(factor.shape)} does not match {tuple(x.shape)} from axis {axis}"
            )
        return factor.reshape(*factor.shape, *(1,) * (x.ndim - axis - factor.ndim))
