"""An FCN evaluated and differentiated in float64 from its prototxt text, with nothing of this package.

An oracle: the text and the weights are read with protobuf classes made of the golden table, each layer is
torch.nn.functional written out, and the loss is Caffe's, which is clamped while its gradient is not.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from google.protobuf import text_format
from torch import Tensor

from tests import plain_protobuf

FLT_MIN = 1.17549435e-38


def one(values: Any, default: int) -> int:
    """A repeated field that these nets give once or not at all."""
    assert len(values) <= 1
    return values[0] if values else default


def convolution(layer: Any, blobs: list[Tensor], x: Tensor) -> Tensor:
    p = layer.convolution_param
    return F.conv2d(x, *blobs, stride=one(p.stride, 1), padding=one(p.pad, 0), groups=p.group)


def deconvolution(layer: Any, blobs: list[Tensor], x: Tensor) -> Tensor:
    p = layer.convolution_param
    assert p.group == 1
    assert not p.pad
    return F.conv_transpose2d(x, *blobs, stride=one(p.stride, 1))


def pooling(layer: Any, blobs: list[Tensor], x: Tensor) -> Tensor:
    """Caffe rounds the size up; what a last window lacks is padded with -inf."""
    p = layer.pooling_param
    assert (p.pool, p.pad) == (p.DESCRIPTOR.enum_types_by_name["PoolMethod"].values_by_name["MAX"].number, 0)
    missing = []
    for size in (x.shape[3], x.shape[2]):
        tops = math.ceil((size - p.kernel_size) / p.stride) + 1
        missing += [0, max(0, (tops - 1) * p.stride + p.kernel_size - size)]
    return F.max_pool2d(F.pad(x, missing, value=-math.inf), p.kernel_size, p.stride)


def lrn(layer: Any, blobs: list[Tensor], x: Tensor) -> Tensor:
    p, channels = layer.lrn_param, x.shape[1]
    half = p.local_size // 2
    sums = [x[:, max(0, c - half) : c + half + 1].square().sum(1) for c in range(channels)]
    return x * (p.k + p.alpha / p.local_size * torch.stack(sums, 1)) ** -p.beta


def crop(layer: Any, blobs: list[Tensor], x: Tensor, reference: Tensor) -> Tensor:
    offset = one(layer.crop_param.offset, 0)
    assert layer.crop_param.axis == 2
    height, width = reference.shape[2:]
    return x[:, :, offset : offset + height, offset : offset + width]


def eltwise(layer: Any, blobs: list[Tensor], *xs: Tensor) -> Tensor:
    p = layer.eltwise_param
    assert p.operation == p.DESCRIPTOR.enum_types_by_name["EltwiseOp"].values_by_name["SUM"].number
    return sum(c * x for c, x in zip(p.coeff or [1] * len(xs), xs, strict=True))


def softmax_loss(layer: Any, blobs: list[Tensor], score: Tensor, label: Tensor) -> Tensor:
    p = layer.loss_param
    label = label[:, 0].long()
    kept = label != p.ignore_label
    nll = -score.log_softmax(1).gather(1, label.where(kept, 0)[:, None])[:, 0][kept]
    value = nll.detach().clamp(max=-math.log(FLT_MIN)) + (nll - nll.detach())
    return value.sum() / (max(1, int(kept.sum())) if p.normalize else score.shape[0])


LAYERS: dict[str, Callable[..., Tensor]] = {
    "Concat": lambda layer, blobs, *xs: torch.cat(xs, 1),
    "Convolution": convolution,
    "Crop": crop,
    "Deconvolution": deconvolution,
    "Dropout": lambda layer, blobs, x: x,
    "Eltwise": eltwise,
    "LRN": lrn,
    "Pooling": pooling,
    "ReLU": lambda layer, blobs, x: x.clamp(min=0),
    "Scale": lambda layer, blobs, x: x * blobs[0][:, None, None],
    "SoftmaxWithLoss": softmax_loss,
}


class Float64Net:
    """The TRAIN net of a prototxt without dropout; `specs` are the (lr_mult, decay_mult) of its `blobs`."""

    def __init__(self, prototxt: Path, caffemodel: Path) -> None:
        net = plain_protobuf.message("NetParameter")
        stored = net.FromString(caffemodel.read_bytes())
        self.layers = text_format.Parse(prototxt.read_text(), net()).layer
        assert not any(layer.include or layer.exclude for layer in self.layers)
        named = {layer.name for layer in self.layers}
        self.blobs: dict[str, list[Tensor]] = {
            layer.name: [leaf(blob) for blob in layer.blobs]
            for layer in stored.layer
            if layer.blobs and layer.name in named
        }
        self.specs = {
            layer.name: [(spec.lr_mult, spec.decay_mult) for spec in layer.param] for layer in self.layers
        }

    def losses(self, inputs: Mapping[str, np.ndarray]) -> dict[str, Tensor]:
        """The losses by name; backward of their sum gives the blobs their gradients."""
        tops = {name: torch.from_numpy(array).double() for name, array in inputs.items()}
        for layer in self.layers:
            if layer.type != "Python":
                bottoms = [tops[bottom] for bottom in layer.bottom]
                tops[layer.top[0]] = LAYERS[layer.type](layer, self.blobs.get(layer.name, []), *bottoms)
        return {x.top[0]: tops[x.top[0]] for x in self.layers if x.type == "SoftmaxWithLoss"}


def leaf(blob: Any) -> Tensor:
    assert blob.shape.dim
    array = np.array(blob.data, np.float64).reshape(tuple(blob.shape.dim))
    return torch.from_numpy(array).requires_grad_()
