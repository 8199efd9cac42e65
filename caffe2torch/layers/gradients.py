"""Gradients that are not the derivative of the value, which Caffe has in places."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from caffe2torch._torch import torch
from caffe2torch.layers.nonfinite import is_recorded

if TYPE_CHECKING:
    from torch import Tensor


def valued(value: Tensor, differentiable: Tensor) -> Tensor:
    """A tensor with the value of the first and the gradient of the second, which may be infinite."""
    if not differentiable.requires_grad:
        return value
    if is_recorded(value):  # graphs hold no functions of ours
        return value.detach() + (differentiable - differentiable.detach())
    y: Tensor = _valued().apply(value.detach(), differentiable)
    return y


@cache
def _valued() -> Any:
    """An autograd function, which takes torch to define."""

    class Valued(torch.autograd.Function):
        generate_vmap_rule = True

        @staticmethod
        def forward(value: Tensor, differentiable: Tensor) -> Tensor:
            return value.clone()

        @staticmethod
        def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
            pass

        @staticmethod
        def backward(ctx: Any, *gradients: Tensor) -> tuple[None, Tensor]:
            return None, gradients[0]

    return Valued
