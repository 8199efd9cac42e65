"""Gradients that are not the derivative of the value, which Caffe has in places."""

from __future__ import annotations

from typing import TYPE_CHECKING

from caffe2torch.layers.nonfinite import is_recorded

if TYPE_CHECKING:
    from torch import Tensor


def valued(value: Tensor, differentiable: Tensor) -> Tensor:
    """A tensor with the value of the first and the gradient of the second, which may be infinite."""
    if not differentiable.requires_grad:
        return value
    if is_recorded(value):  # graphs hold no functions of ours
        return value.detach() + (differentiable - differentiable.detach())
    from caffe2torch.layers.autograd import Valued

    return Valued.apply(value.detach(), differentiable)
