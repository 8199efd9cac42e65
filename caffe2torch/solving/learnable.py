"""A model's parameters as Caffe's solvers see them: Net::learnable_params (net.cpp, AppendParam).

They are all blobs of all layers, in the net's order, including frozen ones and the statistics of BatchNorm,
which sets their lr_mult to 0. A blob shared through `param { name }` counts once, where it comes first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from caffe2torch._torch import torch
from caffe2torch.blob import Blob, blob_of, diagonal_of, is_diagonal
from caffe2torch.errors import WeightsError
from caffe2torch.modules.caffe_net import CaffeNet
from caffe2torch.modules.fcn_base import FCN
from caffe2torch.net.fields import Fields
from caffe2torch.plan import Plan
from caffe2torch.plan.parameters import Parameter, fits
from caffe2torch.zoo import fcn

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True, eq=False)
class Learnable:
    """One of Net::learnable_params: a tensor of the model, and what the net says about its training."""

    key: str
    tensor: Tensor
    shape: tuple[int, ...]
    """Caffe's: (C, C, h, w) for a deconvolution that the model keeps as its channel diagonal (C, 1, h, w)."""
    lr_mult: float
    decay_mult: float

    @property
    def diagonal(self) -> bool:
        """Whether the model keeps only the channel diagonal."""
        return tuple(self.tensor.shape) != self.shape

    def blob(self, values: Tensor | None) -> Blob:
        """Values laid out as in the model, as a float32 Blob in Caffe's shape; None stands for zeros."""
        zeros = torch.zeros(()).expand(self.tensor.shape)  # which take no memory
        return blob_of(zeros if values is None else values, diagonal=self.diagonal)

    def values(self, blob: Blob, name: str) -> Tensor:
        """The values of a blob, called `name` in errors, as the model keeps them. Raises WeightsError."""
        if not fits(self.shape, blob.shape):
            raise WeightsError(f"{name} is {blob.shape}, '{self.key}' is {self.shape}")
        if not blob.has_data:
            raise WeightsError(f"{name}, for '{self.key}', has no values")
        array = blob.read().reshape(self.shape)
        if self.diagonal:
            if not is_diagonal(array):
                raise WeightsError(f"{name} is not 0 off the channel diagonal that '{self.key}' keeps")
            array = diagonal_of(array)
        return torch.empty_like(self.tensor).copy_(torch.from_numpy(np.array(array)))


def plan_of(model: nn.Module) -> Plan:
    """The plan of a CaffeNet, or of an FCN's deploy net; TypeError for other models."""
    own = _ours(model)
    return own.plan if isinstance(own, CaffeNet) else fcn.plan_of(own.architecture)


def _ours(model: nn.Module) -> CaffeNet | FCN:
    if isinstance(model, CaffeNet | FCN):
        return model
    raise TypeError(f"a Solver trains a CaffeNet or an FCN of this package, not {type(model)}")


def learnable_params(model: nn.Module) -> tuple[Learnable, ...]:
    """The parameters of a CaffeNet or an FCN in the order of Caffe's Net::learnable_params."""
    steps, tensors = plan_of(model).steps, _ours(model).blobs()
    specs = dict[str, list[Fields]]()
    for step in steps:
        for parameter, spec in zip(step.parameters, step.layer.fields.param, strict=False):
            specs.setdefault(parameter.owner, []).append(spec)
    return tuple(
        _learnable(parameter, tensor, specs.get(parameter.key, []))
        for step in steps
        for parameter, tensor in zip(step.parameters, tensors.get(step.key, ()), strict=True)
        if parameter.owner == parameter.key
    )


def _learnable(parameter: Parameter, tensor: Tensor, specs: Sequence[Fields]) -> Learnable:
    lr_mult, decay_mult = (_agreed(name, specs) for name in ("lr_mult", "decay_mult"))
    shape = tuple(size or 0 for size in parameter.shape)
    return Learnable(parameter.key, tensor, shape, lr_mult, decay_mult)


def _agreed(name: str, specs: Sequence[Fields]) -> float:
    """The multiplier on which all `param` that give one agree (plan/parameters.py), or Caffe's default 1."""
    return next((float(getattr(spec, name)) for spec in specs if spec.has(name)), 1.0)
