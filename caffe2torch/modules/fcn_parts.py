"""The layers that the FCNs are made of beside PyTorch's own, and how the published recipes start them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from caffe2torch.weights.surgery import bilinear_kernel
from caffe2torch.zoo.fcn import Head, Stream


class Layers:
    """The layers of one trunk or head by plain names: `head.score_fr` is its net's layer `score_fr_sem`."""

    def __init__(self, net: nn.Module, part: Stream | Head) -> None:
        vars(self).update(net=net, part=part)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.net, self.part.layer(name))

    def __setattr__(self, name: str, layer: nn.Module) -> None:
        setattr(self.net, self.part.layer(name), layer)


class Crop(nn.Module):
    """(N, C, H, W) from `offset` on, at the height and width of `reference`; a view."""

    def __init__(self, offset: int) -> None:
        super().__init__()
        self.offset = offset

    def forward(self, x: Tensor, reference: Tensor) -> Tensor:
        """`x` cropped. Raises RuntimeError where it ends before the reference does."""
        height, width = reference.shape[2:]
        return x.narrow(2, self.offset, height).narrow(3, self.offset, width)

    def extra_repr(self) -> str:
        """The offset, the same on both axes."""
        return f"offset={self.offset}"


class Sum(nn.Module):
    """The sum of two tensors of one shape."""

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """The fused scores (CVPR, Section 4.2)."""
        return x + y


class Mean(nn.Module):
    """The mean of tensors of one shape."""

    def forward(self, *xs: Tensor) -> Tensor:
        """The averaged scores (CVPR, Section 5, NYUDv2)."""
        return torch.stack(xs).mean(0)


class Concat(nn.Module):
    """Images of one size as one with the channels of all."""

    def forward(self, *xs: Tensor) -> Tensor:
        """The stacked channels (CVPR, Section 5, NYUDv2)."""
        return torch.cat(xs, 1)


class Scale(nn.Module):
    """Each channel times a constant, `weight` (C,), which is not trained."""

    def __init__(self, channels: int, value: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((channels,), value), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        """The scaled features."""
        return x * self.weight[:, None, None]


def max_pool(kernel: int) -> nn.MaxPool2d:
    """Max pooling at stride 2; Caffe rounds the size up (pooling_layer.cpp)."""
    return nn.MaxPool2d(kernel, stride=2, ceil_mode=True)


def score(in_channels: int, classes: int) -> nn.Conv2d:
    """A 1x1 convolution to class scores, which starts at zero (CVPR, Section 4.3)."""
    layer = nn.Conv2d(in_channels, classes, 1)
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer


def bilinear(classes: int, kernel: int, stride: int) -> nn.ConvTranspose2d:
    """Frozen bilinear upsampling by `stride`, each class to itself; weight (classes, 1, kernel, kernel)."""
    layer = nn.ConvTranspose2d(classes, classes, kernel, stride, groups=classes, bias=False)
    layer.weight.requires_grad_(False).copy_(torch.from_numpy(bilinear_kernel(kernel)))
    return layer


def learnable(frozen: nn.ConvTranspose2d) -> nn.ConvTranspose2d:
    """The same upsampling, to be learned between all classes; weight (classes, classes, kernel, kernel)."""
    channels, kernel, stride = frozen.out_channels, frozen.weight.shape[2], frozen.stride[0]
    layer = nn.ConvTranspose2d(channels, channels, kernel, stride, bias=False)
    each = torch.arange(channels)
    with torch.no_grad():
        layer.weight.zero_()[each, each] = frozen.weight[:, 0]
    return layer
