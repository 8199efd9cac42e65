"""Whether a ReLU may be computed by the convolution before it: not where that could give NaN.

oneDNN's fused ReLU makes NaN 0, which torch's and Caffe's keep. NaN comes from a weight or a pixel that is
not finite, or from a sum that overflows on its way. So each layer's largest value is bounded, by the weights
of convolutions, as |Wx + b| <= max |x| * gain + offset. Where a bound is far below float32's largest number,
no value and no partial sum is beyond it, in whatever order it is summed.

What no layer bounds, an image at first, is taken to be at most ASSUMED, which is checked in each pass. In a
net of VGG16's depth that is the image alone, in deeper ones a few blobs more.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from typing import TYPE_CHECKING

from caffe2torch._torch import torch
from caffe2torch.plan import Plan, Step

if TYPE_CHECKING:
    from torch import Tensor

LIMIT = 1e36
"""A bound that is below it holds in spite of rounding, to bfloat16 as well; float32 ends at 3e38."""
ASSUMED = 1e7
"""What values are taken not to exceed: images go to 255, and what nets make of them to some thousands."""
_LRN_LIMIT = 1e15
"""The square of a value far below it, and a sum of such, is finite."""
_NO_LARGER = frozenset(("Concat", "Crop", "Dropout", "Split"))
"""Layers without a value larger than the largest that they are given."""


class TooLarge(Exception):
    """A value is beyond ASSUMED, or NaN."""


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

    def of_values_to(self, bound: float) -> float:
        """How large its values become for values up to a bound."""
        # With 1 more, each weight is below the limit too: bfloat16 may make a larger one infinite.
        return (1 + bound) * (1 + self.gain) + self.offset

    @staticmethod
    def most(growths: Sequence[Growth]) -> Growth:
        """That of all together, each of which makes some channels."""
        gain, offset = torch.tensor([(each.gain, each.offset) for each in growths]).amax(0).tolist()
        return Growth(gain, offset)  # NaN if there is one, which Python's max may drop


def checked(plan: Plan, grows: Mapping[str, Growth], fused: Set[str]) -> frozenset[str] | None:
    """The convolutions whose bottoms are to be checked, so that none of `fused` can overflow or give NaN.

    All by the keys of their steps, as `grows` is. None where one could all the same.
    """
    found, bounds = set[str](), dict.fromkeys(plan.inputs, math.inf)
    for step in plan.steps:
        layer = step.layer
        bound = sum(bounds[bottom] for bottom in layer.bottoms) if layer.bottoms else math.inf
        if (growth := grows.get(step.key)) is not None:
            if step.key in fused and not growth.of_values_to(bound) < LIMIT:
                found.add(step.key)
                bound = bounds[layer.bottoms[0]] = ASSUMED
            bound = growth.of_values_to(bound)
            if step.key in fused and not bound < LIMIT:
                return None
        elif not _is_no_larger(step, bound):
            bound = math.inf
        bounds |= dict.fromkeys(layer.tops, bound)
    return frozenset(found)


def check(x: Tensor) -> None:
    """Raises TooLarge for a value that is not what `checked` takes it to be."""
    if x.numel() and not max(abs(end.item()) for end in x.aminmax()) <= ASSUMED:
        raise TooLarge


def _is_no_larger(step: Step, bound: float) -> bool:
    """Whether a layer of values up to `bound` has none larger, nor sums that overflow on their way."""
    layer = step.layer
    if layer.type == "LRN":
        p = layer.fields.lrn_param
        is_small = bound < _LRN_LIMIT and bool(p.norm_region == "ACROSS_CHANNELS")
        return is_small and bool(p.k >= 1 and 0 <= p.alpha <= 1 and p.beta >= 0)
    if layer.type == "Pooling":
        return bool(layer.fields.pooling_param.pool == "MAX") and len(layer.tops) == 1
    if layer.type == "Eltwise":
        p = layer.fields.eltwise_param
        return bool(p.operation == "SUM") and all(abs(factor) <= 1 for factor in p.coeff)
    if layer.type == "ReLU":
        return bool(abs(layer.fields.relu_param.negative_slope) <= 1)
    return layer.type in _NO_LARGER
