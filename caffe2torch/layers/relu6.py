"""ReLU6 (MobileNet) and Gather (yjxiong/caffe)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from caffe2torch.net import Layer
from caffe2torch.registry import Converter, Shape, converts

if TYPE_CHECKING:
    from torch import Tensor


@converts("ReLU6")
class ReLU6(Converter):
    """MobileNet's: min(max(x, 0), 6); a `negative_slope` is refused."""

    def __init__(self, layer: Layer, bottoms: tuple[Shape | None, ...]) -> None:
        super().__init__(layer, bottoms)
        if layer.fields.relu_param.negative_slope:
            raise self.refuse("negative_slope is not supported")

    def forward(self, *bottoms: Tensor, **blobs: Tensor) -> Tensor:
        return bottoms[0].clamp(0, 6)


@converts("Gather")
class Gather(Converter):
    """yjxiong/caffe's: puts the batches of several machines together; on one, each top is its bottom."""

    def top_shapes(self) -> tuple[Shape | None, ...]:
        return self.bottoms

    def forward(self, *bottoms: Tensor, **blobs: Tensor) -> tuple[Tensor, ...]:
        return bottoms
