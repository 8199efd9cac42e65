"""The net's answer to an image of zeros, where frames need it.

It is the same row or column over and over, but for those that the edges of the padded image can reach. So it
is computed on a small image of zeros, and its middle row and column are repeated.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from caffe2torch._torch import torch
from caffe2torch.eliding.net import ElidedNet, Frame, Kernel
from caffe2torch.eliding.schedule import Schedule, schedule, undisturbed
from caffe2torch.eliding.spans import Span
from caffe2torch.plan import Plan

if TYPE_CHECKING:
    from torch import Tensor


class Background:
    """What the framed values hold where no image reaches, for every size with this `miniature`."""

    def __init__(
        self, small: Schedule, kernels: Mapping[str, Kernel], framed: Collection[int], like: Tensor
    ) -> None:
        self.small, self.clean = small, undisturbed(small)
        net = ElidedNet(small, kernels, keep=sorted(framed))
        self.values = net(_zeros(small, like)) if framed else {}

    def frames(self, found: Schedule) -> dict[int, Frame]:
        """The frames of a schedule."""
        return {number: self._frame(found, number) for number in found.framed}

    def _frame(self, found: Schedule, number: int) -> Frame:
        rows, columns = found.holds[number]
        part = found.parts[found.values[number].maker]
        assert part.computes is not None  # noqa: S101
        inner_rows, inner_columns = part.computes
        value, whole = self.values[number], found.values[number].spans
        small, clean = self.small.values[number].spans, self.clean[number]
        assert whole is not None  # noqa: S101
        assert small is not None  # noqa: S101
        down = _mapped(rows, whole[0], small[0], clean[0]).to(value.device)
        along = _mapped(columns, whole[1], small[1], clean[1]).to(value.device)
        top, bottom = inner_rows.start - rows.start, rows.end - inner_rows.end
        left, right = inner_columns.start - columns.start, columns.end - inner_columns.end
        middle = value.index_select(2, down[top : len(down) - bottom])
        return Frame(
            value.index_select(2, down[:top]).index_select(3, along),
            value.index_select(2, down[len(down) - bottom :]).index_select(3, along),
            middle.index_select(3, along[:left]),
            middle.index_select(3, along[len(along) - right :]),
        )


def miniature(plan: Plan, found: Schedule) -> Schedule:
    """The whole net on the smallest image with a middle that no edge of the padded image reaches."""
    sizes = set(found.sizes.values())
    makers = [found.parts[found.values[number].maker] for number in found.framed]
    last = max((found.values[number].maker for number in found.framed), default=-1)
    plan = replace(plan, steps=plan.steps[: last + 1], outputs=())  # later layers may take one size alone
    strides = [stride for part in makers for view in part.step.views.values() for stride in view.stride]
    period = math.lcm(*(math.ceil(stride) for stride in strides))
    if len(sizes) == 1 and found.framed and all(stride.denominator == 1 for stride in strides):
        (size,) = sizes
        for more in range(period, max(size), period):
            height, width = (min(full, full % period + more) for full in size)
            small = schedule(plan, dict.fromkeys(found.sizes, (height, width)), elide=False)
            clean = undisturbed(small)
            if all(span.length for number in found.framed for span in clean[number]):
                return small
    return schedule(plan, found.sizes, elide=False)


def _zeros(small: Schedule, like: Tensor) -> dict[str, Tensor]:
    shapes = {blob: small.values[number].shape for blob, number in small.inputs.items()}
    return {blob: like.new_zeros([size or 1 for size in shape]) for blob, shape in shapes.items()}


def _mapped(span: Span, whole: Span, small: Span, clean: Span) -> Tensor:
    """The row of the small blob for each row `span` of a whole one: the middle one is repeated."""
    middle, more = (clean.start + clean.end) // 2, whole.length - small.length
    places = torch.arange(span.start, span.end)
    return places.where(places < middle, (places - more).clamp(min=middle)) if more else places
