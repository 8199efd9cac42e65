"""Losses without a softmax: Euclidean, hinge, contrastive, multinomial logistic, sigmoid cross entropy.

They give the gradients that Caffe computes, which are not always the derivatives of the loss it reports.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from caffe2torch._torch import torch
from caffe2torch.layers.caffe.eltwise import agree
from caffe2torch.layers.converter import Converter, Shape
from caffe2torch.layers.geometry import View
from caffe2torch.layers.gradients import valued
from caffe2torch.layers.registry import converts
from caffe2torch.net import Layer

if TYPE_CHECKING:
    from torch import Tensor

LOG_THRESHOLD = 1e-20
"""Where MultinomialLogisticLoss and InfogainLoss clamp a probability before taking its logarithm."""


class Loss(Converter):
    """What losses share: a scalar top, from predictions and their labels."""

    bottom_count = (2, 2)
    no_gradient = frozenset({1})
    is_loss = True
    auto_top = True

    def top_shapes(self) -> tuple[Shape | None, ...]:
        for first, other in pairwise(self.bottoms[:2]):
            if first and other and not agree(first[:1], other[:1]):
                raise self.refuse(f"the first axes of its bottoms {first} and {other} differ")
        return ((),)

    def look(self, view: View) -> View | None:
        return None

    def normalization(self, default: str) -> str:
        """The mode of loss_param: `normalization`, or what the older `normalize` means, or `default`."""
        p = self.layer.fields.loss_param
        if p.has("normalize") and not p.has("normalization"):
            return "VALID" if p.normalize else "BATCH_SIZE"
        mode: str = p.normalization if p.has("normalization") else default
        if mode not in ("FULL", "VALID", "BATCH_SIZE", "NONE"):
            raise self.refuse(f"normalization: {mode}; FULL, VALID, BATCH_SIZE and NONE are supported")
        return mode

    def counted(self, labels: Tensor) -> Tensor:
        """For each of the labels, int64, whether it is not `ignore_label`."""
        p = self.layer.fields.loss_param
        return (
            labels != p.ignore_label if p.has("ignore_label") else torch.ones_like(labels, dtype=torch.bool)
        )

    def check_items(self, predictions: Tensor, labels: Tensor) -> None:
        """Refuses bottoms whose first axes differ, as Caffe does however many values they hold."""
        if predictions.shape[:1] != labels.shape[:1]:
            shapes = f"{tuple(predictions.shape)} and {tuple(labels.shape)}"
            raise self.refuse(f"the first axes of its bottoms {shapes} differ")

    def one_each(self, predictions: Tensor, labels: Tensor) -> Tensor:
        """The labels, one per item, as (N, 1) of int64; any other number of them is refused."""
        self.check_items(predictions, labels)
        if labels.numel() != predictions.shape[0]:
            raise self.refuse(
                f"{predictions.shape[0]} items need as many labels, found {tuple(labels.shape)}"
            )
        return labels.reshape(-1, 1).long()

    def alike(self, predictions: Tensor, targets: Tensor) -> Tensor:
        """The targets in the shape of the predictions; any other number of them is refused."""
        self.check_items(predictions, targets)
        if predictions.numel() != targets.numel():
            raise self.refuse(
                f"its bottoms {tuple(predictions.shape)} and {tuple(targets.shape)} differ in count"
            )
        return targets.reshape(predictions.shape)


def normalizer(mode: str, outer: int, counted: Tensor) -> Tensor | int:
    """What Caffe divides a loss by, at least 1; `outer` is the product of the axes before the classes'."""
    if mode == "VALID":
        return counted.sum().clamp(min=1)
    return max(1, {"FULL": counted.numel(), "BATCH_SIZE": outer, "NONE": 1}[mode])


@converts("EuclideanLoss")
class EuclideanLoss(Loss):
    """Half the mean over items of the squared distance; gradients to both bottoms."""

    no_gradient = frozenset()

    def forward(self, *bottoms: Tensor, **blobs: Tensor) -> Tensor:
        x, target = bottoms
        return (x - self.alike(x, target)).square().sum() / (2 * x.shape[0])


@converts("HingeLoss")
class HingeLoss(Loss):
    """One versus all: max(0, 1 - x) for the label's class and max(0, 1 + x) for others, norm L1 or L2."""

    def forward(self, *bottoms: Tensor, **blobs: Tensor) -> Tensor:
        scores, labels = bottoms
        x = scores.reshape(scores.shape[0], -1)
        sign = torch.ones_like(x).scatter(1, self.one_each(scores, labels), -1)
        margin = 1 + sign * x
        margin = margin.where(margin > 0, torch.zeros_like(margin))  # NaN is not above 0
        squared = self.layer.fields.hinge_loss_param.norm == "L2"
        return (margin.square() if squared else margin).sum() / x.shape[0]


@converts("MultinomialLogisticLoss")
class MultinomialLogisticLoss(Loss):
    """Minus the mean logarithm of the label's probability; the first bottom holds probabilities."""

    def forward(self, *bottoms: Tensor, **blobs: Tensor) -> Tensor:
        probabilities, labels = bottoms
        label = self.one_each(probabilities, labels)
        picked = probabilities.reshape(label.shape[0], -1).gather(1, label)
        # The gradient does not stop at the clamp (multinomial_logistic_loss_layer.cpp).
        return -valued(picked.clamp(min=LOG_THRESHOLD), picked).log().sum() / label.shape[0]


@converts("SigmoidCrossEntropyLoss")
class SigmoidCrossEntropyLoss(Loss):
    """The cross entropy of a sigmoid with targets from 0 to 1; `ignore_label` and all four normalizations.

    Divides by the number of items by default.
    """

    def __init__(self, layer: Layer, bottoms: tuple[Shape | None, ...]) -> None:
        super().__init__(layer, bottoms)
        self.mode = self.normalization("BATCH_SIZE")

    def forward(self, *bottoms: Tensor, **blobs: Tensor) -> Tensor:
        scores, targets = bottoms
        target = self.alike(scores, targets)
        counted = self.counted(target.long())
        f = torch.nn.functional
        loss = f.binary_cross_entropy_with_logits(scores, target, reduction="none")
        # Caffe computes x - 2 x, or 0 x, on its way (sigmoid_cross_entropy_loss_layer.cpp).
        loss = valued(loss.masked_fill(scores.isinf(), torch.nan), loss)
        total = loss.where(counted, torch.zeros_like(loss)).sum()
        return total / normalizer(self.mode, scores.shape[0], counted)


@converts("ContrastiveLoss")
class ContrastiveLoss(Loss):
    """Pulls similar pairs together, pushes others `margin` apart; `legacy_version` uses squared distances."""

    bottom_count = (3, 3)
    no_gradient = frozenset()

    def forward(self, *bottoms: Tensor, **blobs: Tensor) -> Tensor:
        (a, b, labels), p = bottoms, self.layer.fields.contrastive_loss_param
        similar = self.one_each(a, labels)[:, 0] != 0
        squared = (a - self.alike(a, b)).reshape(a.shape[0], -1).square().sum(1)
        distance = squared.detach() if p.legacy_version else squared.detach().sqrt()
        gap = (p.margin - distance).clamp(min=0)
        if p.legacy_version:
            loss, slope = gap, -(gap > 0).to(gap.dtype)
        else:
            # Caffe adds 1e-4 to the distance that it divides by (contrastive_loss_layer.cpp).
            loss, slope = gap.square(), -gap / (distance + 1e-4)
        pushed = valued(loss, slope * squared)
        return torch.where(similar, squared, pushed).sum() / (2 * a.shape[0])
