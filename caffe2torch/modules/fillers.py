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


def fill(
    shape: Sequence[int], filler: Fields, generator: Generator | None = None, *, bilinear: str = "master"
) -> Tensor:
    """A float32 tensor of `shape`, filled as a FillerParameter says. Raises NetError for unknown types.

    `bilinear` says which Caffe's filler of that type is meant, "master" (since October 2017) or "1.0": the
    older one fills kernels of 2, 3, 6, 7, 10, 11, ... off centre. The FCN papers' 4, 16, 32 and 64 are the
    same in both.
    """
    empty = torch.empty(tuple(shape))
    if filler.type == "constant":
        return empty.fill_(filler.value)
    if filler.type == "uniform":
        if filler.min > filler.max:
            raise NetError(f"filler type 'uniform' has min {filler.min:g} above max {filler.max:g}")
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
        return _bilinear(shape, bilinear)
    raise NetError(f"filler type {filler.type!r} is not one of Caffe's")


def _gaussian(empty: Tensor, filler: Fields, generator: Generator | None) -> Tensor:
    if filler.std < 0:
        raise NetError(f"filler type 'gaussian' has std {filler.std:g}; it must be 0 or more")
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


def _bilinear(shape: Sequence[int], version: str) -> Tensor:
    """Every pair of channels gets the kernel, as in Caffe (filler.hpp), and so is mixed.

    surgery.bilinear_weight upsamples each channel to itself, as the FCN papers mean it.
    """
    if version not in ("master", "1.0"):
        raise NetError(f"bilinear is {version!r}; it must be 'master' or '1.0'")
    if len(shape) != 4 or shape[2] != shape[3]:
        raise NetError(f"filler type 'bilinear' needs 4 axes and a square kernel, found {tuple(shape)}")
    size = shape[3]
    factor = math.ceil(size / 2)
    # The centre that Caffe had before October 2017 is half a pixel off for kernels of 2, 3, 6, 7, ...
    centre = (size - 1) / 2 if version == "master" else factor - (1 + factor % 2) / 2
    ramp = 1 - (torch.arange(size) - centre).abs() / factor
    return torch.outer(ramp, ramp).expand(tuple(shape)).clone()
