"""Softmax, and the losses with one (softmax_layer.cpp, softmax_loss_layer.cpp, infogain_loss_layer.cpp)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from caffe2torch._torch import torch
from caffe2torch.errors import UnsupportedLayer
from caffe2torch.layers.axes import canonical
from caffe2torch.layers.caffe.losses import LOG_THRESHOLD, Loss, normalizer
from caffe2torch.layers.converter import Converter, Shape
from caffe2torch.layers.geometry import View
from caffe2torch.layers.gradients import valued
from caffe2torch.layers.python_form import Place, PythonForm
from caffe2torch.layers.registry import converts
from caffe2torch.net import Layer

if TYPE_CHECKING:
    from torch import Tensor

_LOG_FLT_MIN = -87.33654475055310898657
"""Caffe clamps a probability at FLT_MIN before the logarithm; the gradient is not clamped."""


@converts("Softmax")
class Softmax(Converter):
    """A softmax over `axis`."""

    def __init__(self, layer: Layer, bottoms: tuple[Shape | None, ...]) -> None:
        super().__init__(layer, bottoms)
        if bottoms[0] is not None:
            canonical(self, bottoms[0], layer.fields.softmax_param.axis)

    def look(self, view: View) -> View | None:
        return view if self.layer.fields.softmax_param.axis in (0, 1) else view.whole()

    def forward(self, *bottoms: Tensor, **blobs: Tensor) -> Tensor:
        return bottoms[0].softmax(self.layer.fields.softmax_param.axis)

    def python(self, place: Place) -> PythonForm:
        return PythonForm(f"F.softmax({place.bottoms[0]}, dim={self.layer.fields.softmax_param.axis})")


class _SoftmaxLoss(Loss):
    """What the losses of a softmax share; a second top is the softmax."""

    top_count = (1, 2)

    def __init__(self, layer: Layer, bottoms: tuple[Shape | None, ...], axis: int) -> None:
        super().__init__(layer, bottoms)
        self.axis = axis
        self.mode = self.normalization(layer.fields.loss_param.normalization)
        if bottoms[0] is not None:
            canonical(self, bottoms[0], axis)

    def top_shapes(self) -> tuple[Shape | None, ...]:
        return (*super().top_shapes(), self.bottoms[0])[: len(self.layer.tops)]

    def forward(self, *bottoms: Tensor, **blobs: Tensor) -> Tensor | tuple[Tensor, ...]:
        scores, labels = bottoms[:2]
        axis = self.axis % scores.ndim
        self.check_items(scores, labels)
        logs = scores.log_softmax(axis)
        shape = (*scores.shape[:axis], 1, *scores.shape[axis + 1 :])
        if labels.numel() != scores.numel() // scores.shape[axis]:
            raise self.refuse(
                f"{tuple(scores.shape)} scores need {shape} labels, found {tuple(labels.shape)}"
            )
        label = labels.reshape(shape).long()
        counted = self.counted(label)
        terms = self._terms(logs, label.where(counted, torch.zeros_like(label)), axis, *bottoms[2:])
        outer = math.prod(shape[:axis])
        loss = terms.where(counted, torch.zeros_like(terms)).sum() / normalizer(self.mode, outer, counted)
        return loss if len(self.layer.tops) == 1 else (loss, logs.exp())

    def _terms(self, logs: Tensor, label: Tensor, axis: int, *more: Tensor) -> Tensor:
        """The loss of each label, before normalization."""
        raise NotImplementedError


@converts("SoftmaxWithLoss")
class SoftmaxWithLoss(_SoftmaxLoss):
    """The multinomial logistic loss of a softmax, with `ignore_label` and all four normalizations.

    A second top is the softmax.
    """

    def __init__(self, layer: Layer, bottoms: tuple[Shape | None, ...]) -> None:
        super().__init__(layer, bottoms, layer.fields.softmax_param.axis)

    def _terms(self, logs: Tensor, label: Tensor, axis: int, *more: Tensor) -> Tensor:
        picked = logs.gather(axis, label)
        return -valued(picked.clamp(min=_LOG_FLT_MIN), picked)


@converts("InfogainLoss")
class InfogainLoss(_SoftmaxLoss):
    """The loss of a softmax with each class weighted by the label's row of the third bottom, a matrix.

    A second top is the softmax. A file with the matrix, `source`, is refused.
    """

    bottom_count = (2, 3)
    no_gradient = frozenset({1, 2})

    def __init__(self, layer: Layer, bottoms: tuple[Shape | None, ...]) -> None:
        p = layer.fields.infogain_loss_param
        if len(bottoms) == 2:
            where = f"source: '{p.source}' is a file" if p.has("source") else "has no matrix"
            raise UnsupportedLayer(layer.name, layer.type, f"{where}; give it as the third bottom")
        super().__init__(layer, bottoms, p.axis)
        if layer.fields.loss_param.has("normalize"):
            raise self.refuse("this loss does not read normalize; give normalization")

    def _terms(self, logs: Tensor, label: Tensor, axis: int, *more: Tensor) -> Tensor:
        classes = logs.shape[axis]
        if more[0].numel() != classes**2:
            raise self.refuse(f"its matrix {tuple(more[0].shape)} must hold {classes} x {classes} values")
        rows = more[0].reshape(classes, classes)[label.squeeze(axis)].movedim(-1, axis)
        clamped = valued(logs.clamp(min=math.log(LOG_THRESHOLD)), logs)
        return -(rows * clamped).sum(axis, keepdim=True)
