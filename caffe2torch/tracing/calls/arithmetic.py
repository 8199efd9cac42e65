"""Sums, products and maxima: of two tensors, and of a tensor and a constant."""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch import Tensor

from caffe2torch.tracing.calls import says
from caffe2torch.tracing.drawing import Call, Top

Operand = Top | Tensor | float


@says(operator.add, operator.iadd, torch.add, "add", "add_")
def add(call: Call, x: Operand, other: Operand, *, alpha: float = 1) -> Top:
    """Eltwise SUM; Bias or Power with a constant."""
    if isinstance(x, Top):
        return _summed(call, x, other if isinstance(other, Top) else other * alpha, alpha)
    if alpha == 1:
        return _summed(call, other, x, 1)
    if (value := _number(x)) is not None and isinstance(other, Top):
        return call.layer("Power", other, power_param={"scale": alpha, "shift": value})
    return _summed(call, _scaled(call, other, alpha), x, 1)


@says(operator.sub, operator.isub, torch.sub, "sub", "sub_")
def subtract(call: Call, x: Operand, other: Operand, *, alpha: float = 1) -> Top:
    """Eltwise SUM with coefficients 1 and -1; Bias or Power with a constant."""
    return add(call, x, other, alpha=-alpha)


@says(torch.rsub)
def subtract_from(call: Call, x: Operand, other: Operand) -> Top:
    """The operands the other way round."""
    return subtract(call, other, x)


@says(operator.mul, operator.imul, torch.mul, "mul", "mul_")
def multiply(call: Call, x: Operand, other: Operand) -> Top:
    """Eltwise PROD; Scale or Power with a constant."""
    if not isinstance(x, Top):
        x, other = other, x
    assert isinstance(x, Top)  # noqa: S101 (a call without a tensor of the net is a constant)
    if not isinstance(other, Top):
        return _scaled(call, x, other)
    if x.shape == other.shape:
        return call.layer("Eltwise", x, other, eltwise_param={"operation": "PROD"})
    return _per_channel(call, "Scale", *_larger_first(x, other))


@says(operator.truediv, operator.itruediv, torch.div, torch.true_divide, "div", "div_")
def divide(call: Call, x: Operand, other: Operand) -> Top:
    """By a constant: Scale or Power. Of a constant: Power -1."""
    if isinstance(x, Top) and not isinstance(other, Top):
        return _scaled(call, x, 1 / other)
    value = _number(x)
    if value is None or not isinstance(other, Top):
        call.refuse("Caffe cannot divide one tensor by another")
    inverse = call.layer("Power", other, power_param={"power": -1})
    return inverse if value == 1 else _scaled(call, inverse, value)


@says(operator.neg, torch.neg, "neg")
def negative(call: Call, x: Top) -> Top:
    """Power with scale -1."""
    return _scaled(call, x, -1)


@says(operator.pow, torch.pow, "pow")
def power(call: Call, x: Operand, exponent: Operand) -> Top:
    """Power."""
    value = _number(exponent)
    if value is None or not isinstance(x, Top):
        call.refuse("Caffe's Power raises a tensor to a constant power")
    return call.layer("Power", x, power_param={"power": value})


@says(torch.sqrt, "sqrt")
def square_root(call: Call, x: Top) -> Top:
    """Power 0.5."""
    return power(call, x, 0.5)


@says(torch.maximum, torch.max, "maximum", "max")
def maximum(call: Call, x: Operand, *others: Operand, **how: Operand) -> Top:
    """Eltwise MAX of two tensors."""
    other = others[0] if len(others) == 1 else how.pop("other", None)
    if not isinstance(x, Top) or not isinstance(other, Top) or how or x.shape != other.shape:
        call.refuse("Caffe's Eltwise takes the maximum of two tensors of the same shape")
    return call.layer("Eltwise", x, other, eltwise_param={"operation": "MAX"})


def _summed(call: Call, x: Operand, other: Operand, alpha: float) -> Top:
    """The sum x + alpha * other of tensors, or x + other with a constant."""
    assert isinstance(x, Top)  # noqa: S101 (see multiply)
    if not isinstance(other, Top):
        return _with_constant(call, "Bias", x, other)
    if x.shape == other.shape:
        coeff = [] if alpha == 1 else [1, alpha]
        return call.layer("Eltwise", x, other, eltwise_param={"operation": "SUM", "coeff": coeff})
    if alpha != 1:
        other = _scaled(call, other, alpha)
    return _per_channel(call, "Bias", *_larger_first(x, other))


def _scaled(call: Call, x: Operand, factor: Tensor | float) -> Top:
    assert isinstance(x, Top)  # noqa: S101 (see multiply)
    return _with_constant(call, "Scale", x, factor)


def _with_constant(call: Call, kind: str, x: Top, constant: Tensor | float) -> Top:
    """The product (Scale) or sum (Bias) of x and a constant; a Power where that is one number."""
    if isinstance(constant, Tensor) and constant.numel() != 1:
        return _with_blob(call, kind, x, constant)
    return call.layer("Power", x, power_param={"scale" if kind == "Scale" else "shift": float(constant)})


def _number(operand: Operand) -> float | None:
    """The value of a constant that is a single number, else None."""
    if isinstance(operand, Tensor) and operand.numel() == 1:
        return float(operand)
    return float(operand) if isinstance(operand, (int, float)) else None


def _with_blob(call: Call, kind: str, x: Top, constant: Tensor) -> Top:
    """A Scale or Bias whose blob is a constant that broadcasts to x, without its axes of size 1."""
    shape = tuple(constant.shape)
    after = len(shape) - len(_stripped(shape[::-1]))  # how many trailing axes have size 1
    core = _stripped(shape[: len(shape) - after])
    axis = len(x.shape) - after - len(core)
    if axis < 1 or core != x.shape[axis : axis + len(core)]:
        call.refuse(f"a constant {shape} on {x.shape}; Caffe's spans consecutive axes, and not the batch")
    fields: dict[str, Any] = {f"{kind.lower()}_param": {"axis": axis, "num_axes": len(core)}}
    return call.layer(kind, x, blobs=[constant.reshape(core)], **fields)


def _stripped(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape without its leading ones."""
    return next((shape[i:] for i, size in enumerate(shape) if size != 1), ())


def _larger_first(x: Top, y: Top) -> tuple[Top, Top]:
    smaller = len(x.shape) == 4 and x.shape[2:] == (1, 1)
    return (y, x) if smaller else (x, y)


def _per_channel(call: Call, kind: str, x: Top, other: Top) -> Top:
    """A Scale or Bias by a tensor (N, C, 1, 1), which Caffe wants as (N, C)."""
    if len(x.shape) != 4 or other.shape != (*x.shape[:2], 1, 1):
        call.refuse(f"{x.shape} and {other.shape}: Caffe broadcasts only (N, C, 1, 1)")
    flat = call.layer("Flatten", other, suffix=".flat")
    fields: dict[str, Any] = {f"{kind.lower()}_param": {"axis": 0}}
    return call.layer(kind, x, flat, **fields)
