"""BatchNorm and MVN (batch_norm_layer.cpp, mvn_layer.cpp)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from caffe2torch._torch import torch
from caffe2torch.blob import Array
from caffe2torch.layers.caffe.scale import Scale
from caffe2torch.layers.converter import BlobSpec, Converter, Shape
from caffe2torch.layers.geometry import View
from caffe2torch.layers.gradients import valued
from caffe2torch.layers.python_form import Place, PythonForm, call, literal, unless
from caffe2torch.layers.registry import converts
from caffe2torch.net import Layer

if TYPE_CHECKING:
    from torch import Tensor


@converts("BatchNorm")
class BatchNorm(Converter):
    """Normalization per channel, without scale and shift.

    The statistics are stored multiplied by a factor, the third blob. In phase TRAIN, unless
    `use_global_stats`, the batch's own are used and the stored ones updated.
    """

    has_statistics = True
    depends_on_phase = True
    fork_fields = frozenset({"batch_norm_param.filler", "batch_norm_param.bias_filler"})

    def __init__(self, layer: Layer, bottoms: tuple[Shape | None, ...]) -> None:
        super().__init__(layer, bottoms)
        self.p = layer.fields.batch_norm_param
        # Intel's Caffe has a scale and shift of its own here, unless three `param` describe the blobs.
        if (self.p.has("filler") or self.p.has("bias_filler")) and len(layer.fields.param) != 3:
            raise self.refuse("scale and shift of its own (filler, bias_filler) are not supported")

    def blob_specs(self) -> tuple[BlobSpec, ...]:
        bottom = self.bottoms[0]
        channels = None if bottom is None else 1 if len(bottom) == 1 else bottom[1]
        return BlobSpec("mean", (channels,)), BlobSpec("variance", (channels,)), BlobSpec("factor", (1,))

    @property
    def is_affine(self) -> bool:
        return self._uses_stored(training=False)

    def look(self, view: View) -> View | None:
        return view if self.is_affine else view.whole()

    def _uses_stored(self, training: bool) -> bool:
        return bool(self.p.use_global_stats) if self.p.has("use_global_stats") else not training

    def forward(self, *bottoms: Tensor, training: bool = False, **blobs: Tensor) -> Tensor:
        (x,) = bottoms
        if self._uses_stored(training):
            factor = blobs["factor"]
            scale = torch.where(factor == 0, torch.zeros_like(factor), 1 / factor)
            channels = x if x.ndim > 1 else x[:, None]  # a blob of one axis is one channel
            mean, variance = blobs["mean"] * scale, blobs["variance"] * scale
            return torch.nn.functional.batch_norm(channels, mean, variance, eps=self.p.eps).view_as(x)
        axes = [axis for axis in range(x.ndim) if axis != 1]
        variance, mean = torch.var_mean(x, axes, correction=0)
        self._move(blobs, mean.detach(), variance.detach(), x.numel() // mean.numel())
        shape = (1, -1, *(1,) * (x.ndim - 2)) if x.ndim > 1 else (-1,)
        y: Tensor = (x - mean.view(shape)) / (variance.view(shape) + self.p.eps).sqrt()
        return y

    def python(self, place: Place) -> PythonForm:
        bottom = self.bottoms[0]
        if bottom is None or not 2 <= len(bottom) <= 5 or not self._uses_stored(training=False):
            return super().python(place)
        eps = None if literal(self.p.eps) == "1e-05" else self.p.eps
        kind = {2: "1d", 3: "1d", 4: "2d", 5: "3d"}[len(bottom)]
        channels = place.shapes["mean"]
        module = call(f"nn.BatchNorm{kind}", *channels, eps=eps, affine=unless(place.affine, True))
        return PythonForm.module(place, module)

    def state(self, blobs: Mapping[str, Array]) -> Mapping[str, Array]:
        factor = float(blobs["factor"][0])
        scale = np.float32(1 / factor if factor else 0)
        return {".running_mean": blobs["mean"] * scale, ".running_var": blobs["variance"] * scale}

    def absorbs(self, reader: Converter) -> bool:
        return isinstance(reader, Scale) and reader.is_affine and bool(reader.p.bias_term)

    def _move(self, blobs: dict[str, Tensor], mean: Tensor, variance: Tensor, count: int) -> None:
        keep = self.p.moving_average_fraction
        unbiased = count / (count - 1) if count > 1 else 1
        with torch.no_grad():
            blobs["factor"].mul_(keep).add_(1)
            blobs["mean"].mul_(keep).add_(mean)
            blobs["variance"].mul_(keep).add_(variance * unbiased)


@converts("MVN")
class MVN(Converter):
    """Mean 0 and, with `normalize_variance`, variance 1: per channel, or with `across_channels` per item.

    `eps` is added to the standard deviation.
    """

    def look(self, view: View) -> View | None:
        return view.whole()

    def forward(self, *bottoms: Tensor, **blobs: Tensor) -> Tensor:
        (x,), p = bottoms, self.layer.fields.mvn_param
        rows = x.reshape(*x.shape[: 1 if p.across_channels else 2], -1)
        centred = rows - rows.mean(-1, keepdim=True)
        if not p.normalize_variance:
            return centred.reshape(x.shape)
        deviation = centred.detach().square().mean(-1, keepdim=True).sqrt() + p.eps
        y = centred / deviation
        # The gradient through the deviation, finite where the deviation is 0 (mvn_layer.cpp).
        through = -y.detach() * (y.detach() * y).mean(-1, keepdim=True)
        return valued(y, y + through).reshape(x.shape)

    def python(self, place: Place) -> PythonForm:
        p = self.layer.fields.mvn_param
        start, x = 1 if p.across_channels else 2, place.bottoms[0]
        if not p.normalize_variance:
            return PythonForm(f"centred({x}, {start})", parts=(centred,))
        return PythonForm(f"standardized({x}, {start}, eps={literal(p.eps)})", parts=(centred, standardized))


def centred(x: Tensor, start_dim: int) -> Tensor:
    """`x` minus its mean over the axes from `start_dim` on."""
    return x - x.mean(tuple(range(start_dim, x.ndim)), keepdim=True)


def standardized(x: Tensor, start_dim: int, eps: float) -> Tensor:
    """`x` with mean 0 and variance 1 over the axes from `start_dim` on."""
    x = centred(x, start_dim)
    variance = x.square().mean(tuple(range(start_dim, x.ndim)), keepdim=True)
    return x / (variance.sqrt() + eps)
