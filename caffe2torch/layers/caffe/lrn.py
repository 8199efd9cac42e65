"""Local response normalization (lrn_layer.cpp)."""

from __future__ import annotations

from dataclasses import replace
from functools import reduce
from typing import TYPE_CHECKING

import numpy as np

from caffe2torch._torch import is_exporting, torch
from caffe2torch.layers.caffe.pooling import Pooling
from caffe2torch.layers.converter import Converter, Shape
from caffe2torch.layers.geometry import View
from caffe2torch.layers.nonfinite import all_finite
from caffe2torch.layers.python_form import Place, PythonForm, call, literal, unless
from caffe2torch.layers.registry import converts
from caffe2torch.net import Layer
from caffe2torch.net.fields import Fields

if TYPE_CHECKING:
    from torch import Tensor


def lrn_within_channel(x: Tensor, size: int, alpha: float, beta: float) -> Tensor:
    """Caffe's LRN within each channel; unlike torch's, over a square of pixels."""
    mean = torch.nn.functional.avg_pool2d(x * x, size, 1, size // 2)  # padding counts
    return x * (1 + alpha * mean).pow(-beta)


@converts("LRN")
class LRN(Converter):
    """Across channels or within a channel; `local_size` is odd, as in Caffe.

    OpenCL's `fuse_type` adds a MAX pooling.
    """

    fork_fields = frozenset({"lrn_param.fuse_type", "lrn_param.pooling_param"})

    def __init__(self, layer: Layer, bottoms: tuple[Shape | None, ...]) -> None:
        super().__init__(layer, bottoms)
        self.p = self._parameters()
        if self.p.local_size % 2 == 0:
            raise self.refuse(f"local_size: {self.p.local_size} must be odd")
        self.pooling = self._fused_pooling() if self.p.fuse_type == "FUSED_POOL_MAX" else None

    def _parameters(self) -> Fields:
        p: Fields = self.layer.fields.lrn_param
        return p

    def _fused_pooling(self) -> Pooling:
        p = self.p.pooling_param
        if p.pool != "MAX":
            raise self.refuse(f"fuse_type: {self.p.fuse_type} with pool: {p.pool}")
        return Pooling(replace(self.layer, fields=self.layer.fields.replace(pooling_param=p)), self.bottoms)

    def look(self, view: View) -> View | None:
        return self.pooling.look(view) if self.pooling else view

    def top_shapes(self) -> tuple[Shape | None, ...]:
        return self.pooling.top_shapes() if self.pooling else super().top_shapes()

    def forward(self, *bottoms: Tensor, **blobs: Tensor) -> Tensor | tuple[Tensor, ...]:
        y = self._normalized(*bottoms)
        return self.pooling.forward(y) if self.pooling else y

    def _normalized(self, x: Tensor) -> Tensor:
        p, half = self.p, self.p.local_size // 2
        f = torch.nn.functional
        if p.norm_region == "WITHIN_CHANNEL":
            return lrn_within_channel(x, p.local_size, p.alpha, p.beta)
        if is_exporting():
            return self._for_engines(x)
        padded, channels = f.pad(x * x, (0, 0, 0, 0, half, half)), x.shape[1]
        # A sum of shifted channels takes an eighth of what a pool in 3-D takes.
        shifted = (padded[:, start : start + channels] for start in range(p.local_size))
        mean = reduce(torch.add, shifted) / p.local_size
        if not all_finite(mean):
            # Caffe's window moves by a sum and a difference, which nothing infinite leaves (lrn_layer.cpp).
            left = f.pad(~x.square().isfinite(), (0, 0, 0, 0, half + 1, 0))[:, : x.shape[1]]
            mean = mean.masked_fill(left.cumsum(1) > 0, torch.nan)
        scale: Tensor = p.k + p.alpha * mean
        return x * scale.pow(-p.beta)

    def _for_engines(self, x: Tensor) -> Tensor:
        """The sum over channels as a 1x1 convolution, which every engine has and computes right.

        Of the other forms, a pool in 5-D is wrong in MNN and OpenCV 4 and missing in ExecuTorch, and ONNX's
        own LRN is wrong in onnx2tf. Squares are taken of x / 64, since those of AlexNet's blobs pass 65504,
        at which half precision ends.
        """
        p, channels, smaller = self.p, np.arange(x.shape[1]), 1 / 64
        near = abs(channels[:, None] - channels) <= p.local_size // 2
        weight = torch.from_numpy(near[:, :, None, None].astype(np.float32))
        total = torch.nn.functional.conv2d((x * smaller).square(), weight)
        scale: Tensor = p.k + total * (p.alpha / p.local_size / smaller**2)
        return x * scale.pow(-p.beta)

    def python(self, place: Place) -> PythonForm:
        (x,), p = place.bottoms, self.p
        if self.pooling:
            return super().python(place)
        if p.norm_region == "WITHIN_CHANNEL":
            numbers = ", ".join(map(literal, (p.local_size, p.alpha, p.beta)))
            return PythonForm(f"lrn_within_channel({x}, {numbers})", parts=(lrn_within_channel,))
        alpha, beta = (literal(value) for value in (p.alpha, p.beta))
        options = {
            "alpha": None if alpha == "0.0001" else p.alpha,
            "beta": None if beta == "0.75" else p.beta,
            "k": unless(p.k, 1),
        }
        return PythonForm.module(place, call("nn.LocalResponseNorm", p.local_size, **options))
