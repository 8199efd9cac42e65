"""NaN and infinities, where Caffe's loops treat them otherwise than torch's operators.

A layer computes as torch does, and again with more care if its result shows that it may have met any.
Finite numbers cost nothing this way, and keep their bits.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from caffe2torch._torch import torch

if TYPE_CHECKING:
    from torch import Tensor

FLT_MAX = 3.4028234663852886e38
"""Caffe's maxima start from minus this: NaN and -inf are not above it."""


def is_recorded(x: Tensor) -> bool:
    """Whether a graph is being recorded, so that `x` stands for other values than its own.

    A recorded net (exported, compiled, traced) treats NaN and infinities as its engine does.
    """
    if torch.compiler.is_compiling() or torch.jit.is_tracing():  # type: ignore[attr-defined, no-untyped-call]
        return True
    if type(x) not in (torch.Tensor, torch.nn.Parameter) or x.is_meta:  # a Proxy, a FakeTensor
        return True
    return x.is_cuda and torch.cuda.is_current_stream_capturing()


def all_finite(x: Tensor) -> bool:
    """Whether there is no NaN and no infinity in `x`; also True where code must not depend on values.

    One that is False may also be of finite values with a sum that is too large for their dtype.
    """
    if is_recorded(x):
        return True
    try:
        return bool(x.detach().sum().isfinite())  # one pass, and all that is left of a NaN or an infinity
    except RuntimeError:  # torch.vmap
        return True


def relu(x: Tensor) -> Tensor:
    """max(x, 0) + 0 min(x, 0), which Caffe computes: NaN for -inf. Its gradient is 0 at NaN."""
    if is_recorded(x):
        return torch.nn.functional.relu(x)
    if not (torch.is_grad_enabled() and x.requires_grad):
        return _rectified(x)
    y: Tensor = _rectified_with_gradient().apply(x)
    return y


def _rectified(x: Tensor) -> Tensor:
    # The sum turns the -0 of a negative number times 0 into 0.
    return torch.nn.functional.leaky_relu(x, 0.0).add_(0.0)


@cache
def _rectified_with_gradient() -> Any:
    """An autograd function, which takes torch to define; like torch's ReLU it keeps only its top."""

    class Rectified(torch.autograd.Function):
        generate_vmap_rule = True

        @staticmethod
        def forward(x: Tensor) -> Tensor:
            return _rectified(x)

        @staticmethod
        def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
            ctx.save_for_backward(output)

        @staticmethod
        def backward(ctx: Any, *gradients: Tensor) -> Any:
            (y,) = ctx.saved_tensors
            return torch.ops.aten.leaky_relu_backward(gradients[0], y, 0.0, False)

    return Rectified
