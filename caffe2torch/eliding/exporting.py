"""An elided net as torch modules, for export: one for each layer, which holds the layer's parameters."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, cast

from caffe2torch._torch import torch
from caffe2torch.eliding.background import Background
from caffe2torch.eliding.kernels import Converted
from caffe2torch.eliding.net import ElidedNet, Kernel
from caffe2torch.eliding.schedule import Eliding, Part

if TYPE_CHECKING:
    from torch import Tensor, nn

    from caffe2torch.modules.caffe_net import CaffeNet
    from caffe2torch.plan import Step

Elided = Callable[[Mapping[str, "Tensor"]], dict[str, "Tensor"]]
"""From inputs by blob name to outputs by blob name."""


def elided(model: CaffeNet, size: tuple[int, int]) -> tuple[dict[str, nn.Module], Elided]:
    """The layers of a net by key, and the net, at a size (height, width) of all its inputs, that calls them.

    Raises NetError for a size that the net does not take.
    """
    eliding = Eliding(model.plan)
    found = eliding.at(dict.fromkeys(model.inputs, size))
    modules = {step.key: _layer(step, model) for step in model.plan.steps if step.layer.type != "Input"}
    kernels = cast(Mapping[str, Kernel], modules)
    with torch.no_grad():
        net = ElidedNet(found, kernels, Background(eliding, kernels, torch.empty(0)).frames(found))

    def run(images: Mapping[str, Tensor]) -> dict[str, Tensor]:
        values = net(images)
        return {name: values[number] for name, number in found.outputs.items()}

    return modules, run


def _layer(step: Step, model: CaffeNet) -> nn.Module:
    """A module with a layer's parameters, whose forward is its kernel."""
    layer = torch.nn.Module()
    state: dict[str, Tensor] = dict(model.named_parameters(remove_duplicate=False))
    state |= model.named_buffers(remove_duplicate=False)
    for parameter in step.parameters:
        value = state[parameter.key]
        if isinstance(value, torch.nn.Parameter):
            layer.register_parameter(parameter.name, value)
        else:
            layer.register_buffer(parameter.name, value)
    reshaped = {p.name: [size or -1 for size in p.shape] for p in step.parameters if p.reshaped}

    def forward(part: Part, *bottoms: Tensor) -> tuple[Tensor, ...]:
        blobs = cast("dict[str, Tensor]", {**layer._parameters, **layer._buffers})
        blobs |= {name: blobs[name].view(shape) for name, shape in reshaped.items()}
        return Converted(step, blobs)(part, *bottoms)

    layer.forward = forward
    return layer.eval()
