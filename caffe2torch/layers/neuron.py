"""Layers that work value by value and keep the shape."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from caffe2torch._torch import torch
from caffe2torch.net import Layer
from caffe2torch.registry import Converter, Shape, converts

if TYPE_CHECKING:
    from torch import Tensor


@converts("ReLU")
class ReLU(Converter):
    """max(x, 0), with `negative_slope` the leaky form."""

    def forward(self, *bottoms: Tensor, **blobs: Tensor) -> Tensor:
        slope = self.layer.fields.relu_param.negative_slope
        f = torch.nn.functional
        return f.leaky_relu(bottoms[0], slope) if slope else f.relu(bottoms[0])


@converts("Dropout")
class Dropout(Converter):
    """The identity in phase TEST; in phase TRAIN drops values and scales the rest by 1 / (1 - ratio)."""

    depends_on_phase = True

    def __init__(self, layer: Layer, bottoms: tuple[Shape | None, ...]) -> None:
        super().__init__(layer, bottoms)
        self.ratio = layer.fields.dropout_param.dropout_ratio
        if not 0 <= self.ratio < 1:
            raise self.refuse(f"dropout_ratio: {self.ratio} must be at least 0 and under 1")

    def forward(self, *bottoms: Tensor, training: bool = False, **blobs: Any) -> Tensor:
        return torch.nn.functional.dropout(bottoms[0], self.ratio, training)
