"""The net's answer to an image of zeros, where frames need it.

It is the same row or column over and over, but for those that the edges of the padded image can reach. So it
is computed on a small image of zeros, which leaves the same remainders as the large one when it is pooled,
and of that only the rows and columns are kept that differ, and one that does not.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from caffe2torch._torch import torch
from caffe2torch.eliding.net import ElidedNet, Frame, Kernel
from caffe2torch.eliding.recent import Recent
from caffe2torch.eliding.schedule import Eliding, Schedule
from caffe2torch.eliding.spans import Region, Span

if TYPE_CHECKING:
    from torch import Tensor

_PERIODS = 8
"""As large as the small image may get, in periods of the net's strides."""
_Key = tuple[tuple[int, ...], frozenset[int]]


@dataclass(frozen=True)
class _Answer:
    """A value for zeros: rows and columns before the middle, one in the middle, and those after it."""

    values: Tensor
    before: tuple[int, int]
    after: tuple[int, int]

    @property
    def nbytes(self) -> int:
        """What it takes in memory."""
        return self.values.nbytes

    def places(self, span: Span, length: int, axis: int) -> Tensor:
        """Where the pixels `span` of an axis of `length` are found."""
        before, from_end = self.before[axis], length - self.after[axis]
        at = torch.arange(span.start, span.end, device=self.values.device)
        behind = (at - from_end + before + 1).clamp(min=before)
        return at.where(at < before, behind)


class Background:
    """The background of a net at any size; `most` answers are kept, for sizes of different remainders."""

    def __init__(
        self, eliding: Eliding, kernels: Mapping[str, Kernel], like: Tensor, most: int = 256
    ) -> None:
        self.eliding, self.kernels, self.like = eliding, kernels, like
        self.kept: Recent[_Key, dict[int, _Answer]] = Recent(most)

    def frames(self, found: Schedule) -> dict[int, Frame]:
        """The frames of a schedule."""
        if not found.framed:
            return {}
        period = _period(found)
        lengths = [length for size in found.sizes.values() for length in size]
        large = [min(length, length % period + _PERIODS * period) for length in lengths]
        key = tuple(large) if found.rims else (), found.framed
        answers = self.kept.of(key, lambda: self._answers(found, period))
        return {number: _frame(answers[number], found, number) for number in found.framed}

    def _answers(self, found: Schedule, period: int) -> dict[int, _Answer]:
        # Up to the last framed value: later layers may take one size alone.
        short = Eliding(self.eliding.plan, max(found.makers[number] for number in found.framed) + 1)
        small = _miniature(short, found, period)
        clean = short.undisturbed(small.whole)
        values = ElidedNet(small, self.kernels, keep=sorted(found.framed))(self._zeros(short, small))
        return {number: _answer(value, clean[number], found.rims) for number, value in values.items()}

    def _zeros(self, short: Eliding, small: Schedule) -> dict[str, Tensor]:
        channels = {blob: (short.plan.inputs[blob] or (1, 1))[1] or 1 for blob in small.inputs}
        return {blob: self.like.new_zeros(1, channels[blob], *small.sizes[blob]) for blob in small.inputs}


def _period(found: Schedule) -> int:
    """The common multiple of the strides of what is framed."""
    makers = [found.parts[found.makers[number]] for number in found.framed]
    strides = [stride for part in makers for view in part.step.views.values() for stride in view.stride]
    return math.lcm(*(math.ceil(stride) for stride in strides))


def _miniature(short: Eliding, found: Schedule, period: int) -> Schedule:
    """The net, whole, on the smallest image with a middle that no edge of the padded image reaches."""
    sizes = set(found.sizes.values())
    for more in range(period, _PERIODS * period, period) if len(sizes) == 1 else ():
        (size,) = sizes
        height, width = (min(full, full % period + more) for full in size)
        small = short.whole(dict.fromkeys(found.sizes, (height, width)))
        clean = short.undisturbed(small.whole)
        if all(span.length for number in found.framed for span in clean[number]):
            return small
    return short.whole(found.sizes)


def _answer(values: Tensor, clean: Region, rims: bool) -> _Answer:
    """A value without its repetitions; without `rims`, its middle alone."""
    if not rims:
        (rows, columns) = clean
        middle = values[:, :, rows.start : rows.start + 1, columns.start : columns.start + 1]
        return _Answer(middle.clone(), (0, 0), (0, 0))
    before, after = [], []
    for axis, span in enumerate(clean):
        length = values.shape[2 + axis]
        if span.length:
            kept = [*range(span.start + 1), *range(span.end, length)]
            values = values.index_select(2 + axis, torch.tensor(kept, device=values.device))
        before.append(span.start if span.length else length)
        after.append(length - span.end if span.length else 0)
    return _Answer(values.contiguous(), (before[0], before[1]), (after[0], after[1]))


def _frame(answer: _Answer, found: Schedule, number: int) -> Frame:
    rows, columns = found.holds[number]
    inner = found.parts[found.makers[number]].computes or (rows, columns)
    whole = found.whole[number]
    down, along = answer.places(rows, whole[0].length, 0), answer.places(columns, whole[1].length, 1)
    above, below = inner[0].start - rows.start, rows.end - inner[0].end
    left, right = inner[1].start - columns.start, columns.end - inner[1].end
    middle = answer.values.index_select(2, down[above : len(down) - below])
    return Frame(
        answer.values.index_select(2, down[:above]).index_select(3, along),
        answer.values.index_select(2, down[len(down) - below :]).index_select(3, along),
        middle.index_select(3, along[:left]),
        middle.index_select(3, along[len(along) - right :]),
    )
