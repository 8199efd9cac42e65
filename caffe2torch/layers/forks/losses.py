"""The losses and measures of forks, which a deploy net does without (phase.py). One of them trains here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from caffe2torch._torch import torch
from caffe2torch.layers.converter import Converter, Shape
from caffe2torch.layers.geometry import View
from caffe2torch.layers.registry import converts
from caffe2torch.net import Layer

if TYPE_CHECKING:
    from torch import Tensor


@converts(
    "AccuracyRegression",
    "BoxAnnotatorOHEM",
    "CTCLoss",
    "CtcLoss",
    "DetectionEvaluate",
    "EvalDetection",
    "JfdaLoss",
    "L1Loss",
    "LabelsequenceAccuracy",
    "LpqLoss",
    "MultiBoxLoss",
    "PairwiseLoss",
    "QuantizationLoss",
    "RegionLoss",
    "SegAccuracy",
    "SmoothL1LossOHEM",
    "SoftmaxCrossEntropyLoss",
    "SoftmaxWithLossOHEM",
    "TripletLoss",
    "caffe_traininglayers.ClassRebalanceMultLayer",
    "caffe_traininglayers.NNEncLayer",
    "caffe_traininglayers.NonGrayMaskLayer",
    "caffe_traininglayers.PriorBoostLayer",
    "pyloss.EuclideanLossLayer",
    "python.NormlizedMSE.NormlizedMSE",
    "rpn.anchor_target_layer.AnchorTargetLayer",
)
class ForkLoss(Converter):
    """Losses, measures and training targets of SSD, R-CNN, FlowNet and others: dropped from a net to deploy.

    They do not train here: in phase TRAIN they are refused.
    """

    held_against = ""
    is_loss = True

    def __init__(self, layer: Layer, bottoms: tuple[Shape | None, ...]) -> None:
        super().__init__(layer, bottoms)
        raise self.refuse("is dropped where a net is deployed, and does not train here")


@converts("rpn.proposal_target_layer.ProposalTargetLayer")
class ProposalTarget(Converter):
    """Faster R-CNN's Python layer that draws regions to train on; a deploy net takes all of them."""

    held_against = ""
    is_sampler = True

    def __init__(self, layer: Layer, bottoms: tuple[Shape | None, ...]) -> None:
        super().__init__(layer, bottoms)
        raise self.refuse("draws regions by their labels, and does not train here")


@converts("SmoothL1Loss")
class SmoothL1Loss(Converter):
    """Fast R-CNN's: the bend of an L1 loss rounded within 1 / `sigma`^2; a mean over the batch.

    Further bottoms weigh the difference inside of the loss and the loss outside, value by value.
    """

    held_against = "NumPy loops; SSD's Caffe"
    is_loss = True
    fork_fields = frozenset({"smooth_l1_loss_param"})

    def __init__(self, layer: Layer, bottoms: tuple[Shape | None, ...]) -> None:
        super().__init__(layer, bottoms)
        self.sigma2 = layer.fields.smooth_l1_loss_param.sigma**2
        if len(bottoms) not in (2, 3, 4):
            raise self.refuse(f"needs 2 to 4 bottoms (values, targets, weights), has {len(bottoms)}")

    def look(self, view: View) -> View | None:
        return None

    def top_shapes(self) -> tuple[Shape | None, ...]:
        return ((),)

    def forward(self, *bottoms: Tensor, **blobs: Tensor) -> Tensor:
        if any(bottom.numel() != bottoms[0].numel() for bottom in bottoms):
            raise self.refuse(f"its bottoms differ: {', '.join(str(tuple(b.shape)) for b in bottoms)}")
        values, targets, *weights = (bottom.reshape(len(bottoms[0]), -1) for bottom in bottoms)
        inside, outside = [*weights, None, None][:2]
        difference = values - targets if inside is None else (values - targets) * inside
        size = difference.abs()
        bent = size < 1 / self.sigma2
        loss = torch.where(bent, 0.5 * self.sigma2 * difference**2, size - 0.5 / self.sigma2)
        return (loss if outside is None else loss * outside).sum() / len(values)
