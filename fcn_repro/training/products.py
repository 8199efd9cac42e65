"""Convolutions whose kernels are larger than what they slide over, as matrix products.

VGG-16's fc6 has 4096 outputs of 512 x 7 x 7 weights, and at 375 x 500 only 12 x 16 places to slide to. A
convolution there is mostly spent on laying these 411 MB out anew, for the scores, for the gradient of the
image and for that of the weights. A product takes the weights, and gives their gradient, as they lie.

The gradient of such weights is as large as they are, so it is made last, when the features are freed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fcn_repro.training.freed import give_back

_OUTPUTS_PER_PLACE = 4
"""From how many output channels for each place of the output on a product is used."""
_Work = list[tuple[Tensor, Tensor]]
_BLOCK = 1 << 22
"""About how many weights are rounded to bfloat16 at a time: their copy then stays in the cache."""


@contextmanager
def multiplied(model: nn.Module) -> Iterator[None]:
    """Inside, these convolutions of a model on a CPU are products: the same numbers up to rounding."""
    late: dict[nn.Conv2d, _Late] = {}
    with ExitStack() as after:
        layers = [x for x in model.modules() if isinstance(x, nn.Conv2d) and _is_plain(x)]
        for layer in layers:
            layer.forward = partial(_forward, layer, late)  # type: ignore[method-assign]
            after.callback(delattr, layer, "forward")
        hook = model.register_forward_pre_hook(lambda *_: late.update((x, _Late(x.weight)) for x in layers))
        after.callback(hook.remove)
        yield


def is_multiplied(layer: nn.Module) -> bool:
    """Whether a layer computes products inside `multiplied`, for which its weights should lie as in Caffe."""
    return "forward" in vars(layer)


def _is_plain(layer: nn.Conv2d) -> bool:
    """Whether each place of the output has pixels of its own, none of them padded, and is worth asking."""
    once = layer.stride == layer.dilation == (1, 1) and layer.padding == (0, 0) and layer.groups == 1
    return (
        layer.weight.device.type == "cpu"
        and once
        and layer.padding_mode == "zeros"
        and layer.out_channels > _OUTPUTS_PER_PLACE
    )


class _Late:
    """Weights whose gradient is computed after all others of the forward pass that now begins."""

    def __init__(self, weight: Tensor) -> None:
        self.work: _Work = []
        """What backward has found of a product so far: its columns, and the gradient of its output."""
        apply: Callable[[Tensor, _Work], Tensor] = _GivenOn.apply
        self.weight = apply(weight, self.work)


class _GivenOn(torch.autograd.Function):
    """Weights as they are. Autograd comes to what was made first last, so to this after the features."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, work: _Work) -> Tensor:
        ctx.save_for_backward(weight)
        ctx.work = work
        return weight.view_as(weight)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        """The gradient comes as what it is made of."""
        give_back()
        return _of_weight(*ctx.saved_tensors, *ctx.work.pop()), None


def _forward(layer: nn.Conv2d, late: dict[nn.Conv2d, _Late], bottom: Tensor) -> Tensor:
    """The layer's output (N, O, h, w)."""
    height, width = (
        size - kernel + 1 for size, kernel in zip(bottom.shape[2:], layer.kernel_size, strict=True)
    )
    places = len(bottom) * height * width
    if min(height, width) < 1 or layer.out_channels < _OUTPUTS_PER_PLACE * places:
        return F.conv2d(bottom, layer.weight, layer.bias)
    dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else bottom.dtype
    columns = F.unfold(bottom.to(dtype), layer.kernel_size)  # (N, C * k * k, h * w)
    columns = columns.transpose(0, 1).flatten(1)
    apply: Callable[[Tensor, Tensor | None, Tensor, _Work], Tensor] = _Product.apply
    own = late.pop(layer, None) or _Late(layer.weight)
    top = apply(own.weight, layer.bias, columns, own.work)  # (O, N * h * w)
    return top.view(-1, len(bottom), height, width).transpose(0, 1)


class _Product(torch.autograd.Function):
    """Weights (O, C, k, k) times columns (C * k * k, P), plus a bias (O,) or None: (O, P).

    What the gradient of the weights is made of goes into `work`.
    Weights of another type than the columns are rounded to theirs, block by block, and their gradient is
    computed so, too; but it is kept in the weights' type.
    """

    @staticmethod
    def forward(ctx: Any, weight: Tensor, bias: Tensor | None, columns: Tensor, work: _Work) -> Tensor:
        ctx.save_for_backward(weight, columns)
        ctx.work = work
        top = columns.new_empty(len(weight), columns.shape[1])
        for rows in _blocks(weight):
            block = _rounded(weight, rows, columns)
            if bias is None:
                torch.mm(block, columns, out=top[rows])
            else:
                torch.addmm(bias[rows, None].to(columns.dtype), block, columns, out=top[rows])
        return top

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = gradients
        weight, columns = ctx.saved_tensors
        of_weight, of_bias, of_columns, _ = ctx.needs_input_grad
        if of_weight:
            ctx.work.append((columns, gradient))
        return (
            weight.new_zeros(()).expand_as(weight) if of_weight else None,  # in place of what _GivenOn makes
            gradient.sum(1, dtype=weight.dtype) if of_bias else None,
            _of_columns(weight, columns, gradient) if of_columns else None,
            None,
        )


def _of_weight(weight: Tensor, columns: Tensor, gradient: Tensor) -> Tensor:
    found = torch.empty_like(weight, memory_format=torch.contiguous_format)
    flat, by_place = found.flatten(1), columns.t()
    for rows in _blocks(weight):
        if weight.dtype == columns.dtype:
            torch.mm(gradient[rows], by_place, out=flat[rows])
        else:
            flat[rows] = gradient[rows] @ by_place
    return found


def _of_columns(weight: Tensor, columns: Tensor, gradient: Tensor) -> Tensor:
    found = torch.zeros_like(columns, dtype=weight.dtype)
    for rows in _blocks(weight):
        found += _rounded(weight, rows, columns).t() @ gradient[rows]
    return found.to(columns.dtype)


def _blocks(weight: Tensor) -> Iterator[slice]:
    """Rows of the weights, some at a time."""
    step = max(1, _BLOCK // weight[0].numel())
    return (slice(start, start + step) for start in range(0, len(weight), step))


def _rounded(weight: Tensor, rows: slice, columns: Tensor) -> Tensor:
    return weight[rows].flatten(1).to(columns.dtype)
