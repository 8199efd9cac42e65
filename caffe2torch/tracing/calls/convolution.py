"""Convolutions and fully connected layers."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from caffe2torch.tracing.calls import says
from caffe2torch.tracing.drawing import Call, Top

Sizes = int | Sequence[int]


@says(nn.Conv1d, nn.Conv2d, nn.Conv3d, F.conv1d, F.conv2d, F.conv3d)
def convolution(
    call: Call,
    x: Top,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Sizes = 1,
    padding: Sizes | str = 0,
    dilation: Sizes = 1,
    groups: int = 1,
    padding_mode: str = "zeros",
) -> Top:
    """Convolution; padding 'same' only if it is equal on both sides."""
    if padding_mode != "zeros":
        call.refuse(f"padding_mode is {padding_mode!r}; Caffe pads with zeros")
    axes = weight.ndim - 2
    if isinstance(padding, str):
        padding = _same(call, weight, axis_sizes(dilation, axes)) if padding == "same" else 0
    return _sliding(call, "Convolution", x, weight, bias, weight.shape[0], stride, padding, dilation, groups)


@says(nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
@says(F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)
def deconvolution(
    call: Call,
    x: Top,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Sizes = 1,
    padding: Sizes = 0,
    output_padding: Sizes = 0,
    groups: int = 1,
    dilation: Sizes = 1,
) -> Top:
    """Deconvolution; its weight is (in, out / groups, kernel) on both sides.

    Output padding is a kernel with as many zeros at the end of each axis, over the dilation.
    """
    axes = weight.ndim - 2
    extra = [*zip(axis_sizes(output_padding, axes), axis_sizes(dilation, axes), strict=True)]
    if any(size % step for size, step in extra):
        call.refuse(f"output_padding is {output_padding}, no multiple of dilation {dilation}")
    zeros = [count for size, step in reversed(extra) for count in (0, size // step)]
    weight = F.pad(weight, zeros) if any(zeros) else weight
    outputs = weight.shape[1] * groups
    return _sliding(call, "Deconvolution", x, weight, bias, outputs, stride, padding, dilation, groups)


@says(nn.Linear, F.linear)
def inner_product(call: Call, x: Top, weight: Tensor, bias: Tensor | None = None) -> Top:
    """InnerProduct over the last axis."""
    p = {"num_output": weight.shape[0], "bias_term": bias is not None, "axis": len(x.shape) - 1}
    return call.layer("InnerProduct", x, blobs=(weight, bias), inner_product_param=p)


def axis_sizes(sizes: Sizes, axes: int) -> tuple[int, ...]:
    """A size per axis, from one for all of them or one for each."""
    return (sizes,) * axes if isinstance(sizes, int) else tuple(sizes)


def spatial(name: str, sizes: Sequence[int], default: int | None = None) -> dict[str, int | list[int]]:
    """ConvolutionParameter's fields for `kernel_size`, `stride`, `pad` or `dilation`, none at the default.

    Two sizes that differ become `kernel_h` and `kernel_w`, except for dilation, which has no such form.
    """
    if set(sizes) == {default}:
        return {}
    if len(set(sizes)) == 1:
        return {name: [sizes[0]]}
    if len(sizes) == 2 and name != "dilation":
        short = name.removesuffix("_size")
        return {f"{short}_h": sizes[0], f"{short}_w": sizes[1]}
    return {name: list(sizes)}


def _same(call: Call, weight: Tensor, dilation: Sequence[int]) -> tuple[int, ...]:
    spans = [d * (size - 1) for size, d in zip(weight.shape[2:], dilation, strict=True)]
    if any(span % 2 for span in spans):
        call.refuse(f"padding 'same' for a kernel {tuple(weight.shape[2:])} is not equal on both sides")
    return tuple(span // 2 for span in spans)


def _sliding(
    call: Call,
    kind: str,
    x: Top,
    weight: Tensor,
    bias: Tensor | None,
    outputs: int,
    stride: Sizes,
    padding: Sizes,
    dilation: Sizes,
    groups: int,
) -> Top:
    axes = weight.ndim - 2
    if len(x.shape) != axes + 2:
        call.refuse(f"its input is {x.shape}; Caffe needs a batch axis, too")
    p: dict[str, int | list[int]] = {"num_output": outputs, **spatial("kernel_size", tuple(weight.shape[2:]))}
    p |= spatial("stride", axis_sizes(stride, axes), 1) | spatial("pad", axis_sizes(padding, axes), 0)
    p |= spatial("dilation", axis_sizes(dilation, axes), 1)
    p |= {"group": groups, "bias_term": bias is not None}
    return call.layer(kind, x, blobs=(weight, bias), convolution_param=p)
