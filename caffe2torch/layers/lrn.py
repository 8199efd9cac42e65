"""Local response normalization (lrn_layer.cpp)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from caffe2torch._torch import torch
from caffe2torch.net import Layer
from caffe2torch.registry import Converter, Shape, converts

if TYPE_CHECKING:
    from torch import Tensor


@converts("LRN")
class LRN(Converter):
    """Across channels or within a channel; `local_size` is odd, as in Caffe."""

    def __init__(self, layer: Layer, bottoms: tuple[Shape | None, ...]) -> None:
        super().__init__(layer, bottoms)
        self.p = layer.fields.lrn_param
        if self.p.local_size % 2 == 0:
            raise self.refuse(f"local_size: {self.p.local_size} must be odd")

    def forward(self, *bottoms: Tensor, **blobs: Tensor) -> Tensor:
        (x,), p, half = bottoms, self.p, self.p.local_size // 2
        f = torch.nn.functional
        if p.norm_region == "WITHIN_CHANNEL":
            # Caffe's constant is 1 here and `k` is not read; the padding counts in the average.
            mean = f.avg_pool2d(x * x, p.local_size, 1, half)
            scale: Tensor = 1 + p.alpha * mean
            return x * scale.pow(-p.beta)
        padded = f.pad((x * x).unsqueeze(1), (0, 0, 0, 0, half, half))
        mean = f.avg_pool3d(padded, (p.local_size, 1, 1), 1).squeeze(1)
        scale = p.k + p.alpha * mean
        return x * scale.pow(-p.beta)
