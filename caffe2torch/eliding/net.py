"""ElidedNet: runs a Schedule, each layer by a kernel."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from caffe2torch._torch import is_exporting, torch
from caffe2torch.eliding.schedule import Part, Schedule
from caffe2torch.eliding.spans import Region

if TYPE_CHECKING:
    from torch import Tensor

Cut = tuple[slice, slice, slice, slice]


class Kernel(Protocol):
    """A layer's arithmetic."""

    def __call__(self, part: Part, *bottoms: Tensor) -> tuple[Tensor, ...]:
        """The tops, or the part of them that a Part asks for."""


@dataclass(frozen=True)
class Frame:
    """Background around what is computed of a blob: strips (1, C, h, w), the corners above and below."""

    above: Tensor
    below: Tensor
    left: Tensor
    right: Tensor

    def around(self, x: Tensor) -> Tensor:
        """`x` (N, C, h, w) with the frame around it."""
        if is_exporting():
            count = (x.shape[0], -1, -1, -1)
            row = torch.cat([self.left.expand(count), x, self.right.expand(count)], 3)
            return torch.cat([self.above.expand(count), row, self.below.expand(count)], 2)
        top, side = self.above.shape[2], self.left.shape[3]
        height, width = top + x.shape[2] + self.below.shape[2], self.above.shape[3]
        whole = torch.empty(
            (*x.shape[:2], height, width), dtype=x.dtype, device=x.device, memory_format=torch.channels_last
        )
        whole[:, :, :top] = self.above
        whole[:, :, top + x.shape[2] :] = self.below
        middle = whole[:, :, top : top + x.shape[2]]
        middle[..., :side] = self.left
        middle[..., side : side + x.shape[3]] = x
        middle[..., side + x.shape[3] :] = self.right
        return whole


@dataclass(frozen=True)
class _Call:
    """A part, ready to run; `cuts` are what it reads of its bottoms, None for all that is held."""

    part: Part
    kernel: Kernel
    cuts: tuple[Cut | None, ...]
    frame: Frame | None = None
    done: tuple[int, ...] = ()
    """Values that nothing reads after it."""


class ElidedNet:
    """A net at one size of its inputs, and any number of images; without gradients.

    `kernels` has one for each step, by its key; `check` is given each value that a Part `checks`.
    """

    def __init__(
        self,
        found: Schedule,
        kernels: Mapping[str, Kernel],
        frames: Mapping[int, Frame] | None = None,
        keep: Collection[int] = (),
        check: Callable[[Tensor], None] | None = None,
    ) -> None:
        self.schedule, self.check = found, check
        self.keep = tuple(keep) or tuple(found.outputs.values())
        known = frames or {}
        parts = [part for part in found.parts if part.step.layer.type != "Input"]
        last = max((place for place, part in enumerate(parts) if {*part.tops} & {*self.keep}), default=-1)
        parts = parts[: last + 1]
        read = {bottom: place for place, part in enumerate(parts) for bottom in part.bottoms}
        self.calls = [
            _Call(
                part,
                kernels[part.step.key],
                tuple(map(self._cut, part.bottoms, part.reads)),
                known.get(part.tops[0]) if part.tops else None,
                tuple({n for n in part.bottoms if read[n] == place and n not in self.keep}),
            )
            for place, part in enumerate(parts)
        ]

    def __call__(self, images: Mapping[str, Tensor]) -> dict[int, Tensor]:
        """From inputs by blob name to the values that are kept, by their numbers."""
        values = {number: images[blob] for blob, number in self.schedule.inputs.items()}
        for call in self.calls:
            if call.part.checks and self.check is not None:
                self.check(values[call.part.bottoms[0]])
            bottoms = [
                values[n] if cut is None else values[n][cut]
                for n, cut in zip(call.part.bottoms, call.cuts, strict=True)
            ]
            tops = call.kernel(call.part, *bottoms)
            for number in call.done:
                values.pop(number, None)
            if call.frame is not None:
                tops = (call.frame.around(tops[0]),)
            values |= zip(call.part.tops, tops, strict=True)
        return {number: values[number] for number in self.keep}

    def _cut(self, number: int, region: Region | None) -> Cut | None:
        if region is None or region == self.schedule.holds[number]:
            return None
        held = self.schedule.holds[number]
        rows, columns = (
            slice(span.start - own.start, span.end - own.start)
            for span, own in zip(region, held, strict=True)
        )
        return slice(None), slice(None), rows, columns
