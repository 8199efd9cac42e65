"""Reduction (reduction_layer.cpp)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from caffe2torch.layers.axes import canonical
from caffe2torch.layers.converter import Converter, Shape
from caffe2torch.layers.geometry import View
from caffe2torch.layers.python_form import Place, PythonForm, literal, operand
from caffe2torch.layers.registry import converts
from caffe2torch.net import Layer

if TYPE_CHECKING:
    from torch import Tensor


@converts("Reduction")
class Reduction(Converter):
    """SUM, ASUM, SUMSQ or MEAN over `axis` and all axes after it, times `coeff`."""

    def __init__(self, layer: Layer, bottoms: tuple[Shape | None, ...]) -> None:
        super().__init__(layer, bottoms)
        self.p = layer.fields.reduction_param
        if bottoms[0] is not None:
            canonical(self, bottoms[0], self.p.axis)

    def top_shapes(self) -> tuple[Shape | None, ...]:
        bottom = self.bottoms[0]
        return (None if bottom is None else bottom[: canonical(self, bottom, self.p.axis)],)

    def look(self, view: View) -> View | None:
        return None

    def forward(self, *bottoms: Tensor, **blobs: Tensor) -> Tensor:
        x = bottoms[0].flatten(self.p.axis)
        if self.p.operation == "ASUM":
            x = x.abs()
        elif self.p.operation == "SUMSQ":
            x = x.square()
        y: Tensor = (x.mean(-1) if self.p.operation == "MEAN" else x.sum(-1)) * self.p.coeff
        return y

    def python(self, place: Place) -> PythonForm:
        first = {"ASUM": ".abs()", "SUMSQ": ".square()"}.get(self.p.operation, "")
        last = "mean" if self.p.operation == "MEAN" else "sum"
        y = f"{operand(place.bottoms[0])}.flatten({self.p.axis}){first}.{last}(-1)"
        return PythonForm(y if self.p.coeff == 1 else f"{y} * {literal(self.p.coeff)}")
