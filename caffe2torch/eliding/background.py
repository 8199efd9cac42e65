"""The net's answer to an image of zeros, where frames need it.

It is the same row or column over and over, but for those that the edges of the padded image can reach. So
only these are computed, and one that repeats: each layer gets its bottom with so many repetitions that its
top has one, and more that the top has are left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from caffe2torch._torch import torch
from caffe2torch.eliding.net import Frame, Kernel
from caffe2torch.eliding.schedule import Eliding, Part, Regions, Schedule, in_full
from caffe2torch.eliding.spans import Region, Span

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class _Answer:
    """A value for zeros: rows and columns before those that repeat, one of these, and those after them."""

    values: Tensor
    before: tuple[int, int]
    endless: bool = False
    """Whether it goes on beyond its edges, as an input does: the padding of the next layer is more of it."""

    def least(self, axis: int) -> int:
        """Its length with one repetition."""
        return self.values.shape[2 + axis]

    def part(self, axis: int, span: Span, length: int) -> _Answer:
        """The pixels `span` of an axis, if that has `length` pixels."""
        least, before = self.least(axis), self.before[axis]
        if length == least and span == (0, least):
            return self
        places = [at if at < before else max(before, at + least - length) for at in range(*span)]
        chosen = torch.tensor(places, dtype=torch.int64, device=self.values.device)
        return _Answer(self.values.index_select(2 + axis, chosen), self.before)

    def whole(self, lengths: Sequence[int]) -> Tensor:
        """All of it, if it is so high and wide."""
        rows = self.part(0, Span(0, lengths[0]), lengths[0])
        return rows.part(1, Span(0, lengths[1]), lengths[1]).values


def frames(
    eliding: Eliding, found: Schedule, kernels: Mapping[str, Kernel], like: Tensor
) -> dict[int, Frame]:
    """The frames of a schedule, on the device and of the dtype of `like`."""
    answering = _Answering(found.whole, eliding.undisturbed(found.whole), kernels, like)
    ends = [place for place, part in enumerate(found.parts) if found.framed.intersection(part.tops)]
    for part in found.parts[: max(ends, default=-1) + 1]:
        answering.add(part)
    return {number: _frame(answering.answers[number], found, number) for number in found.framed}


class _Answering:
    """The answers of one layer after another; `clean` is what the edges of the padded image do not reach."""

    def __init__(self, whole: Regions, clean: Regions, kernels: Mapping[str, Kernel], like: Tensor) -> None:
        self.whole, self.clean, self.kernels, self.like = whole, clean, kernels, like
        self.answers: dict[int, _Answer] = {}

    def add(self, part: Part) -> None:
        """Computes those of a layer."""
        if part.step.layer.type == "Input":
            for top, shape in zip(part.tops, part.step.tops, strict=True):
                zeros = self.like.new_zeros(1, (shape or (1, 1))[1] or 1, 1, 1)
                self.answers[top] = _Answer(zeros, (0, 0), True)
            return
        bottoms = [self.answers[number] for number in part.bottoms]
        kernel, window = self.kernels[part.step.key], part.traits.window
        if all(bottom.endless for bottom in bottoms) and part.traits.splits:
            lengths = window.kernel if window is not None else (1, 1)
            one = Part(
                part.step,
                part.traits,
                part.bottoms,
                part.tops,
                computes=(Span(0, 1), Span(0, 1)),
                relu=part.relu,
            )
            (made,) = kernel(one, *(bottom.whole(lengths) for bottom in bottoms))
            self.answers[part.tops[0]] = _Answer(made, (0, 0), window is None)
            return
        shorter = [self._shorter(part, axis) for axis in (0, 1)]
        sizes = self._sizes(part, shorter)
        given = [
            bottom.whole([span.length for span in sizes[number]])
            for number, bottom in zip(part.bottoms, bottoms, strict=True)
        ]
        for number, answer in zip(part.tops, kernel(in_full(part, sizes), *given), strict=True):
            self.answers[number] = self._kept(number, answer)

    def _sizes(self, part: Part, shorter: Sequence[int]) -> dict[int, Region]:
        """The bottoms and tops, so many repetitions of the tops shorter."""
        stride = part.traits.window.stride if part.traits.window is not None else (1, 1)
        sizes = {}
        for number in (*part.bottoms, *part.tops):
            (rows, columns), step = self.whole[number], stride if number in part.bottoms else (1, 1)
            sizes[number] = (
                Span(0, rows.end - step[0] * shorter[0]),
                Span(0, columns.end - step[1] * shorter[1]),
            )
        return sizes

    def _shorter(self, part: Part, axis: int) -> int:
        """How many rows or columns of the top can be left out."""
        window = part.traits.window
        if not part.traits.pointwise and (window is None or window.transposed):
            return 0
        (top,), stride = part.tops, window.stride[axis] if window is not None else 1
        spare = [
            (self.whole[number][axis].length - self.answers[number].least(axis)) // stride
            for number in part.bottoms
        ]
        return min(*spare, max(0, self.clean[top][axis].length - 1))

    def _kept(self, number: int, top: Tensor) -> _Answer:
        """A top without its repetitions."""
        before = []
        for axis, (clean, whole) in enumerate(zip(self.clean[number], self.whole[number], strict=True)):
            length = top.shape[2 + axis]
            start, after = (clean.start, whole.end - clean.end) if clean.length else (length, 0)
            places = [*range(min(length, start + 1)), *range(max(start + 1, length - after), length)]
            if len(places) < length:
                top = top.index_select(2 + axis, torch.tensor(places, device=top.device))
            before.append(start)
        return _Answer(top, (before[0], before[1]))


def _frame(answer: _Answer, found: Schedule, number: int) -> Frame:
    (rows, columns), whole = found.holds[number], found.whole[number]
    inner = next(part.computes for part in found.parts if number in part.tops) or (rows, columns)
    above, below = Span(rows.start, inner[0].start), Span(inner[0].end, rows.end)
    left, right = Span(columns.start, inner[1].start), Span(inner[1].end, columns.end)

    def strip(down: Span, along: Span) -> Tensor:
        return answer.part(0, down, whole[0].length).part(1, along, whole[1].length).values

    return Frame(strip(above, columns), strip(below, columns), strip(inner[0], left), strip(inner[0], right))
