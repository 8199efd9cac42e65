"""Gradients that are not the derivative of the value, which Caffe has in places."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def valued(value: Tensor, differentiable: Tensor) -> Tensor:
    """A tensor with the value of the first and the gradient of the second."""
    return value.detach() + (differentiable - differentiable.detach())
