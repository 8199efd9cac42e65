"""Tensors concatenated, split and reshaped."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

import torch
from torch import nn
from torch.nn import functional as F

from caffe2torch.tracing.calls import says
from caffe2torch.tracing.drawing import Call, Top


@says(torch.cat, torch.concat)
def concatenate(call: Call, tensors: Sequence[Top], dim: int = 0) -> Top:
    """Concat."""
    if not all(isinstance(x, Top) for x in tensors):
        call.refuse("one of its tensors is a constant; Caffe's Concat takes blobs")
    axis = dim % len(tensors[0].shape)
    return call.layer("Concat", *tensors, concat_param={"axis": axis})


@says(torch.chunk, "chunk")
def chunk(call: Call, x: Top, chunks: int, dim: int = 0) -> tuple[Top, ...]:
    """Slice into parts of equal size, except for the last."""
    return split(call, x, -(-x.shape[dim] // chunks), dim)


@says(torch.split, "split")
def split(call: Call, x: Top, split_size: int | Sequence[int], dim: int = 0) -> tuple[Top, ...]:
    """Slice, which cuts at points."""
    axis, size = dim % len(x.shape), x.shape[dim]
    if isinstance(split_size, int):
        points = list(range(split_size, size, split_size))
    else:
        points = list(accumulate(split_size))[:-1]
    if not points:
        return (x,)
    even = size % (len(points) + 1) == 0 and points[0] == size // (len(points) + 1)
    p: dict[str, int | list[int]] = {"axis": axis}
    if not even or not isinstance(split_size, int):
        p["slice_point"] = points
    return tuple(call.layers("Slice", x, tops=len(points) + 1, slice_param=p))


@says(nn.Flatten, torch.flatten, "flatten")
def flatten(call: Call, x: Top, start_dim: int | None = None, end_dim: int = -1) -> Top:
    """Flatten; nn.Flatten starts at axis 1, torch.flatten at 0."""
    start, end = (0 if start_dim is None else start_dim) % len(x.shape), end_dim % len(x.shape)
    if start == end:
        return x
    end = -1 if end == len(x.shape) - 1 else end
    return call.layer("Flatten", x, flatten_param={"axis": start, "end_axis": end})


@says("view", "reshape", torch.reshape, nn.Unflatten, "unflatten", torch.unflatten)
@says("squeeze", torch.squeeze, "unsqueeze", torch.unsqueeze)
def reshape(call: Call, x: Top, *how: object, **settings: object) -> Top:
    """Flatten or Reshape to the shape that PyTorch computes; the batch axis stays."""
    shape = call.shape or ()
    if shape == x.shape:
        return x
    if shape[:1] != x.shape[:1]:
        call.refuse(f"turns {x.shape} into {shape}; Caffe nets keep the batch axis")
    if len(shape) == 2:
        return call.layer("Flatten", x)
    differ = (i for i, sizes in enumerate(zip(shape, x.shape, strict=False)) if sizes[0] != sizes[1])
    kept = next(differ, min(len(shape), len(x.shape)))
    dim = [0] * kept + list(shape[kept:])
    given: Sequence[object] = how[0] if how and isinstance(how[0], (tuple, list)) else how
    if len(given) == len(shape) and -1 in given:
        dim[given.index(-1)] = -1
    return call.layer("Reshape", x, reshape_param={"shape": {"dim": dim}})


@says(nn.Upsample, nn.UpsamplingNearest2d, F.interpolate, F.upsample)
def interpolate(
    call: Call,
    x: Top,
    size: int | Sequence[int] | None = None,
    scale_factor: float | Sequence[float] | None = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
    recompute_scale_factor: bool | None = None,
    antialias: bool = False,
) -> Top:
    """Repeats each pixel: a Deconvolution of ones, with a group per channel."""
    wanted = call.shape or ()
    if len(x.shape) != 4 or any(large % small for large, small in zip(wanted[2:], x.shape[2:], strict=True)):
        call.refuse(f"{x.shape} to {wanted}: a Deconvolution needs whole multiples of height and width")
    if mode != "nearest" and x.shape[2:] != (1, 1):
        call.refuse(
            f"mode {mode!r} repeats the borders, a Deconvolution sees zeros there; "
            f"use nn.ConvTranspose2d with the weight from surgery.bilinear_weight"
        )
    height, width = (large // small for large, small in zip(wanted[2:], x.shape[2:], strict=True))
    kernel: dict[str, int | list[int]] = {"kernel_size": [height], "stride": [height]}
    if height != width:
        kernel = {"kernel_h": height, "kernel_w": width, "stride_h": height, "stride_w": width}
    p = {"num_output": x.shape[1], "bias_term": False, "group": x.shape[1], **kernel}
    return call.layer(
        "Deconvolution", x, blobs=[torch.ones(x.shape[1], 1, height, width)], convolution_param=p
    )


@says(torch.permute, "permute", torch.transpose, "transpose", "t", "movedim", torch.movedim)
@says(nn.ChannelShuffle, nn.PixelShuffle, F.pixel_shuffle, F.channel_shuffle)
def permute(call: Call, x: Top, *how: object, **settings: object) -> Top:
    """Refused: only forks have a Permute layer."""
    return call.refuse("Caffe has no layer that reorders axes; only forks have Permute")


@says(torch.stack)
def stack(call: Call, tensors: Sequence[Top], dim: int = 0) -> Top:
    """Refused: it adds an axis."""
    return call.refuse("adds an axis; Caffe's Concat does what torch.cat does")
