"""Kernels for CPUs: convolutions whose weights lie as oneDNN wants them, and with the ReLU that follows.

torch's own convolution reorders its weights at each call, which for fc6 takes as long as the product. The
operators that reorder them once are those that torch.compile uses.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from caffe2torch._torch import torch
from caffe2torch.eliding.kernels import Converted, padded
from caffe2torch.eliding.net import Kernel
from caffe2torch.eliding.recent import Recent
from caffe2torch.eliding.schedule import Part
from caffe2torch.inference.bounds import Growth
from caffe2torch.inference.values import Blobs, Values
from caffe2torch.layers.caffe.convolution import Convolution
from caffe2torch.plan import Step

if TYPE_CHECKING:
    from torch import Tensor

PIECE = 1 << 26
"""Bytes of a weight in float32 that are packed at once: reordering takes room for two more of them."""
_CHANNELS = 256
"""A piece has a multiple of so many channels."""
_TYPICAL = 16
"""The height and width of the top that weights are packed for: above _FEW, the layout is the same for all."""
_MULTIPLE, _FEW, _LIGHT, _KEPT = 48, 12, 1 << 20, 4
"""For a top of at most _FEW rows or columns, oneDNN wants some weights in a layout that depends on the size,
and would lay them out anew at each call: those in groups, and of a multiple of _MULTIPLE channels. With at
most _LIGHT values they are packed for each such size; so many sizes are kept."""
_KEEP_DTYPE = frozenset(("Concat", "Crop", "Dropout", "Pooling", "ReLU", "Split"))
"""Layers that round nothing; in bf16 any other but a convolution computes in float32."""


_Piece = tuple["Tensor", "Tensor | None"]
"""A packed weight and its bias."""


class Packed:
    """A convolution with its weights packed once: fc6's in pieces, each for some channels of the top."""

    def __init__(self, converter: Convolution, blobs: Blobs, dtype: torch.dtype) -> None:
        self.dtype, self.group = dtype, converter.p.group
        self.stride, self.dilation = list(converter.stride), list(converter.dilation)
        self.extent, typical = list(converter.extent), [_TYPICAL + extent for extent in converter.extent]
        weight, bias = blobs["weight"], blobs["bias"].copy() if "bias" in blobs else None
        self.pieces: list[_Piece] = []
        growths: list[Growth] = []
        for start, end in _pieces(weight, self.group):
            values, own = weight.copy(start, end), None if bias is None else bias[start:end]
            growths.append(Growth.of(values, own))
            packed = self._packed(values.to(dtype).to_mkldnn(), typical)
            self.pieces.append((packed, None if own is None else own.to(dtype)))
        self.growth = Growth.most(growths)
        sized = weight.shape[0] % _MULTIPLE == 0 or 1 < self.group < weight.shape[0]
        self.sized = sized and math.prod(weight.shape) <= _LIGHT
        self.small: Recent[tuple[int, ...], list[_Piece]] = Recent(_KEPT)

    def _packed(self, weight: Tensor, sides: Iterable[int]) -> Tensor:
        """A weight for a bottom of that height and width."""
        # Without an image to expect, it takes a layout that makes a 1x1 kernel ten times slower.
        image = [1, weight.shape[1] * self.group, *sides]
        return torch._C._nn.mkldnn_reorder_conv2d_weight(  # type: ignore[call-arg]
            weight, [0, 0], self.stride, self.dilation, self.group, image
        )

    def _fitting(self, sides: Sequence[int], pads: Sequence[int]) -> list[_Piece]:
        """The pieces, as a bottom with these sides wants them."""
        if not self.sized:
            return self.pieces
        around = tuple(side + 2 * pad for side, pad in zip(sides, pads, strict=True))
        places = zip(around, self.extent, self.stride, strict=True)
        if min((side - extent) // stride for side, extent, stride in places) >= _FEW:
            return self.pieces
        return self.small.of(
            around, lambda: [(self._packed(weight, around), bias) for weight, bias in self.pieces]
        )

    def __call__(self, part: Part, *bottoms: Tensor) -> tuple[Tensor, ...]:
        """The top, or the part of it."""
        x, pads = padded(bottoms[0], part.pads)
        x = x.to(self.dtype).contiguous(memory_format=torch.channels_last)
        attribute = "relu" if part.relu else "none"
        tops = [
            torch.ops.mkldnn._convolution_pointwise(
                x, weight, bias, pads, self.stride, self.dilation, self.group, attribute, [], ""
            )
            for weight, bias in self._fitting(x.shape[2:], pads)
        ]
        return (torch.cat(tops, 1) if len(tops) > 1 else tops[0],)


def _pieces(weight: Values, group: int) -> list[tuple[int, int]]:
    """The channels of the top, from the first to before the last, of each piece."""
    channels, each = weight.shape[0], 4 * math.prod(weight.shape[1:])
    most = max(PIECE // each // _CHANNELS, 1) * _CHANNELS if group == 1 else channels
    return [(start, min(start + most, channels)) for start in range(0, channels, most)]


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
        return Converted(step, {name: blob.copy() for name, blob in blobs.items()})
    own = dtype if isinstance(converter, Convolution) else torch.float32
    return Cast(Converted(step, {name: blob.copy().to(own) for name, blob in blobs.items()}), own)


def _packs(converter: Convolution, blobs: Blobs) -> bool:
    plain = converter.axes == 2 and converter.is_linear and len(converter.layer.bottoms) == 1
    on_cpu = blobs["weight"].device.type == "cpu" and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    reorders = hasattr(torch._C._nn, "mkldnn_reorder_conv2d_weight")
    return plain and on_cpu and reorders and hasattr(torch.ops.mkldnn, "_convolution_pointwise")
