"""Scale and Bias: a learned blob, or a second bottom, along some axes (scale_layer.cpp, bias_layer.cpp)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from caffe2torch.blob import Array
from caffe2torch.layers.axes import canonical
from caffe2torch.layers.converter import BlobSpec, Converter, Shape
from caffe2torch.layers.python_form import Place, PythonForm, call, operand
from caffe2torch.layers.registry import converts
from caffe2torch.net import Layer
from caffe2torch.net.fields import Fields

if TYPE_CHECKING:
    from torch import Tensor


class _Along(Converter):
    """An operand along `num_axes` axes from `axis` on: a learned blob, or else the second bottom."""

    bottom_count = (1, 2)
    p: Fields

    def __init__(self, layer: Layer, bottoms: tuple[Shape | None, ...]) -> None:
        super().__init__(layer, bottoms)
        self.learned = len(bottoms) == 1

    @property
    def is_affine(self) -> bool:
        bottom = self.bottoms[0]
        return bottom is not None and self.learned and self.p.num_axes == 1 and self.p.axis % len(bottom) == 1

    def shape(self) -> Shape:
        """The shape of the operand."""
        if not self.learned and self.bottoms[1] is not None:
            return self.bottoms[1]
        bottom = self.bottoms[0]
        if bottom is None:
            return tuple(self.layer.blobs[0].shape) if self.layer.blobs else (None,)
        start = canonical(self, bottom, self.p.axis)
        end = len(bottom) if self.p.num_axes == -1 else start + self.p.num_axes
        if not start <= end <= len(bottom):
            raise self.refuse(
                f"axis: {self.p.axis} and num_axes: {self.p.num_axes} reach outside its bottom {bottom}"
            )
        return bottom[start:end]

    def spread(self, operand: Tensor, x: Tensor) -> Tensor:
        """The operand, with the trailing axes that broadcasting needs."""
        axis = 0 if operand.ndim == 0 else self.p.axis % x.ndim
        if tuple(operand.shape) != tuple(x.shape[axis : axis + operand.ndim]):
            raise self.refuse(
                f"its operand {tuple(operand.shape)} does not match {tuple(x.shape)} from axis {axis}"
            )
        return operand.reshape(*operand.shape, *(1,) * (x.ndim - axis - operand.ndim))

    def operand(self, place: Place) -> str:
        """The second bottom in Python, with the trailing axes that broadcasting needs."""
        bottom, other = self.bottoms
        if bottom is None or other is None:
            raise self.no_python_form("bottoms of unknown shape")
        after = len(bottom) - canonical(self, bottom, self.p.axis) - len(other) if other else 0
        return f"{place.bottoms[1]}[..., {', '.join(['None'] * after)}]" if after else place.bottoms[1]

    def parameter(self, place: Place, name: str) -> str:
        """A learned operand in Python."""
        return f"nn.Parameter({call('torch.empty', *self._kept(place.shapes[name]))})"

    def _kept(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """A learned operand's shape, with the trailing axes that broadcasting needs."""
        bottom = self.bottoms[0]
        if bottom is None:
            raise self.no_python_form("a bottom of unknown shape")
        return (*shape, *(1,) * (len(bottom) - canonical(self, bottom, self.p.axis) - len(shape)))


@converts("Bias")
class Bias(_Along):
    """Adds a learned blob along `num_axes` axes from `axis` on (-1: to the last), or a bottom."""

    def __init__(self, layer: Layer, bottoms: tuple[Shape | None, ...]) -> None:
        super().__init__(layer, bottoms)
        self.p = layer.fields.bias_param

    def blob_specs(self) -> tuple[BlobSpec, ...]:
        return (BlobSpec("bias", self.shape(), self.p.filler),) if self.learned else ()

    def forward(self, *bottoms: Tensor, **blobs: Tensor) -> Tensor:
        return bottoms[0] + self.spread(blobs["bias"] if self.learned else bottoms[1], bottoms[0])

    def python(self, place: Place) -> PythonForm:
        x = operand(place.bottoms[0])
        if not self.learned:
            return PythonForm(f"{x} + {self.operand(place)}")
        return PythonForm(f"{x} + {place.name}", {"": self.parameter(place, "bias")})

    def state(self, blobs: Mapping[str, Array]) -> Mapping[str, Array]:
        return {"": blobs["bias"].reshape(self._kept(blobs["bias"].shape))} if blobs else {}


@converts("Scale")
class Scale(_Along):
    """Multiplies by a learned blob along `num_axes` axes from `axis` on (-1: to the last), or by a bottom.

    `bias_term` adds a learned blob of the same shape.
    """

    def __init__(self, layer: Layer, bottoms: tuple[Shape | None, ...]) -> None:
        super().__init__(layer, bottoms)
        self.p = layer.fields.scale_param

    def blob_specs(self) -> tuple[BlobSpec, ...]:
        p = self.p
        filler = p.filler if p.has("filler") else p.filler.replace(type="constant", value=1.0)
        weight = (BlobSpec("weight", self.shape(), filler),) if self.learned else ()
        return (*weight, BlobSpec("bias", self.shape(), p.bias_filler)) if p.bias_term else weight

    def forward(self, *bottoms: Tensor, **blobs: Tensor) -> Tensor:
        x = bottoms[0]
        y = x * self.spread(blobs["weight"] if self.learned else bottoms[1], x)
        return y + self.spread(blobs["bias"], x) if self.p.bias_term else y

    def python(self, place: Place) -> PythonForm:
        factor = place.name if self.learned else self.operand(place)
        attributes = {"": self.parameter(place, "weight")} if self.learned else {}
        y = f"{operand(place.bottoms[0])} * {factor}"
        if self.p.bias_term:
            y += f" + {place.name}_bias"
            attributes["_bias"] = self.parameter(place, "bias")
        return PythonForm(y, attributes)

    def state(self, blobs: Mapping[str, Array]) -> Mapping[str, Array]:
        names = {"weight": "", "bias": "_bias"}
        return {names[name]: values.reshape(self._kept(values.shape)) for name, values in blobs.items()}
