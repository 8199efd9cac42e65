"""Elementwise layers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from caffe2torch._torch import torch
from caffe2torch.blob import Array
from caffe2torch.layers.converter import BlobSpec, Converter, Shape
from caffe2torch.layers.nonfinite import is_recorded, relu
from caffe2torch.layers.python_form import Place, PythonForm, call, literal, operand
from caffe2torch.layers.registry import converts
from caffe2torch.net import Layer

if TYPE_CHECKING:
    from torch import Tensor


def rectified(x: str, slope: float) -> str:
    """A ReLU in Python, the leaky form if `slope` is not 0."""
    return f"F.leaky_relu({', '.join([x, *_given(slope, 0.01)])})" if slope else f"F.relu({x})"


def linear(x: str, scale: float, shift: float) -> str:
    """The expression `x`, times a scale, plus a shift, as short as possible."""
    y = x if scale == 1 else f"{operand(x)} * {literal(scale)}"
    if not shift:
        return y
    return f"{y} - {literal(-shift)}" if shift < 0 else f"{y} + {literal(shift)}"


def _given(value: float, default: float) -> list[str]:
    """The value in Python, or nothing if it is the default."""
    return [] if literal(value) == literal(default) else [literal(value)]


@converts("AbsVal")
class AbsVal(Converter):
    """|x|; its gradient at 0 is 0."""

    def forward(self, *bottoms: Tensor, **blobs: Tensor) -> Tensor:
        return bottoms[0].abs()

    def python(self, place: Place) -> PythonForm:
        return PythonForm(f"torch.abs({place.bottoms[0]})")


@converts("BNLL")
class BNLL(Converter):
    """log(1 + exp(x)), the binomial normal log likelihood."""

    def forward(self, *bottoms: Tensor, **blobs: Tensor) -> Tensor:
        return torch.nn.functional.softplus(bottoms[0], threshold=50)

    def python(self, place: Place) -> PythonForm:
        return PythonForm(f"F.softplus({place.bottoms[0]})")


@converts("Clip")
class Clip(Converter):
    """x clamped to between `min` and `max`, which have no defaults."""

    def __init__(self, layer: Layer, bottoms: tuple[Shape | None, ...]) -> None:
        super().__init__(layer, bottoms)
        self.p = layer.fields.clip_param
        if not (self.p.has("min") and self.p.has("max")):
            raise self.refuse("clip_param needs min and max")
        # max(min, min(x, max)) in C++ is min for NaN, and where max is smaller (clip_layer.cpp).
        self.bounds = self.p.min, max(self.p.min, self.p.max)

    def forward(self, *bottoms: Tensor, **blobs: Tensor) -> Tensor:
        y = bottoms[0].clamp(*self.bounds)
        return y if is_recorded(y) else y.nan_to_num_(self.p.min, math.inf, -math.inf)

    def python(self, place: Place) -> PythonForm:
        return PythonForm(f"torch.clamp({', '.join([*place.bottoms, *map(literal, self.bounds)])})")


@converts("Dropout")
class Dropout(Converter):
    """The identity in phase TEST; in phase TRAIN drops values and scales the rest by 1 / (1 - ratio).

    R-CNN's `scale_train: false` scales by 1 - ratio in phase TEST instead.
    """

    depends_on_phase = True
    fork_fields = frozenset({"dropout_param.scale_train"})

    def __init__(self, layer: Layer, bottoms: tuple[Shape | None, ...]) -> None:
        super().__init__(layer, bottoms)
        self.ratio = layer.fields.dropout_param.dropout_ratio
        if not 0 <= self.ratio < 1:
            raise self.refuse(f"dropout_ratio: {self.ratio} must be at least 0 and under 1")

    def forward(self, *bottoms: Tensor, training: bool = False, **blobs: Tensor) -> Tensor:
        y = torch.nn.functional.dropout(bottoms[0], self.ratio, training)
        return y if self.layer.fields.dropout_param.scale_train else y * (1 - self.ratio)

    def python(self, place: Place) -> PythonForm:
        if not self.layer.fields.dropout_param.scale_train:
            return super().python(place)
        ratio = () if self.ratio == 0.5 else (self.ratio,)
        return PythonForm.module(place, call("nn.Dropout", *ratio))


@converts("ELU")
class ELU(Converter):
    """x above 0, `alpha` (exp(x) - 1) below."""

    def forward(self, *bottoms: Tensor, **blobs: Tensor) -> Tensor:
        return torch.nn.functional.elu(bottoms[0], self.layer.fields.elu_param.alpha)

    def python(self, place: Place) -> PythonForm:
        alpha = self.layer.fields.elu_param.alpha
        return PythonForm(f"F.elu({', '.join([*place.bottoms, *_given(alpha, 1)])})")


class _Logarithmic(Converter):
    """What Exp and Log share: a base, where -1 stands for e."""

    def __init__(self, layer: Layer, bottoms: tuple[Shape | None, ...]) -> None:
        super().__init__(layer, bottoms)
        self.p = layer.fields.exp_param if layer.type == "Exp" else layer.fields.log_param
        if self.p.base != -1 and self.p.base <= 0:
            raise self.refuse(f"base: {self.p.base} must be positive, or -1 for e")
        self.log_base = 1.0 if self.p.base == -1 else math.log(self.p.base)


@converts("Exp")
class Exp(_Logarithmic):
    """`base` to the power of (`scale` x + `shift`); base -1 is e."""

    def forward(self, *bottoms: Tensor, **blobs: Tensor) -> Tensor:
        # Two factors, as in Caffe (exp_layer.cpp): a large shift overflows where Caffe's does.
        outer = math.exp(self.log_base * self.p.shift)
        y: Tensor = (bottoms[0] * (self.log_base * self.p.scale)).exp() * outer
        return y

    def python(self, place: Place) -> PythonForm:
        power = linear(place.bottoms[0], self.log_base * self.p.scale, 0)
        return PythonForm(linear(f"torch.exp({power})", math.exp(self.log_base * self.p.shift), 0))


@converts("Log")
class Log(_Logarithmic):
    """The logarithm of (`scale` x + `shift`) to `base`; base -1 is e."""

    def __init__(self, layer: Layer, bottoms: tuple[Shape | None, ...]) -> None:
        super().__init__(layer, bottoms)
        if not self.log_base:
            raise self.refuse("base: 1 has no logarithm")

    def forward(self, *bottoms: Tensor, **blobs: Tensor) -> Tensor:
        y: Tensor = (bottoms[0] * self.p.scale + self.p.shift).log() / self.log_base
        return y

    def python(self, place: Place) -> PythonForm:
        logarithm = f"torch.log({linear(place.bottoms[0], self.p.scale, self.p.shift)})"
        return PythonForm(logarithm if self.log_base == 1 else f"{logarithm} / {literal(self.log_base)}")


@converts("Power")
class Power(Converter):
    """(`scale` x + `shift`) to the power of `power`.

    Where Caffe's gradient is 0 / 0, at 0 without a shift, this one is the derivative.
    """

    def forward(self, *bottoms: Tensor, **blobs: Tensor) -> Tensor:
        (x,), p = bottoms, self.layer.fields.power_param
        # A constant ignores its bottom, even NaN (power_layer.cpp).
        y = x * p.scale + p.shift if p.scale else torch.full_like(x, p.shift)
        if abs(p.power) == 0.5 and not is_recorded(y):
            y = y.masked_fill(y == -math.inf, math.inf)  # torch takes roots, which -inf has not
        return y if p.power == 1 else y**p.power

    def python(self, place: Place) -> PythonForm:
        (x,), p = place.bottoms, self.layer.fields.power_param
        constant = f"torch.full_like({x}, {literal(p.shift)})"
        y = linear(x, p.scale, p.shift) if p.scale else constant
        return PythonForm(y if p.power == 1 else f"{operand(y)} ** {literal(p.power)}")


@converts("PReLU")
class PReLU(Converter):
    """x above 0, a learned slope times x below: one per channel, or with `channel_shared` one for all."""

    def __init__(self, layer: Layer, bottoms: tuple[Shape | None, ...]) -> None:
        super().__init__(layer, bottoms)
        self.p = layer.fields.prelu_param
        if bottoms[0] is not None and len(bottoms[0]) < 2:
            raise self.refuse(f"its bottom has {len(bottoms[0])} axes; channels are on axis 1")

    def blob_specs(self) -> tuple[BlobSpec, ...]:
        bottom, p = self.bottoms[0], self.p
        filler = p.filler if p.has("filler") else p.filler.replace(type="constant", value=0.25)
        channels = None if bottom is None else bottom[1]
        return (BlobSpec("weight", () if p.channel_shared else (channels,), filler),)

    def forward(self, *bottoms: Tensor, **blobs: Tensor) -> Tensor:
        return torch.nn.functional.prelu(bottoms[0], blobs["weight"].reshape(-1))

    def python(self, place: Place) -> PythonForm:
        return PythonForm.module(place, call("nn.PReLU", *place.shapes["weight"]))

    def state(self, blobs: Mapping[str, Array]) -> Mapping[str, Array]:
        return {".weight": blobs["weight"].reshape(-1)}


@converts("ReLU")
class ReLU(Converter):
    """max(x, 0), with `negative_slope` the leaky form."""

    def forward(self, *bottoms: Tensor, **blobs: Tensor) -> Tensor:
        slope = self.layer.fields.relu_param.negative_slope
        return torch.nn.functional.leaky_relu(bottoms[0], slope) if slope else relu(bottoms[0])

    def python(self, place: Place) -> PythonForm:
        return PythonForm(rectified(place.bottoms[0], self.layer.fields.relu_param.negative_slope))


@converts("Sigmoid")
class Sigmoid(Converter):
    """1 / (1 + exp(-x))."""

    def forward(self, *bottoms: Tensor, **blobs: Tensor) -> Tensor:
        return bottoms[0].sigmoid()

    def python(self, place: Place) -> PythonForm:
        return PythonForm(f"torch.sigmoid({place.bottoms[0]})")


@converts("Swish")
class Swish(Converter):
    """x times the sigmoid of `beta` x."""

    def forward(self, *bottoms: Tensor, **blobs: Tensor) -> Tensor:
        (x,) = bottoms
        gate: Tensor = (x * self.layer.fields.swish_param.beta).sigmoid()
        return x * gate

    def python(self, place: Place) -> PythonForm:
        (x,), beta = place.bottoms, self.layer.fields.swish_param.beta
        y = f"F.silu({x})" if beta == 1 else f"{operand(x)} * torch.sigmoid({linear(x, beta, 0)})"
        return PythonForm(y)


@converts("TanH")
class TanH(Converter):
    """The hyperbolic tangent."""

    def forward(self, *bottoms: Tensor, **blobs: Tensor) -> Tensor:
        return bottoms[0].tanh()

    def python(self, place: Place) -> PythonForm:
        return PythonForm(f"torch.tanh({place.bottoms[0]})")


@converts("Threshold")
class Threshold(Converter):
    """1 where x is above `threshold`, else 0; no gradient passes."""

    no_gradient = frozenset({0})

    def forward(self, *bottoms: Tensor, **blobs: Tensor) -> Tensor:
        (x,) = bottoms
        y: Tensor = (x > self.layer.fields.threshold_param.threshold).to(x.dtype)
        return y

    def python(self, place: Place) -> PythonForm:
        threshold = literal(self.layer.fields.threshold_param.threshold)
        return PythonForm(f"({operand(place.bottoms[0])} > {threshold}).float()")
