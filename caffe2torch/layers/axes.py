"""Axes as Caffe counts them: negative ones from the end."""

from __future__ import annotations

import math

from caffe2torch.layers.converter import Converter, Shape


def canonical(converter: Converter, shape: Shape, axis: int, *, name: str = "axis") -> int:
    """The axis counted from 0 (CanonicalAxisIndex in blob.hpp); one outside the shape is refused."""
    if not -len(shape) <= axis < len(shape):
        raise converter.refuse(f"{name}: {axis} is out of range for its bottom of {len(shape)} axes")
    return axis % len(shape)


def part(axis: int, start: int, end: int) -> tuple[slice, ...]:
    """The index of a part of one axis, counted from 0.

    Not `narrow`, which pnnx leaves out of what it converts for ncnn, without a word.
    """
    return (slice(None),) * axis + (slice(start, end),)


def product(sizes: Shape) -> int | None:
    """The number of values in these axes, None if any size is unknown."""
    known = [size for size in sizes if size is not None]
    return math.prod(known) if len(known) == len(sizes) else None
