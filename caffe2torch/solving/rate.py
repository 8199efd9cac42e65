"""Caffe's learning-rate policies (sgd_solver.cpp, GetLearningRate).

The rate of an iteration depends on the solver's fields, on the iteration, and on how many steps a "multistep"
has made, which is why a .solverstate holds `current_step`. Numbers are rounded to float32 where Caffe does.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from caffe2torch.errors import NetError
from caffe2torch.net.fields import Fields


def single(value: float) -> float:
    """The float32 nearest to a number."""
    return float(np.float32(value))


def _power(base: float, exponent: float) -> float:
    """Like C's pow: infinite or NaN where Python's raises."""
    return float(np.power(base, exponent))


def _fixed(p: Fields, iteration: int, step: int) -> float:
    return 1


def _stepped(p: Fields, iteration: int, step: int) -> float:
    return _power(p.gamma, step)


def _exp(p: Fields, iteration: int, step: int) -> float:
    return _power(p.gamma, iteration)


def _inv(p: Fields, iteration: int, step: int) -> float:
    return _power(single(1 + single(p.gamma * iteration)), -p.power)


def _poly(p: Fields, iteration: int, step: int) -> float:
    return _power(single(1 - single(iteration / p.max_iter)), p.power)


def _sigmoid(p: Fields, iteration: int, step: int) -> float:
    return 1 / (1 + float(np.exp(single(-p.gamma * (iteration - p.stepsize)))))


POLICIES: dict[str, Callable[[Fields, int, int], float]] = {
    "fixed": _fixed,
    "step": _stepped,
    "exp": _exp,
    "inv": _inv,
    "multistep": _stepped,
    "poly": _poly,
    "sigmoid": _sigmoid,
}
"""By `lr_policy`: what multiplies base_lr, given a SolverParameter, an iteration and the steps made."""


def steps_made(p: Fields, iteration: int, before: int) -> int:
    """How many steps a policy has made at an iteration, given how many at the one before."""
    if p.lr_policy == "step":
        return int(iteration // p.stepsize)
    if p.lr_policy == "multistep" and before < len(p.stepvalue) and iteration >= p.stepvalue[before]:
        return before + 1  # one at a time, even where several stepvalues have passed
    return before


def learning_rate(p: Fields, iteration: int, step: int) -> float:
    """The rate at an iteration, a float32; `step` is what `steps_made` gives for it.

    Raises NetError if the policy gives no finite number, as "poly" does after `max_iter`.
    """
    rate = rate_by_policy(p, iteration, step)
    if not np.isfinite(rate):
        end = f", max_iter is {p.max_iter}" if p.lr_policy == "poly" else ""
        raise NetError(f"lr_policy {p.lr_policy!r} gives the rate {rate} at iteration {iteration}{end}")
    return rate


def rate_by_policy(p: Fields, iteration: int, step: int) -> float:
    """The same unchecked: past its end, "poly" is below 0, or NaN."""
    with np.errstate(all="ignore"):
        return single(p.base_lr * POLICIES[p.lr_policy](p, iteration, step))
