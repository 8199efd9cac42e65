"""Face recognition: CenterLoss (ydwen/caffe-face)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from caffe2torch._torch import torch
from caffe2torch.layers.axes import canonical, product
from caffe2torch.layers.caffe.losses import Loss
from caffe2torch.layers.converter import BlobSpec, Shape
from caffe2torch.layers.registry import converts
from caffe2torch.net import Layer

if TYPE_CHECKING:
    from torch import Tensor


@converts("CenterLoss")
class CenterLoss(Loss):
    """caffe-face's: half the mean squared distance of the items from their labels' centers, a learned blob.

    As there, a center's gradient is the sum of its items' distances over one more than their number, whatever
    the loss's weight.
    """

    held_against = "NumPy loops"
    fork_fields = frozenset({"center_loss_param"})

    def __init__(self, layer: Layer, bottoms: tuple[Shape | None, ...]) -> None:
        super().__init__(layer, bottoms)
        self.p = layer.fields.center_loss_param
        bottom = bottoms[0]
        if not self.p.num_output or (bottom is not None and canonical(self, bottom, self.p.axis) != 1):
            raise self.refuse("needs num_output, the number of labels; and axis: 1")

    def blob_specs(self) -> tuple[BlobSpec, ...]:
        features = None if self.bottoms[0] is None else product(self.bottoms[0][1:])
        return (BlobSpec("centers", (self.p.num_output, features), self.p.center_filler),)

    def forward(self, *bottoms: Tensor, **blobs: Tensor) -> Tensor:
        items, labels = bottoms[0].flatten(1), self.one_each(*bottoms)[:, 0]
        centers = blobs["centers"].clone()
        distances = items - centers[labels]
        if centers.requires_grad:
            total = torch.zeros_like(centers).index_add(0, labels, distances.detach())
            count = torch.bincount(labels, minlength=len(centers))[:, None]
            centers.register_hook(lambda gradient: -total / (count + 1))  # type: ignore[no-untyped-call]
        return distances.square().sum() / (2 * len(items))
