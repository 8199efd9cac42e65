"""What a pixel of a blob sees of the image: receptive fields, strides, and the alignment of two blobs.

Axes are (height, width). A blob's pixel i sits at image coordinate `stride * i + start`, and sees
`receptive_field` pixels around it. FCN's crop offsets follow from this alone (see `crop_offset`).
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from caffe2torch.errors import NetError


@dataclass(frozen=True)
class Window:
    """A kernel that slides over an image, or with `transposed` spreads over a larger one; sizes in pixels.

    `kernel` is the extent: dilation is already in it.
    """

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    pad: tuple[int, ...]
    transposed: bool = False


@dataclass(frozen=True)
class View:
    """How a blob's pixels see one input, per axis. A `receptive_field` of None is the whole image."""

    stride: tuple[Fraction, ...]
    start: tuple[Fraction, ...]
    receptive_field: tuple[Fraction, ...] | None

    @staticmethod
    def of_input(axes: int = 2) -> View:
        """An input sees itself."""
        return View((Fraction(1),) * axes, (Fraction(0),) * axes, (Fraction(1),) * axes)

    def through(self, window: Window) -> View:
        """The view after one window, in the arithmetic of window centres."""
        stride, start, field = [], [], []
        for axis, kernel in enumerate(window.kernel):
            step, pad, half = window.stride[axis], window.pad[axis], Fraction(kernel - 1, 2)
            old = self.stride[axis]
            if window.transposed:
                stride.append(old / step)
                start.append(self.start[axis] - old * (half - pad) / step)
                field.append(old * (-(-kernel // step) - 1))
            else:
                stride.append(old * step)
                start.append(self.start[axis] + old * (half - pad))
                field.append(old * (kernel - 1))
        seen = self.receptive_field
        grown = None if seen is None else tuple(a + b for a, b in zip(seen, field, strict=True))
        return View(tuple(stride), tuple(start), grown)

    def shifted(self, offset: tuple[int, ...]) -> View:
        """The view after cropping `offset` pixels of this blob away."""
        start = tuple(s + step * o for s, step, o in zip(self.start, self.stride, offset, strict=True))
        return View(self.stride, start, self.receptive_field)

    def whole(self) -> View:
        """The view of a blob whose every pixel sees the whole image."""
        return View(self.stride, self.start, None)

    def merged(self, other: View) -> View:
        """The view of a blob made of two; its receptive field is the wider one."""
        if None in (self.receptive_field, other.receptive_field):
            return View(self.stride, self.start, None)
        wider = max(self, other, key=lambda view: view.receptive_field or ())
        return View(self.stride, self.start, wider.receptive_field)


def crop_offset(cropped: View, reference: View) -> tuple[int, ...]:
    """How many pixels of `cropped` lie before the first pixel of `reference`, per axis.

    This is where the offsets of the FCN nets come from: 19 for FCN-32s, 5 and 27 for 16s, 5, 9 and 31 for 8s.
    Raises NetError if the strides differ, or the offset is negative or not a whole number.
    """
    if cropped.stride != reference.stride:
        raise NetError(f"cannot align blobs of strides {_text(cropped.stride)} and {_text(reference.stride)}")
    offsets = [(b - a) / s for a, b, s in zip(cropped.start, reference.start, cropped.stride, strict=True)]
    if any(offset < 0 or offset.denominator != 1 for offset in offsets):
        raise NetError(f"a crop offset must be a whole number >= 0, the alignment gives {_text(offsets)}")
    return tuple(int(offset) for offset in offsets)


def _text(values: tuple[Fraction, ...] | list[Fraction]) -> str:
    return "x".join(str(value) for value in values)
