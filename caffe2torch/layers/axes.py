"""Axes as Caffe counts them: negative from the end, ranges that stop before the last."""

from __future__ import annotations

import math

from caffe2torch.layers.converter import Converter, Shape


def canonical(converter: Converter, shape: Shape, axis: int, *, name: str = "axis") -> int:
    """The axis as a number from 0; Caffe's CanonicalAxisIndex (blob.hpp). Refuses one outside the shape."""
    if not -len(shape) <= axis < len(shape):
        raise converter.refuse(f"{name}: {axis} is outside its bottom of {len(shape)} axes")
    return axis % len(shape)


def product(sizes: Shape) -> int | None:
    """The number of values in these axes, None when one of them is not known."""
    known = [size for size in sizes if size is not None]
    return math.prod(known) if len(known) == len(sizes) else None
