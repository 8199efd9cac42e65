"""Softmax and SoftmaxWithLoss (softmax_layer.cpp, softmax_loss_layer.cpp)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from caffe2torch._torch import torch
from caffe2torch.geometry import View
from caffe2torch.layers.axes import canonical
from caffe2torch.net import Fields, Layer
from caffe2torch.registry import Converter, Shape, converts

if TYPE_CHECKING:
    from torch import Tensor

_LOG_FLT_MIN = -87.33654475055310898657
"""Caffe clamps a probability at FLT_MIN before the logarithm; the gradient is not clamped."""


@converts("Softmax")
class Softmax(Converter):
    """Over `axis`."""

    def forward(self, *bottoms: Tensor, **blobs: Tensor) -> Tensor:
        return bottoms[0].softmax(self.layer.fields.softmax_param.axis)


def normalization(loss: Fields) -> str:
    """The mode of a LossParameter: `normalization`, or what the older `normalize` means (softmax_loss_layer.cpp)."""
    if loss.has("normalize") and not loss.has("normalization"):
        return "VALID" if loss.normalize else "BATCH_SIZE"
    return str(loss.normalization)


@converts("SoftmaxWithLoss")
class SoftmaxWithLoss(Converter):
    """The multinomial logistic loss of a softmax, with `ignore_label` and all four normalizations.

    A second top is the softmax.
    """

    is_loss = True

    def __init__(self, layer: Layer, bottoms: tuple[Shape | None, ...]) -> None:
        super().__init__(layer, bottoms)
        self.p = layer.fields.loss_param
        if len(bottoms) != 2:
            raise self.refuse(f"needs 2 bottoms, the scores and their labels; has {len(bottoms)}")
        self.axis = layer.fields.softmax_param.axis
        if bottoms[0] is not None:
            canonical(self, bottoms[0], self.axis)

    def top_shapes(self) -> tuple[Shape | None, ...]:
        return ((), self.bottoms[0])[: len(self.layer.tops)]

    def look(self, view: View) -> View | None:
        return None

    def forward(self, *bottoms: Tensor, **blobs: Tensor) -> Tensor | tuple[Tensor, ...]:
        scores, labels = bottoms
        axis = self.axis % scores.ndim
        logs = scores.log_softmax(axis)
        shape = (*scores.shape[:axis], 1, *scores.shape[axis + 1 :])
        if labels.numel() != scores.numel() // scores.shape[axis]:
            raise self.refuse(
                f"{tuple(scores.shape)} scores need {shape} labels, there are {tuple(labels.shape)}"
            )
        label = labels.reshape(shape).long()
        valid = (
            label != self.p.ignore_label
            if self.p.has("ignore_label")
            else torch.ones_like(label, dtype=torch.bool)
        )
        picked = logs.gather(axis, label.where(valid, torch.zeros_like(label)))
        clamped = picked + (picked.clamp(min=_LOG_FLT_MIN) - picked).detach()
        loss = -clamped.where(valid, torch.zeros_like(clamped)).sum() / self._normalizer(shape, axis, valid)
        return loss if len(self.layer.tops) == 1 else (loss, logs.exp())

    def _normalizer(self, shape: tuple[int, ...], axis: int, valid: Tensor) -> Tensor | int:
        mode = normalization(self.p)
        if mode == "VALID":
            return valid.sum().clamp(min=1)
        outer = torch.Size(shape[:axis]).numel()
        return max(1, {"FULL": valid.numel(), "BATCH_SIZE": outer, "NONE": 1}[mode])
