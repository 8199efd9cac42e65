"""Pooling: Caffe rounds sizes up, and averages include the padding in a window (pooling_layer.cpp)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional as F

from caffe2torch.tracing.calls import says
from caffe2torch.tracing.calls.convolution import Sizes, axis_sizes
from caffe2torch.tracing.drawing import Call, Top


@says(nn.MaxPool2d, F.max_pool2d, torch.max_pool2d)
def max_pool(
    call: Call,
    x: Top,
    kernel_size: Sizes,
    stride: Sizes | None = None,
    padding: Sizes = 0,
    dilation: Sizes = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Top:
    """Pooling, MAX."""
    if set(axis_sizes(dilation, 2)) != {1}:
        call.refuse(f"dilation is {dilation}; Caffe's pooling has none")
    if return_indices:
        call.refuse("return_indices: no Caffe layer takes them")
    return _pooled(call, x, "MAX", kernel_size, stride, padding, ceil_mode)


@says(nn.AvgPool2d, F.avg_pool2d)
def average_pool(
    call: Call,
    x: Top,
    kernel_size: Sizes,
    stride: Sizes | None = None,
    padding: Sizes = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Top:
    """Pooling, AVE."""
    if not count_include_pad and any(axis_sizes(padding, 2)):
        call.refuse("count_include_pad is False; Caffe's average counts the padding")
    if divisor_override is not None:
        call.refuse(f"divisor_override is {divisor_override}; Caffe divides by the size of the window")
    return _pooled(call, x, "AVE", kernel_size, stride, padding, ceil_mode)


@says(nn.AdaptiveAvgPool2d, F.adaptive_avg_pool2d)
def adaptive_average_pool(call: Call, x: Top, output_size: int | Sequence[int | None]) -> Top:
    """Pooling, AVE, of windows that divide the image evenly."""
    return _adaptive(call, x, "AVE", output_size)


@says(nn.AdaptiveMaxPool2d, F.adaptive_max_pool2d)
def adaptive_max_pool(
    call: Call, x: Top, output_size: int | Sequence[int | None], return_indices: bool = False
) -> Top:
    """Pooling, MAX, of windows that divide the image evenly."""
    if return_indices:
        call.refuse("return_indices: no Caffe layer takes them")
    return _adaptive(call, x, "MAX", output_size)


@says(torch.mean, "mean")
def mean(call: Call, x: Top, dim: int | Sequence[int] | None = None, keepdim: bool = False) -> Top:
    """Pooling, AVE, over height and width."""
    return _over_image(call, x, "AVE", dim, keepdim)


@says(torch.amax, "amax")
def maximum_of_image(call: Call, x: Top, dim: int | Sequence[int] = (), keepdim: bool = False) -> Top:
    """Pooling, MAX, over height and width."""
    return _over_image(call, x, "MAX", dim, keepdim)


def _over_image(call: Call, x: Top, pool: str, dim: int | Sequence[int] | None, keepdim: bool) -> Top:
    axes = {axis % len(x.shape) for axis in ((dim,) if isinstance(dim, int) else dim or ())}
    if len(x.shape) != 4 or axes != {2, 3}:
        call.refuse(f"reduces axes {dim} of {x.shape}; Caffe's global pooling reduces height and width")
    y = call.layer("Pooling", x, pooling_param={"pool": pool, "global_pooling": True})
    return y if keepdim else call.layer("Flatten", y, suffix=".flat")


def _adaptive(call: Call, x: Top, pool: str, output_size: int | Sequence[int | None]) -> Top:
    wanted = (output_size,) * 2 if isinstance(output_size, int) else tuple(output_size)
    size = tuple(given if given is not None else own for given, own in zip(wanted, x.shape[2:], strict=True))
    if size == x.shape[2:]:
        return x
    if size == (1, 1):
        return call.layer("Pooling", x, pooling_param={"pool": pool, "global_pooling": True})
    if any(own % given for own, given in zip(x.shape[2:], size, strict=True)):
        call.refuse(
            f"{_by(size)} windows over {_by(x.shape[2:])} differ in size, which Caffe's cannot; "
            f"1x1 would be global pooling"
        )
    kernel = tuple(own // given for own, given in zip(x.shape[2:], size, strict=True))
    return call.layer("Pooling", x, pooling_param={"pool": pool, **_window(kernel, kernel, (0, 0))})


def _pooled(
    call: Call,
    x: Top,
    pool: str,
    kernel: Sizes,
    stride: Sizes | None,
    padding: Sizes,
    ceil: bool,
) -> Top:
    # Without a stride (None or empty), PyTorch strides by the kernel size.
    step = stride if stride or isinstance(stride, int) else kernel
    p = {"pool": pool} | _window(axis_sizes(kernel, 2), axis_sizes(step or 0, 2), axis_sizes(padding, 2))
    if not ceil and call.drawing.floor_pooling:
        p["round_mode"] = "FLOOR"
    y = call.layer("Pooling", x, pooling_param=p)
    if call.shape is not None and y.shape != call.shape:
        ours, caffes = _by(call.shape[2:]), _by(y.shape[2:])
        if ceil:
            call.refuse(
                f"ceil mode gives {ours} at this size, Caffe's gives {caffes}: without padding, it keeps a "
                f"last window that starts beyond the image"
            )
        call.refuse(
            f"floor mode gives {ours} at this size, Caffe's rounding up gives {caffes}; "
            f"set ceil_mode, or see floor_pooling"
        )
    return y


def _window(kernel: Sequence[int], stride: Sequence[int], pad: Sequence[int]) -> dict[str, int]:
    """PoolingParameter's fields."""
    p: dict[str, int] = {}
    for name, (height, width) in (("kernel", kernel), ("stride", stride), ("pad", pad)):
        both = {"kernel_size" if name == "kernel" else name: height}
        p |= both if height == width else {f"{name}_h": height, f"{name}_w": width}
    return p


def _by(size: Sequence[int]) -> str:
    return "x".join(map(str, size))
