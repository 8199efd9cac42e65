"""Functions with gradients of their own; imported when a net is trained, as defining them takes torch."""

from __future__ import annotations

from typing import Any

from torch import Tensor, ops
from torch.autograd import Function

from caffe2torch.layers.nonfinite import rectified


class Rectified(Function):
    """Caffe's ReLU; like torch's it keeps its top, not its bottom, for the gradient."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        """The top."""
        return rectified(x)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        """Keeps the top."""
        ctx.save_for_backward(output)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        """The gradient where the top is positive, and times 0 elsewhere."""
        (y,) = ctx.saved_tensors
        gradient: Tensor = ops.aten.leaky_relu_backward(gradients[0], y, 0.0, False)
        return gradient


class Valued(Function):
    """One tensor's value with another's gradient."""

    generate_vmap_rule = True

    @staticmethod
    def forward(value: Tensor, differentiable: Tensor) -> Tensor:
        """The first."""
        return value.clone()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        """Needs nothing."""

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[None, Tensor]:
        """The gradient goes to the second."""
        return None, gradients[0]
