"""A model's file -> a torch module: an FCN of the papers, else a CaffeNet."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from typing import TYPE_CHECKING

from caffe2torch.formats.safetensors import read_with_knowledge
from caffe2torch.net.knowledge import Knowledge
from caffe2torch.opening import open_model
from caffe2torch.plan import Plan, plan
from caffe2torch.writing.model import valued
from caffe2torch.zoo.recognition import insist, recognize

if TYPE_CHECKING:
    from torch import nn


def load(
    weights: str | PathLike[str],
    prototxt: str | PathLike[str] | None = None,
    *,
    arch: str | None = None,
    stages: Sequence[str] = (),
    allow_missing: bool = False,
    align_crops: bool = False,
) -> nn.Module:
    """A Caffe net as a torch module with its weights, in eval mode: an FCN of the papers, else a CaffeNet.

    `weights` is any model that fcn-convert takes: a caffemodel of any age, a safetensors file or folder that
    it wrote, VGG-16 from elsewhere. The net's structure decides which FCN it is, never the file's name;
    `arch` insists on one by name. `stages` choose layers of an all-in-one net. With `allow_missing`, blobs
    that the file lacks are left at Caffe's filler. `align_crops` is `read`'s. Raises what `read` and `build`
    raise, WeightsError for a file without values, and NetError if the net is not the one insisted on.
    """
    definition = None if prototxt is None else str(prototxt)
    model = open_model(weights, definition, align_crops=align_crops)
    planned = plan(model.net, stages=stages, allow_missing=allow_missing)
    if not allow_missing:
        for parameter in planned.parameters():
            valued(parameter)
    return _module(planned, arch, model.knowledge)


def from_safetensors(path: str | PathLike[str]) -> nn.Module:
    """The model in a safetensors file that fcn-convert wrote, in eval mode; see `load`.

    Raises MissingData without the file, ReadError for one that is damaged or that something else wrote.
    """
    net, known = read_with_knowledge(path)
    return _module(plan(net), None, known)


def _module(planned: Plan, arch: str | None, known: Knowledge) -> nn.Module:
    from caffe2torch.modules.caffe_net import CaffeNet  # listing the formats needs no torch
    from caffe2torch.modules.fcn_general import poured

    architecture = recognize(planned) if arch is None else insist(planned, arch)
    net = CaffeNet(planned)
    vars(net).update(vars(known.of(planned.inputs, planned.outputs)))  # also beside a layer of that name
    return net if architecture is None else poured(net, architecture)
