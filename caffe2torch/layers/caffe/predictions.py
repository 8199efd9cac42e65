"""Predictions from scores: ArgMax, and Accuracy against labels (argmax_layer.cpp, accuracy_layer.cpp)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from caffe2torch._torch import torch
from caffe2torch.layers.axes import canonical, part, product
from caffe2torch.layers.converter import Converter, Shape
from caffe2torch.layers.geometry import View
from caffe2torch.layers.nonfinite import all_finite
from caffe2torch.layers.python_form import Place, PythonForm, operand
from caffe2torch.layers.registry import converts
from caffe2torch.net import Layer

if TYPE_CHECKING:
    from torch import Tensor


@converts("Accuracy")
class Accuracy(Converter):
    """The fraction of labels that are among the `top_k` scores over `axis`, without `ignore_label`.

    A second top is the accuracy per class, 0 for one without labels. In a tie the label's score comes last.
    """

    bottom_count = (2, 2)
    top_count = (1, 2)
    no_gradient = frozenset({0, 1})
    is_loss = True

    def __init__(self, layer: Layer, bottoms: tuple[Shape | None, ...]) -> None:
        super().__init__(layer, bottoms)
        self.p = layer.fields.accuracy_param
        if bottoms[0] is not None:
            self._classes(bottoms[0])

    def _classes(self, bottom: Shape) -> int | None:
        classes = bottom[canonical(self, bottom, self.p.axis)]
        if classes is not None and self.p.top_k > classes:
            raise self.refuse(f"top_k: {self.p.top_k} is more than its {classes} classes")
        return classes

    def top_shapes(self) -> tuple[Shape | None, ...]:
        classes = None if self.bottoms[0] is None else self._classes(self.bottoms[0])
        return ((), (classes,))[: len(self.layer.tops)]

    def look(self, view: View) -> View | None:
        return None

    def forward(self, *bottoms: Tensor, **blobs: Tensor) -> Tensor | tuple[Tensor, ...]:
        classes = bottoms[0].shape[self.p.axis]
        scores = bottoms[0].detach().movedim(self.p.axis, -1).reshape(-1, classes)
        if bottoms[1].numel() != scores.shape[0]:
            raise self.refuse(f"{scores.shape[0]} labels are needed, found {tuple(bottoms[1].shape)}")
        label = bottoms[1].reshape(-1).long()
        if self.p.has("ignore_label"):
            counted = label != self.p.ignore_label
            scores, label = scores[counted], label[counted]
        better = (scores >= scores.gather(1, label[:, None])).sum(1) - 1
        right: Tensor = (better < self.p.top_k).to(scores.dtype)
        accuracy = right.sum() / max(1, label.numel())
        if len(self.layer.tops) == 1:
            return accuracy
        per_class = torch.zeros(classes).to(right).index_add(0, label, right)
        return accuracy, per_class / label.bincount(minlength=classes).clamp(min=1)


@converts("ArgMax")
class ArgMax(Converter):
    """The positions of the `top_k` largest values over `axis`, or over all but the first; as floats.

    `out_max_val` gives the values: instead of the positions with `axis`, after them without. In a tie the
    last value comes first. With NaN, and `top_k` 1, it is the largest after the last NaN, as in Caffe.
    """

    no_gradient = frozenset({0})

    def __init__(self, layer: Layer, bottoms: tuple[Shape | None, ...]) -> None:
        super().__init__(layer, bottoms)
        self.p = layer.fields.argmax_param
        self.has_axis = self.p.has("axis")
        bottom = bottoms[0]
        axis = 0 if bottom is None or not self.has_axis else canonical(self, bottom, self.p.axis)
        size = None if bottom is None else bottom[axis] if self.has_axis else product(bottom[1:])
        if self.p.top_k < 1 or (size is not None and self.p.top_k > size):
            raise self.refuse(f"top_k: {self.p.top_k} must be from 1 to {size or 'the size of its axis'}")

    def top_shapes(self) -> tuple[Shape | None, ...]:
        bottom, k = self.bottoms[0], self.p.top_k
        if bottom is None:
            return (None,)
        if self.has_axis:
            axis = canonical(self, bottom, self.p.axis)
            return ((*bottom[:axis], k, *bottom[axis + 1 :]),)
        return ((bottom[0], 1 + self.p.out_max_val, k, *(1,) * (len(bottom) - 3)),)

    def look(self, view: View) -> View | None:
        return view if self.has_axis and self.p.axis in (0, 1) else None

    def forward(self, *bottoms: Tensor, **blobs: Tensor) -> Tensor:
        (x,) = bottoms
        if self.has_axis:
            value, position = self._largest(x, self.p.axis)
            return value if self.p.out_max_val else position
        value, position = self._largest(x.reshape(x.shape[0], -1), 1)
        both = torch.stack([position, value] if self.p.out_max_val else [position], 1)  # (N, 1 or 2, k)
        return both.reshape(*both.shape, *(1,) * (x.ndim - 3))

    def _largest(self, x: Tensor, axis: int) -> tuple[Tensor, Tensor]:
        """The largest values, and their positions as floats; in a tie the last comes first."""
        value, order = x.flip(axis).sort(dim=axis, descending=True, stable=True)
        position = (x.shape[axis] - 1 - order).to(x.dtype)
        first = part(axis % x.ndim, 0, self.p.top_k)
        value, position = value[first], position[first]
        if self.p.top_k > 1 or all_finite(value):
            return value, position
        # Caffe asks whether the largest value so far is greater than the next, which NaN never is.
        last = last_argmax(x.masked_fill(x.isnan().flip(axis).cumsum(axis).flip(axis) > 0, -math.inf), axis)
        return x.gather(axis, last.long()), last

    def python(self, place: Place) -> PythonForm:
        bottom, x = self.bottoms[0], operand(place.bottoms[0])
        if bottom is None or self.p.top_k != 1 or self.p.out_max_val:
            raise self.no_python_form("several values, or values with positions")
        if len(bottom) == 1 and not self.has_axis:
            raise self.no_python_form("a bottom of one axis")
        if self.has_axis:
            return PythonForm(f"last_argmax({place.bottoms[0]}, {self.p.axis})", parts=(last_argmax,))
        ones = ", 1" * max(2, len(bottom) - 1)
        return PythonForm(f"last_argmax({x}.flatten(1), 1).reshape(-1{ones})", parts=(last_argmax,))


def last_argmax(x: Tensor, dim: int) -> Tensor:
    """The position of the largest value along an axis, in a tie the last one."""
    return (x.shape[dim] - 1 - x.flip(dim).argmax(dim, keepdim=True)).to(x.dtype)
