"""Whether a ReLU may be computed by the convolution before it: not where that could give NaN.

oneDNN's fused ReLU makes NaN 0, which torch's and Caffe's keep. NaN comes from a weight or a pixel that is
not finite, or from a sum that overflows on its way. So each layer's largest value is bounded, from the
images' largest on: by the weights of a convolution, as |Wx + b| <= max |x| * gain + offset. Where a bound is
far below float32's largest number, no value and no partial sum is beyond it, in whatever order it is summed.
VGG16 with weights of Kaiming's scale comes to 1e29; a net beyond the limit takes somewhat longer, as its
ReLUs are computed by themselves.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import TYPE_CHECKING

from caffe2torch._torch import torch
from caffe2torch.eliding.recent import Recent
from caffe2torch.plan import Plan, Step

if TYPE_CHECKING:
    from torch import Tensor

LIMIT = 1e36
"""A bound that is below it holds in spite of rounding, to bfloat16 as well; float32 ends at 3e38."""
_LRN_LIMIT = 1e15
"""The square of a value far below it, and a sum of such, is finite."""
_KEPT = 64
"""For so many magnitudes of images it is kept whether the bounds hold."""
_NO_LARGER = frozenset(("Concat", "Crop", "Dropout", "Split"))
"""Layers without a value larger than the largest that they are given."""


@dataclass(frozen=True)
class Growth:
    """How much larger the values become in a convolution; NaN or infinite if one of its weights is."""

    gain: float
    offset: float

    @staticmethod
    def of(weight: Tensor, bias: Tensor | None) -> Growth:
        """That of a weight (channels, ...) and its bias."""
        gain = weight.flatten(1).abs().sum(1).max()
        return Growth(gain.item(), 0.0 if bias is None else bias.abs().max().item())

    @staticmethod
    def most(growths: Sequence[Growth]) -> Growth:
        """That of all together, each of which makes some channels."""
        gain, offset = torch.tensor([(each.gain, each.offset) for each in growths]).amax(0).tolist()
        return Growth(gain, offset)  # NaN if there is one, which Python's max may drop


class Bounds:
    """Those of a plan's layers; `grows` is by the keys of layers."""

    def __init__(self, plan: Plan, grows: Mapping[str, Growth]) -> None:
        self.plan, self.grows = plan, grows
        self._kept: Recent[Hashable, bool] = Recent(_KEPT)

    def hold(self, images: Mapping[str, Tensor], keys: Set[str]) -> bool:
        """Whether none of the convolutions with these keys can overflow or give NaN."""
        fused = frozenset(keys & self.grows.keys())
        if not fused:
            return True
        largest = {blob: _largest(image) for blob, image in images.items()}
        if not all(map(math.isfinite, largest.values())):
            return False
        return self._kept.of((fused, *largest.items()), lambda: self._hold(largest, fused))

    def _hold(self, largest: Mapping[str, float], fused: Set[str]) -> bool:
        bounds = dict(largest)
        for step in self.plan.steps:
            layer = step.layer
            if layer.type == "Input":
                continue
            bound = sum(bounds[bottom] for bottom in set(layer.bottoms))
            if (growth := self.grows.get(step.key)) is not None:
                # With 1 more, each weight is below the limit too: bfloat16 may make a larger one infinite.
                bound = (1 + bound) * (1 + growth.gain) + growth.offset
            elif not _is_no_larger(step, bound):
                bound = math.inf
            if step.key in fused and not bound < LIMIT:
                return False
            bounds |= dict.fromkeys(layer.tops, bound)
        return True


def _largest(image: Tensor) -> float:
    """A power of two above each magnitude; infinite where one is beyond the limit, or NaN."""
    if not image.numel():
        return 0.0
    low, high = (end.item() for end in image.aminmax())
    largest = abs(low) + abs(high)
    return math.ldexp(1, math.frexp(largest)[1]) if largest < LIMIT else math.inf


def _is_no_larger(step: Step, bound: float) -> bool:
    """Whether a layer of values up to `bound` has none larger, nor sums that overflow on their way."""
    layer = step.layer
    if layer.type == "LRN":
        p = layer.fields.lrn_param
        is_small = bound < _LRN_LIMIT and bool(p.norm_region == "ACROSS_CHANNELS")
        return is_small and bool(p.k >= 1 and 0 <= p.alpha <= 1 and p.beta >= 0)
    if layer.type == "Pooling":
        return bool(layer.fields.pooling_param.pool == "MAX") and len(layer.tops) == 1
    if layer.type == "ReLU":
        return bool(abs(layer.fields.relu_param.negative_slope) <= 1)
    return layer.type in _NO_LARGER
