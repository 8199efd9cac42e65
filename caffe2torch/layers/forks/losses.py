"""Losses and metrics of forks that do not train here; a deploy net drops them (plan/phase.py)."""

from __future__ import annotations

from caffe2torch.layers.converter import Converter, Shape
from caffe2torch.layers.registry import converts
from caffe2torch.net import Layer


@converts(
    "AccuracyRegression",
    "BoxAnnotatorOHEM",
    "CTCLoss",
    "CtcLoss",
    "DetectionEvaluate",
    "EltwiseAccuracy",
    "EvalDetection",
    "JfdaLoss",
    "L1Loss",
    "LabelsequenceAccuracy",
    "LpqLoss",
    "MarginInnerProduct",
    "MultiBoxLoss",
    "PairwiseLoss",
    "QuantizationLoss",
    "RegionLoss",
    "SegAccuracy",
    "SmoothL1LossOHEM",
    "SoftmaxCrossEntropyLoss",
    "SoftmaxWithLossOHEM",
    "TripletLoss",
    "YoloSeg",
    "Yolov3",
    "caffe_traininglayers.ClassRebalanceMultLayer",
    "caffe_traininglayers.NNEncLayer",
    "caffe_traininglayers.NonGrayMaskLayer",
    "caffe_traininglayers.PriorBoostLayer",
    "pyloss.EuclideanLossLayer",
    "python.NormlizedMSE.NormlizedMSE",
    "rpn.anchor_target_layer.AnchorTargetLayer",
)
class ForkLoss(Converter):
    """Losses, metrics and training targets of SSD, R-CNN, FlowNet and others: dropped from a deploy net.

    They do not train here: phase TRAIN refuses them.
    """

    bottom_count = (0, None)
    top_count = (0, None)
    held_against = ""
    is_loss = True

    def __init__(self, layer: Layer, bottoms: tuple[Shape | None, ...]) -> None:
        super().__init__(layer, bottoms)
        raise self.refuse("is dropped from a deploy net, and does not train here")
