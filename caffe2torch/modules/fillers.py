"""Caffe's fillers (filler.hpp), for parameters that have no blob."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from caffe2torch._torch import torch
from caffe2torch.errors import NetError
from caffe2torch.net.fields import Fields

if TYPE_CHECKING:
    from torch import Generator, Tensor


def fill(shape: Sequence[int], filler: Fields, generator: Generator | None = None) -> Tensor:
    """A float32 tensor of `shape`, filled as a FillerParameter says. Raises NetError for unknown types."""
    empty = torch.empty(tuple(shape))
    if filler.type == "constant":
        return empty.fill_(filler.value)
    if filler.type == "uniform":
        return empty.uniform_(filler.min, filler.max, generator=generator)
    if filler.type == "gaussian":
        return _gaussian(empty, filler, generator)
    if filler.type == "positive_unitball":
        rows = empty.uniform_(0, 1, generator=generator).view(shape[0], -1)
        return (rows / rows.sum(1, keepdim=True)).view(tuple(shape))
    if filler.type == "xavier":
        limit = math.sqrt(3 / _fan(shape, filler.variance_norm))
        return empty.uniform_(-limit, limit, generator=generator)
    if filler.type == "msra":
        return empty.normal_(0, math.sqrt(2 / _fan(shape, filler.variance_norm)), generator=generator)
    if filler.type == "bilinear":
        return _bilinear(shape)
    raise NetError(f"filler type {filler.type!r} is not one of Caffe's")


def _gaussian(empty: Tensor, filler: Fields, generator: Generator | None) -> Tensor:
    values = empty.normal_(filler.mean, filler.std, generator=generator)
    if filler.sparse < 0:
        return values
    # `sparse` is how many inputs of each output stay non-zero, on average.
    kept = filler.sparse / empty.shape[0]
    return values * torch.empty_like(values).bernoulli_(min(1.0, kept), generator=generator)


def _fan(shape: Sequence[int], variance_norm: str) -> float:
    count = math.prod(shape)
    fan_in, fan_out = count / shape[0], count / (shape[1] if len(shape) > 1 else 1)
    return {"FAN_IN": fan_in, "FAN_OUT": fan_out, "AVERAGE": (fan_in + fan_out) / 2}[variance_norm]


def _bilinear(shape: Sequence[int]) -> Tensor:
    """Every pair of channels gets the kernel, and an odd kernel is off centre, as in Caffe (filler.hpp).

    surgery.bilinear_kernel is the kernel that the FCN papers mean.
    """
    if len(shape) != 4 or shape[2] != shape[3]:
        raise NetError(f"filler type 'bilinear' needs 4 axes and a square kernel, found {tuple(shape)}")
    factor = math.ceil(shape[3] / 2)
    centre = (2 * factor - 1 - factor % 2) / (2 * factor)
    ramp = 1 - (torch.arange(shape[3]) / factor - centre).abs()
    return torch.outer(ramp, ramp).expand(tuple(shape)).clone()
