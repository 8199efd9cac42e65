"""The kernels of layers: what their converters compute, or the part of it that a Part asks for."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from caffe2torch._torch import torch
from caffe2torch.eliding.schedule import Part
from caffe2torch.eliding.spans import Span
from caffe2torch.layers.caffe.convolution import Convolution, Deconvolution
from caffe2torch.layers.caffe.crop import Crop
from caffe2torch.layers.converter import Converter
from caffe2torch.plan import Step

if TYPE_CHECKING:
    from torch import Tensor


class Converted:
    """A layer as its converter computes it, from its blobs by their names there."""

    def __init__(self, step: Step, blobs: Mapping[str, Tensor]) -> None:
        self.converter, self.blobs = step.converter, blobs
        self.options: dict[str, Any] = {"training": False} if step.converter.depends_on_phase else {}
        if (module := step.converter.module()) is not None:
            self.options["module"] = module

    def __call__(self, part: Part, *bottoms: Tensor) -> tuple[Tensor, ...]:
        """The tops, or the part of them."""
        if part.computes is not None and isinstance(self.converter, Crop):
            return bottoms
        if part.computes is None or part.traits.window is None:
            return self._forward(self.converter, *bottoms)
        if isinstance(self.converter, Convolution):
            x, pads = padded(bottoms[0], part.pads)
            (y,) = self._forward(_with_pad(self.converter, pads), x)
            return (y.relu_() if part.relu else y,)
        if isinstance(self.converter, Deconvolution):
            (y,) = self._forward(_with_pad(self.converter, (0, 0)), *bottoms)
            return (y[spread(part, self.converter)],)
        return self._forward(self.converter, *bottoms)

    def _forward(self, converter: Converter, *bottoms: Tensor) -> tuple[Tensor, ...]:
        tops = converter.forward(*bottoms, **self.blobs, **self.options)
        return tops if isinstance(tops, tuple) else (tops,)


def padded(x: Tensor, pads: tuple[int, int, int, int]) -> tuple[Tensor, tuple[int, int]]:
    """`x` and the padding that a convolution takes, the same on both sides; the rest is put around `x`."""
    above, below, left, right = pads
    if above == below and left == right:
        return x, (above, left)
    return torch.nn.functional.pad(x, (left, right, above, below)), (0, 0)


def spread(part: Part, converter: Deconvolution) -> tuple[slice, ...]:
    """Where what a part computes lies in all that its bottom spreads over, without padding."""
    assert part.computes is not None  # noqa: S101
    assert part.reads[0] is not None  # noqa: S101
    return (
        slice(None),
        slice(None),
        *map(_within, part.reads[0], part.computes, converter.stride, converter.pad),
    )


def _within(read: Span, computed: Span, stride: int, pad: int) -> slice:
    start = computed.start - (read.start * stride - pad)
    return slice(start, start + computed.length)


def _with_pad(converter: Converter, pad: tuple[int, int]) -> Converter:
    moved = copy.copy(converter)
    moved.pad = pad  # type: ignore[attr-defined]
    return moved
