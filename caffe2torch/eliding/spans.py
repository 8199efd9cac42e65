"""Which rows or columns of a blob belong to which of another, through the windows of layers."""

from __future__ import annotations

from typing import NamedTuple

from caffe2torch.layers.geometry import Window

FAR = 1 << 40
"""Beyond any image."""


class Span(NamedTuple):
    """The pixels from `start` to before `end` along one axis."""

    start: int
    end: int

    @property
    def length(self) -> int:
        """How many pixels; 0 for none."""
        return max(0, self.end - self.start)

    def within(self, other: Span) -> Span:
        """What both have in common."""
        return Span(max(self.start, other.start), min(self.end, other.end))

    def hull(self, other: Span) -> Span:
        """The shortest span that holds both."""
        if not (self.length and other.length):
            return self if self.length else other
        return Span(min(self.start, other.start), max(self.end, other.end))

    def shifted(self, offset: int) -> Span:
        """The same pixels of a blob that begins `offset` pixels earlier."""
        return Span(self.start + offset, self.end + offset)


Region = tuple[Span, Span]
"""Rows and columns."""


def touched(span: Span, window: Window, axis: int) -> Span:
    """The pixels of a top whose windows hold any pixel of `span`, as if the top had no end."""
    kernel, stride, pad = window.kernel[axis], window.stride[axis], window.pad[axis]
    if window.transposed:
        return Span(span.start * stride - pad, (span.end - 1) * stride - pad + kernel)
    return Span(-((kernel - 1 - span.start - pad) // stride), (span.end - 1 + pad) // stride + 1)


def enclosed(span: Span, window: Window, axis: int) -> Span:
    """The pixels of a top whose windows hold only pixels of `span`."""
    kernel, stride, pad = window.kernel[axis], window.stride[axis], window.pad[axis]
    if window.transposed:
        return Span((span.start - 1) * stride + kernel - pad, span.end * stride - pad)
    return Span(-(-(span.start + pad) // stride), (span.end - kernel + pad) // stride + 1)


def seen(span: Span, window: Window, axis: int) -> Span:
    """The pixels of a bottom that the pixels `span` of the top are computed from, as if it had no end."""
    kernel, stride, pad = window.kernel[axis], window.stride[axis], window.pad[axis]
    if window.transposed:
        return Span(-((kernel - 1 - span.start - pad) // stride), (span.end - 1 + pad) // stride + 1)
    return Span(span.start * stride - pad, (span.end - 1) * stride - pad + kernel)
