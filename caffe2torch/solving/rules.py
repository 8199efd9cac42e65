"""Caffe's six solvers: what a gradient does to the history and to the weights (solvers/*.cpp).

All rules work in place, with one kernel for many tensors (torch._foreach_*), in Caffe's order: the rate
multiplies the gradient before it enters SGD's history, so that a changing rate behaves as in Caffe.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from caffe2torch._torch import torch
from caffe2torch.net.fields import Fields
from caffe2torch.solving.rate import single

if TYPE_CHECKING:
    from torch import Tensor

    Tensors = list[Tensor]


@dataclass(frozen=True)
class Rule:
    """A solver type: how many tensors of history it keeps per parameter, and its ComputeUpdateValue."""

    slots: int
    value: Callable[[Fields, Tensors, Sequence[Tensors], float, int], Tensors]
    """What is to be subtracted from the weights: the gradients, overwritten, or the history, or new tensors.

    Called with the SolverParameter, gradients, history (a list for each slot), the rate times lr_mult, and
    the iteration, counted from 1.
    """

    def update(
        self,
        p: Fields,
        data: Tensors,
        diff: Tensors,
        history: Sequence[Tensors],
        rate: float,
        iteration: int,
    ) -> Tensors:
        """Subtracts the value from the weights `data`, and returns it."""
        value = self.value(p, diff, history, rate, iteration)
        torch._foreach_sub_(data, value)
        return value


def _sgd(p: Fields, diff: Tensors, history: Sequence[Tensors], rate: float, iteration: int) -> Tensors:
    (velocity,) = history
    torch._foreach_mul_(velocity, p.momentum)
    torch._foreach_add_(velocity, diff, alpha=rate)
    return velocity


def _nesterov(p: Fields, diff: Tensors, history: Sequence[Tensors], rate: float, iteration: int) -> Tensors:
    (velocity,) = history
    update = torch._foreach_mul(velocity, -p.momentum)
    torch._foreach_mul_(velocity, p.momentum)
    torch._foreach_add_(velocity, diff, alpha=rate)
    torch._foreach_add_(update, velocity, alpha=single(1 + p.momentum))
    return list(update)


def _adagrad(p: Fields, diff: Tensors, history: Sequence[Tensors], rate: float, iteration: int) -> Tensors:
    (squares,) = history
    torch._foreach_addcmul_(squares, diff, diff)
    return _scaled_by_root(p, diff, squares, rate)


def _rmsprop(p: Fields, diff: Tensors, history: Sequence[Tensors], rate: float, iteration: int) -> Tensors:
    (squares,) = history
    _average_square(squares, diff, p.rms_decay)
    return _scaled_by_root(p, diff, squares, rate)


def _adadelta(p: Fields, diff: Tensors, history: Sequence[Tensors], rate: float, iteration: int) -> Tensors:
    gradients, updates = history
    _average_square(gradients, diff, p.momentum)
    ratio = torch._foreach_add(updates, p.delta)
    torch._foreach_div_(ratio, torch._foreach_add(gradients, p.delta))
    torch._foreach_sqrt_(ratio)
    torch._foreach_mul_(diff, ratio)
    _average_square(updates, diff, p.momentum)
    torch._foreach_mul_(diff, rate)
    return diff


def _adam(p: Fields, diff: Tensors, history: Sequence[Tensors], rate: float, iteration: int) -> Tensors:
    means, squares = history
    correction = math.sqrt(1 - p.momentum2**iteration) / (1 - p.momentum**iteration)
    torch._foreach_mul_(means, p.momentum)
    torch._foreach_add_(means, diff, alpha=1 - p.momentum)
    _average_square(squares, diff, p.momentum2)
    root = torch._foreach_sqrt(squares)
    torch._foreach_add_(root, p.delta)
    value = torch._foreach_div(means, root)
    torch._foreach_mul_(value, single(rate * single(correction)))
    return list(value)


def _average_square(average: Tensors, values: Tensors, keep: float) -> None:
    torch._foreach_mul_(average, keep)
    torch._foreach_addcmul_(average, values, values, value=1 - keep)


def _scaled_by_root(p: Fields, diff: Tensors, squares: Tensors, rate: float) -> Tensors:
    root = torch._foreach_sqrt(squares)
    torch._foreach_add_(root, p.delta)
    torch._foreach_div_(diff, root)
    torch._foreach_mul_(diff, rate)
    return diff


RULES: dict[str, Rule] = {
    "SGD": Rule(1, _sgd),
    "Nesterov": Rule(1, _nesterov),
    "AdaGrad": Rule(1, _adagrad),
    "RMSProp": Rule(1, _rmsprop),
    "AdaDelta": Rule(2, _adadelta),
    "Adam": Rule(2, _adam),
}
"""By the SolverParameter's `type`."""
