"""`caffe.coord_map`: which pixel of one top lies where in another, and the Crop that aligns the two.

A map (axis, a, b) takes coordinate x of a layer's bottom to a * x + b of its top, from `axis` on: a and b
are arrays of one value, or of one for each spatial axis. `axis` is None where a layer leaves all axes alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from caffe2torch.blob import Array
from caffe2torch.pycaffe.net_spec import Function, Top, layers

Map = tuple["int | None", Any, Any]

PASS_THROUGH_LAYERS = (
    *("AbsVal", "BatchNorm", "Bias", "BNLL", "Dropout", "Eltwise", "ELU", "Log", "LRN", "Exp"),
    *("MVN", "Power", "ReLU", "PReLU", "Scale", "Sigmoid", "Split", "TanH", "Threshold"),
)
"""Types whose tops lie pixel on pixel on their bottoms."""
_LEGACY = {f"{name}_{side}" for name in ("pad", "kernel", "stride") for side in "hw"}


class UndefinedMapException(Exception):
    """A layer whose top has no pixels that lie anywhere in its bottom."""


class AxisMismatchException(Exception):
    """Two maps whose spatial axes begin at different axes."""


def conv_params(fn: Function) -> tuple[int, Array, Array, Array]:
    """Axis, stride, extent of the dilated kernel and pad of a layer that slides a window."""
    params = fn.params.get("convolution_param", fn.params)
    if legacy := sorted(_LEGACY & params.keys()):
        raise AssertionError(f"{fn.type_name}: cropping does not support {legacy[0]}; give lists")
    dilation = np.array(params.get("dilation", 1), ndmin=1)
    extent = (np.array(params["kernel_size"], ndmin=1) - 1) * dilation + 1
    stride, pad = (np.array(params.get(name, value), ndmin=1) for name, value in (("stride", 1), ("pad", 0)))
    return params.get("axis", 1), stride, extent, pad


def crop_params(fn: Function) -> tuple[int, Array]:
    """Axis and offsets of a Crop."""
    params = fn.params.get("crop_param", fn.params)
    return params.get("axis", 2), np.array(params.get("offset", 0), ndmin=1)


def coord_map(fn: Function) -> Map:
    """The map of a layer. Raises UndefinedMapException for a type that has none."""
    if fn.type_name in ("Convolution", "Pooling", "Im2col"):
        axis, stride, extent, pad = conv_params(fn)
        return axis, 1 / stride, (pad - (extent - 1) / 2) / stride
    if fn.type_name == "Deconvolution":
        axis, stride, extent, pad = conv_params(fn)
        return axis, stride, (extent - 1) / 2 - pad
    if fn.type_name in PASS_THROUGH_LAYERS:
        return None, 1, 0
    if fn.type_name == "Crop":
        axis, offset = crop_params(fn)
        return axis - 1, 1, -offset  # counts axes from the first that is cropped, as convolutions do not
    raise UndefinedMapException(f"{fn.type_name} maps no coordinates")


def compose(base_map: Map, next_map: Map) -> Map:
    """The map that applies `next_map`, then `base_map`. Raises AxisMismatchException for different axes."""
    (axis_1, a_1, b_1), (axis_2, a_2, b_2) = base_map, next_map
    if axis_1 is not None and axis_2 is not None and axis_1 != axis_2:
        raise AxisMismatchException(f"maps of axes {axis_1} and {axis_2}")
    return axis_2 if axis_1 is None else axis_1, a_1 * a_2, a_1 * b_2 + b_1


def inverse(coord_map: Map) -> Map:
    """The map in the other direction."""
    axis, a, b = coord_map
    return axis, 1 / a, -b / a


def coord_map_from_to(top_from: Top, top_to: Top) -> Map:
    """The map from one top to another; both must come from one, by layers that have maps.

    Raises RuntimeError if they do not, AxisMismatchException where maps do not compose.
    """
    known = {top_from: _IDENTITY}
    for _ in _walk(known, top_from):
        pass
    back = {top_to: _IDENTITY}
    for top in _walk(back, top_to):
        if top in known:
            return compose(back[top], inverse(known[top]))
    raise RuntimeError("no map between the tops: no layers that keep coordinates connect them")


def crop(top_from: Top, top_to: Top) -> Top:
    """The Crop of `top_from` to the size and the place of `top_to`.

    Raises AssertionError where no Crop aligns them: for another scale, or an offset that is negative or no
    whole number.
    """
    axis, a, b = coord_map_from_to(top_from, top_to)
    if not (np.asarray(a) == 1).all():
        raise AssertionError(f"scale mismatch on crop (a = {a})")
    if not (np.asarray(b) <= 0).all():
        raise AssertionError(f"cannot crop negative offset (b = {b})")
    if not (np.round(b) == b).all():
        raise AssertionError(f"cannot crop noninteger offset (b = {b})")
    offsets = [int(offset) for offset in -np.round(np.atleast_1d(b))]
    first = 1 if axis is None else axis  # nothing between the two moves anything: the spatial axes
    cropped: Top = layers.Crop(top_from, top_to, crop_param={"axis": first + 1, "offset": offsets})
    return cropped


_IDENTITY: Map = (None, 1, 0)


def _walk(maps: dict[Top, Map], top: Top) -> Iterator[Top]:
    """Every top below `top`, itself first, as its map is added to `maps`; layers without a map end it."""
    frontier = [top]
    while frontier:
        top = frontier.pop()
        yield top
        bottoms = top.fn.inputs[:1] if top.fn.type_name == "Crop" else top.fn.inputs
        try:
            for bottom in (bottom for bottom in bottoms if bottom not in maps):
                maps[bottom] = compose(maps[top], coord_map(top.fn))
                frontier.append(bottom)
        except UndefinedMapException:
            pass
