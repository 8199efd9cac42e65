"""Kernels for CPUs: convolutions whose weights lie as oneDNN wants them, and with the ReLU that follows.

torch's own convolution reorders its weights at each call, which for fc6 takes as long as the product. The
operators that reorder them once are those that torch.compile uses.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from caffe2torch._torch import torch
from caffe2torch.eliding.kernels import Blobs, Converted, padded
from caffe2torch.eliding.net import Kernel
from caffe2torch.eliding.schedule import Part
from caffe2torch.layers.caffe.convolution import Convolution
from caffe2torch.plan import Step

if TYPE_CHECKING:
    from torch import Tensor

_TYPICAL = 16
"""The height and width of a top; which, makes no difference."""
_KEEP_DTYPE = frozenset(("Concat", "Crop", "Dropout", "Pooling", "ReLU", "Split"))
"""Layers that round nothing; in bf16 any other but a convolution computes in float32."""


class Packed:
    """A convolution with its weights packed once."""

    def __init__(self, converter: Convolution, blobs: Blobs, dtype: torch.dtype) -> None:
        weight, bias = blobs["weight"].to(dtype), blobs.get("bias")
        self.dtype, self.bias = dtype, None if bias is None else bias.to(dtype, copy=True)
        self.stride, self.dilation = list(converter.stride), list(converter.dilation)
        self.group = converter.p.group
        # Without an image to expect, it takes a layout that makes a 1x1 kernel ten times slower.
        image = [1, weight.shape[1] * self.group, *(_TYPICAL + extent for extent in converter.extent)]
        self.weight = torch._C._nn.mkldnn_reorder_conv2d_weight(  # type: ignore[call-arg]
            weight.contiguous().to_mkldnn(), [0, 0], self.stride, self.dilation, self.group, image
        )

    def __call__(self, part: Part, *bottoms: Tensor) -> tuple[Tensor, ...]:
        """The top, or the part of it."""
        x, pads = padded(bottoms[0], part.pads)
        x = x.to(self.dtype).contiguous(memory_format=torch.channels_last)
        attribute = "relu" if part.relu else "none"
        y = torch.ops.mkldnn._convolution_pointwise(
            x, self.weight, self.bias, pads, self.stride, self.dilation, self.group, attribute, [], ""
        )
        return (y,)


class Cast:
    """Another kernel, of bottoms in a dtype."""

    def __init__(self, kernel: Kernel, dtype: torch.dtype) -> None:
        self.kernel, self.dtype = kernel, dtype

    def __call__(self, part: Part, *bottoms: Tensor) -> tuple[Tensor, ...]:
        """The tops, or the part of them."""
        return self.kernel(part, *(bottom.to(self.dtype) for bottom in bottoms))


def kernel_for(step: Step, blobs: Blobs, dtype: torch.dtype) -> Kernel:
    """The kernel of a step, in float32 or bfloat16."""
    converter = step.converter
    if isinstance(converter, Convolution) and _packs(converter, blobs):
        return Packed(converter, blobs, dtype)
    if dtype is torch.float32 or step.layer.type in _KEEP_DTYPE:
        return Converted(step, {name: blob.clone() for name, blob in blobs.items()})
    own = dtype if isinstance(converter, Convolution) else torch.float32
    return Cast(Converted(step, {name: blob.to(own, copy=True) for name, blob in blobs.items()}), own)


def _packs(converter: Convolution, blobs: Blobs) -> bool:
    images = converter.axes == 2 and converter.channel_axis == 1 and len(converter.layer.bottoms) == 1
    plain = images and converter._fused_slope() is None
    on_cpu = blobs["weight"].device.type == "cpu" and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    return plain and on_cpu and hasattr(torch.ops.mkldnn, "_convolution_pointwise")
