"""What a layer does to the pixels of its bottoms: what of it can be computed in part, and what that takes."""

from __future__ import annotations

import math
from dataclasses import dataclass

from caffe2torch.layers.caffe.convolution import Convolution, Deconvolution
from caffe2torch.layers.caffe.crop import Crop
from caffe2torch.layers.caffe.pooling import Pooling
from caffe2torch.layers.converter import Converter
from caffe2torch.layers.geometry import Window
from caffe2torch.plan import Step

_NEURONS = "AbsVal BNLL Clip Dropout ELU Exp Log Power PReLU ReLU Sigmoid Swish TanH"
POINTWISE = frozenset(["Eltwise", *_NEURONS.split()])
"""Layers of which every pixel depends on the same pixel of their bottoms."""


@dataclass(frozen=True)
class Traits:
    """Of a layer of which a part can be computed alone: a window, an offset, or that it is pointwise."""

    window: Window | None = None
    offset: tuple[int, int] | None = None
    """Where it crops its first bottom."""
    pointwise: bool = False
    pads: bool = False
    """Whether zeros around its bottom count, as for a convolution."""
    multiplications: int = 0
    """For each pixel of the top."""

    @property
    def splits(self) -> bool:
        """Whether a part of the top can be computed alone."""
        return self.window is not None or self.offset is not None or self.pointwise


def traits_of(step: Step) -> Traits:
    """The traits of a layer."""
    converter, layer = step.converter, step.layer
    if len(layer.tops) != 1:
        return Traits()
    if isinstance(converter, Crop):
        return (
            Traits(offset=(converter.offsets[0], converter.offsets[1])) if converter.axis == 2 else Traits()
        )
    if _is_pointwise(converter):
        return Traits(pointwise=True)
    if len(layer.bottoms) != 1:
        return Traits()
    if isinstance(converter, Convolution | Deconvolution):
        return _sliding(converter)
    if isinstance(converter, Pooling) and converter.p.pool == "MAX" and not converter.p.global_pooling:
        plain = not any(converter.pad) and all(map(int.__le__, converter.stride, converter.kernel))
        return Traits(Window(converter.kernel, converter.stride, converter.pad)) if plain else Traits()
    return Traits()


def _sliding(converter: Convolution | Deconvolution) -> Traits:
    if converter.axes != 2 or converter.channel_axis != 1:
        return Traits()
    window = Window(converter.extent, converter.stride, converter.pad, converter.transposed)
    if converter.transposed:
        return Traits(window)
    channels = (converter.bottoms[0] or (1, 1))[1] or 1
    products = channels // converter.p.group * math.prod(converter.kernel) * converter.p.num_output
    return Traits(window, pads=True, multiplications=products)


def _is_pointwise(converter: Converter) -> bool:
    layer = converter.layer
    if layer.type == "LRN":
        p = layer.fields.lrn_param
        return bool(p.norm_region == "ACROSS_CHANNELS" and p.fuse_type != "FUSED_POOL_MAX")
    if layer.type == "Scale":
        p = layer.fields.scale_param
        return bool(len(layer.bottoms) == 1 and p.axis == 1 and p.num_axes == 1)
    if layer.type == "Concat":
        return bool(layer.fields.concat_param.axis == 1 and not layer.fields.concat_param.has("concat_dim"))
    return layer.type in POINTWISE
