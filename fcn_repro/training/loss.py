"""The softmax loss of training, and its gradient in the same pass: one array of their size, not four."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from fcn_repro.data.datasets import IGNORE_LABEL


def softmax_loss(scores: Mapping[str, Tensor], labels: Mapping[str, Tensor], *, normalize: bool) -> Tensor:
    """The sum over heads of SoftmaxWithLoss over pixels, (N, C, H, W) and (N, H, W), void left out.

    Summed over pixels and divided by N, or with `normalize` the mean over the pixels that are not void
    (softmax_loss_layer.cpp). An image that is all void has loss 0. Its gradient can be asked for once.
    """
    apply: Callable[[Tensor, Tensor, bool], Tensor] = _SoftmaxLoss.apply
    losses = [apply(score, labels[head], normalize) for head, score in scores.items()]
    return torch.stack(losses).sum()


class _SoftmaxLoss(torch.autograd.Function):
    """The loss of one head, float32."""

    @staticmethod
    def forward(ctx: Any, score: Tensor, label: Tensor, normalize: bool) -> Tensor:
        logarithms = F.log_softmax(score.float(), 1)
        loss = F.nll_loss(logarithms, label, ignore_index=IGNORE_LABEL, reduction="sum")
        counted = label != IGNORE_LABEL
        share = 1 / counted.sum().clamp(min=1) if normalize else 1 / len(label)
        if ctx.needs_input_grad[0]:
            weights = (counted * share)[:, None]  # (N, 1, H, W)
            gradient = logarithms.exp_().mul_(weights)
            gradient.scatter_add_(1, torch.where(counted, label, 0)[:, None], weights.neg())
            ctx.gradient = gradient.to(score.dtype)
        return loss * share

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        """In place, so that a second time would be wrong, and is refused."""
        own: Tensor = ctx.gradient
        del ctx.gradient
        return own.mul_(gradients[0]), None, None
