"""Sums, products and maxima of bottoms."""

from __future__ import annotations

from typing import TYPE_CHECKING

from caffe2torch._torch import torch
from caffe2torch.layers.converter import Converter, Shape
from caffe2torch.layers.python_form import Place, PythonForm, literal, operand
from caffe2torch.layers.registry import converts
from caffe2torch.net import Layer

if TYPE_CHECKING:
    from torch import Tensor


def _term(x: str, coeff: float) -> str:
    """A bottom times its coefficient in Python."""
    if coeff in (1, -1):
        return operand(x) if coeff == 1 else f"-{operand(x)}"
    return f"{literal(coeff)} * {operand(x)}"


@converts("Eltwise")
class Eltwise(Converter):
    """SUM with `coeff`, PROD and MAX of two or more bottoms of one shape; as in FlowNet, also SUM of one."""

    bottom_count = (1, None)

    def __init__(self, layer: Layer, bottoms: tuple[Shape | None, ...]) -> None:
        super().__init__(layer, bottoms)
        p = self.p = layer.fields.eltwise_param
        if len(bottoms) < 2 and p.operation != "SUM":
            raise self.refuse(f"operation: {p.operation} needs two or more bottoms")
        if p.coeff and p.operation == "PROD":
            raise self.refuse("coeff cannot be combined with operation: PROD")
        if p.coeff and len(p.coeff) != len(bottoms):
            raise self.refuse(f"{len(p.coeff)} coeff for {len(bottoms)} bottoms")
        for bottom in bottoms[1:]:
            if bottom is not None and bottoms[0] is not None and not agree(bottom, bottoms[0]):
                raise self.refuse(f"its bottoms {bottoms[0]} and {bottom} differ")

    def forward(self, *bottoms: Tensor, **blobs: Tensor) -> Tensor:
        # Broadcasting would hide what Caffe refuses.
        if any(bottom.shape != bottoms[0].shape for bottom in bottoms):
            raise self.refuse(f"its bottoms differ: {', '.join(str(tuple(b.shape)) for b in bottoms)}")
        # Caffe also accepts coeff with MAX, and ignores it (eltwise_layer.cpp).
        coeff = self.p.coeff if self.p.operation == "SUM" else ()
        y = bottoms[0] * coeff[0] if coeff else bottoms[0]
        for position, x in enumerate(bottoms[1:], start=1):
            if self.p.operation == "PROD":
                y = y * x
            elif self.p.operation == "MAX":
                # In a tie Caffe takes the second bottom, then keeps it; the whole gradient goes there.
                y = torch.where(y > x, y, x) if position == 1 else torch.where(x > y, x, y)
            else:
                y = y + (x * coeff[position] if coeff else x)
        return y

    def python(self, place: Place) -> PythonForm:
        if self.p.operation == "PROD":
            return PythonForm(" * ".join(map(operand, place.bottoms)))
        if self.p.operation == "MAX":
            first, *others = place.bottoms
            for other in others:
                first = f"torch.maximum({first}, {other})"
            return PythonForm(first)
        terms = [
            _term(bottom, coeff)
            for bottom, coeff in zip(place.bottoms, self.p.coeff or (1,) * len(place.bottoms), strict=True)
        ]
        return PythonForm(" + ".join(terms).replace("+ -", "- "))


def agree(a: Shape, b: Shape) -> bool:
    """Whether two shapes can be equal, as far as they are known."""
    return len(a) == len(b) and all(None in (x, y) or x == y for x, y in zip(a, b, strict=True))
