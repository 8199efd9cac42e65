"""The net's answer to an image of zeros, where frames need it.

It is the same row or column over and over, but for those that the edges of the padded image can reach. So
only these are computed, and one that repeats: each layer gets its bottom with so many repetitions that its
top has one, and more that the top has are left out.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import TYPE_CHECKING

from caffe2torch._torch import torch
from caffe2torch.eliding.net import Frame, Kernel
from caffe2torch.eliding.recent import Recent
from caffe2torch.eliding.schedule import Eliding, Part, Regions, Schedule, in_full
from caffe2torch.eliding.spans import Region, Span

if TYPE_CHECKING:
    from torch import Tensor


KEPT, MOST_KEPT = 512, 1 << 15
"""How many answers are kept for other sizes, and how many values such a one has at most."""


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
        more = length - least
        if span.end <= before + 1 or span.start >= before + more:
            start = span.start - (0 if span.end <= before + 1 else more)
            return _Answer(self.values.narrow(2 + axis, start, span.length), self.before)
        places = tuple(at if at < before else max(before, at - more) for at in range(*span))
        return _Answer(self.values.index_select(2 + axis, _index(places, self.values.device)), self.before)

    def whole(self, lengths: Sequence[int]) -> Tensor:
        """All of it, if it is so high and wide."""
        rows = self.part(0, Span(0, lengths[0]), lengths[0])
        return rows.part(1, Span(0, lengths[1]), lengths[1]).values


@dataclass(frozen=True, eq=False)
class _Answers:
    """Those of a layer's tops."""

    tops: Sequence[_Answer]


@lru_cache(KEPT)
def _index(places: tuple[int, ...], device: torch.device) -> Tensor:
    return torch.tensor(places, dtype=torch.int64, device=device)


class Background:
    """The frames of a net at any size, on the device and of the dtype of `like`.

    The first layers have the same answers at many sizes: these are kept.
    """

    def __init__(self, eliding: Eliding, kernels: Mapping[str, Kernel], like: Tensor) -> None:
        self.eliding, self.kernels, self.like = eliding, kernels, like
        self.kept: Recent[Hashable, _Answers] = Recent(KEPT)

    def frames(self, found: Schedule) -> dict[int, Frame]:
        """The frames of a schedule, by the numbers of the values that they are around."""
        clean = self.eliding.undisturbed(found.whole)
        answering = _Answering(found.whole, clean, self.kernels, self.like, self.eliding.channels)
        ends = [place for place, part in enumerate(found.parts) if found.framed.intersection(part.tops)]
        for part in found.parts[: max(ends, default=-1) + 1]:
            key = answering.edges(part)
            make = partial(answering.of, part)
            answering.add(part, make() if key is None else self.kept.of(key, make))
        return {number: _frame(answering.answers[number], found, number) for number in found.framed}


class _Answering:
    """The answers of one layer after another; `clean` is what the edges of the padded image do not reach.

    `channels` are those of the inputs.
    """

    def __init__(
        self,
        whole: Regions,
        clean: Regions,
        kernels: Mapping[str, Kernel],
        like: Tensor,
        channels: Mapping[str, int],
    ) -> None:
        self.whole, self.clean, self.kernels, self.like = whole, clean, kernels, like
        self.channels = channels
        self.answers: dict[int, _Answer] = {}
        self.makers: dict[int, _Answers] = {}

    def add(self, part: Part, found: _Answers) -> None:
        """Keeps those of a layer for the layers after it."""
        self.answers |= zip(part.tops, found.tops, strict=True)
        self.makers |= dict.fromkeys(part.tops, found)

    def edges(self, part: Part) -> Hashable | None:
        """What the answers of a layer depend on; None for those that are not worth keeping."""
        if part.step.layer.type == "Input":
            return part.tops
        numbers, traits = (*part.bottoms, *part.tops), part.traits
        if not traits.splits or any(number not in self.whole for number in numbers):
            return None
        edges = list[Hashable]()
        for number in numbers:
            edges += map(_ends, self.clean[number], self.whole[number])
        if traits.window is not None and not traits.window.transposed:
            bottom = self.whole[part.bottoms[0]]
            edges += [span.end % stride for span, stride in zip(bottom, traits.window.stride, strict=True)]
        elif not traits.pointwise:
            edges += [self.whole[number] for number in numbers]
        made = (self.makers[number] for number in part.bottoms)
        return (part.tops, part.relu, *edges, *made) if self._top_values(part) <= MOST_KEPT else None

    def _top_values(self, part: Part) -> int:
        """How many values the answer of a layer with one top has."""
        (top,), channels = part.tops, (part.step.tops[0] or (1, 1))[1] or 1
        return channels * math.prod(
            1 + sum(_ends(*spans)) for spans in zip(self.clean[top], self.whole[top], strict=True)
        )

    def of(self, part: Part) -> _Answers:
        """Those of a layer, whose bottoms' are known."""
        if part.step.layer.type == "Input":
            channels = [self.channels[blob] for blob in part.step.layer.tops]
            return _Answers([_Answer(self.like.new_zeros(1, n, 1, 1), (0, 0), True) for n in channels])
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
            (zero,) = kernel(one, *(bottom.whole(lengths) for bottom in bottoms))
            return _Answers([_Answer(zero, (0, 0), window is None)])
        shorter = [self._shorter(part, axis) for axis in (0, 1)]
        sizes = self._sizes(part, shorter)
        given = [
            bottom.whole([span.length for span in sizes[number]])
            for number, bottom in zip(part.bottoms, bottoms, strict=True)
        ]
        made = kernel(in_full(part, sizes), *given)
        return _Answers([self._kept(number, top) for number, top in zip(part.tops, made, strict=True)])

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


def _ends(clean: Span, whole: Span) -> tuple[int, int]:
    """How much comes before what repeats, and after it."""
    clean = clean.within(whole)
    return (clean.start, whole.end - clean.end) if clean.length else (whole.end, 0)


def _frame(answer: _Answer, found: Schedule, number: int) -> Frame:
    (rows, columns), whole = found.holds[number], found.whole[number]
    inner = next(part.computes for part in found.parts if number in part.tops) or (rows, columns)
    above, below = Span(rows.start, inner[0].start), Span(inner[0].end, rows.end)
    left, right = Span(columns.start, inner[1].start), Span(inner[1].end, columns.end)

    def strip(down: Span, along: Span) -> Tensor:
        return answer.part(0, down, whole[0].length).part(1, along, whole[1].length).values

    return Frame(strip(above, columns), strip(below, columns), strip(inner[0], left), strip(inner[0], right))
