"""The values of a model's blobs, copied piece by piece to where kernels keep them.

Those of a file stay in the file, which is memory-mapped; what was read of it leaves memory at once. So
packing takes the memory of the packed values and of one piece.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from caffe2torch._torch import torch
from caffe2torch.blob import Array
from caffe2torch.plan import Plan, Step
from caffe2torch.plan.parameters import Parameter
from caffe2torch.untrusted.mapped import release
from caffe2torch.writing.model import valued

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Values:
    """One blob: its values where they are, and the device where they go."""

    stored: Array
    device: torch.device

    @property
    def shape(self) -> tuple[int, ...]:
        """Its shape, as its layer needs it."""
        return self.stored.shape

    def copy(self, start: int = 0, end: int | None = None) -> Tensor:
        """A float32 copy, or only of a part of the first axis."""
        part = self.stored[start:end] if self.shape else self.stored  # a Scale may have a single factor
        copied = torch.from_numpy(np.array(part, np.float32)).to(self.device)
        release(self.stored)
        return copied


Blobs = Mapping[str, Values]
"""A layer's blobs by their names in its converter."""


def emptied(plan: Plan) -> Plan:
    """A plan that keeps neither a model's values nor its file in memory."""
    steps = tuple(map(_emptied, plan.steps))
    return replace(plan, net=replace(plan.net, layers=tuple(step.layer for step in steps)), steps=steps)


def _emptied(step: Step) -> Step:
    layer = replace(step.layer, blobs=tuple(replace(blob, values=None) for blob in step.layer.blobs))
    converter = copy.copy(step.converter)
    converter.layer = layer
    parameters = tuple(replace(parameter, blob=None) for parameter in step.parameters)
    return replace(step, layer=layer, converter=converter, parameters=parameters)


def values_of(step: Step, plan: Plan, device: torch.device) -> Blobs:
    """A step's blobs. Raises WeightsError for one without values."""
    owners = {parameter.key: parameter for parameter in plan.parameters()}
    found = {}
    for parameter in step.parameters:
        owner = owners[parameter.owner]
        valued(owner)
        found[parameter.name] = Values(_shaped(owner.read(), parameter), device)
    return found


def values_in(step: Step, state: Mapping[str, Tensor]) -> Blobs:
    """A step's blobs from a state dict, on the device that they are on."""
    found = {}
    for parameter in step.parameters:
        value = state[parameter.key].detach()
        found[parameter.name] = Values(_shaped(value.float().cpu().numpy(), parameter), value.device)
    return found


def _shaped(stored: Array, parameter: Parameter) -> Array:
    """A blob as its layer needs it."""
    return stored.reshape([size or -1 for size in parameter.shape]) if parameter.reshaped else stored
