"""Crops that give no offset: the branch of CVPR 2015 aligned their two bottoms, BVLC's Caffe cuts at 0.

The branch's own CROP (V1) always aligns. A `Crop` without crop_param can be either's: HED's nets were trained
on the branch, and reading them with `align_crops` aligns.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from caffe2torch.errors import NetError
from caffe2torch.layers.geometry import View, crop_offset
from caffe2torch.net import Layer

Views = Sequence[Mapping[str, View]]
"""How each bottom of a layer sees the inputs."""


def aligned(layer: Layer, views: Views) -> Layer:
    """A Crop that aligns its bottoms with the offset that their coordinates give; any other layer as it is.

    Raises NetError if they cannot be aligned.
    """
    crop = layer.fields.crop_param
    if layer.type != "Crop" or not crop.align or len(views) != 2:
        return layer
    try:
        offset = _offset(views)
    except NetError as error:
        raise NetError(f"layer {layer.name!r} (Crop): {error}") from None
    offset = offset[:1] if len(set(offset)) == 1 else offset  # one serves all axes, as the zoo writes it
    return replace(
        layer, fields=layer.fields.replace(crop_param=crop.replace(align=None, axis=2, offset=offset))
    )


def other_offset(layer: Layer, views: Views) -> tuple[int, ...]:
    """The offset, if not 0, that alignment would give a Crop without crop_param; else empty."""
    if layer.type != "Crop" or layer.fields.has("crop_param") or len(views) != 2:
        return ()
    try:
        offset = _offset(views)
    except NetError:
        return ()
    return offset if any(offset) else ()


def note(offsets: Sequence[tuple[str, tuple[int, ...]]]) -> str:
    """A sentence about the crops, by name, that alignment would move; empty without any."""
    crops = ", ".join(f"{name!r} at {'x'.join(map(str, dict.fromkeys(offset)))}" for name, offset in offsets)
    return crops and (
        f"Crop without crop_param: cut at 0, as BVLC's Caffe does; a branch before it, HED's, aligned them: "
        f"{crops} (--align-crops)"
    )


def _offset(views: Views) -> tuple[int, ...]:
    common = next((name for name in views[0] if name in views[1]), None)
    if common is None:
        raise NetError("its bottoms see no common input to align them by")
    return crop_offset(views[0][common], views[1][common])
