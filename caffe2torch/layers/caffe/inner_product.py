"""InnerProduct (inner_product_layer.cpp)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from caffe2torch._torch import torch
from caffe2torch.blob import Array
from caffe2torch.layers.axes import canonical, product
from caffe2torch.layers.converter import BlobSpec, Converter, Shape
from caffe2torch.layers.geometry import View
from caffe2torch.layers.python_form import Place, PythonForm, call, operand, unless
from caffe2torch.layers.registry import converts
from caffe2torch.net import Layer

if TYPE_CHECKING:
    from torch import Tensor


@converts("InnerProduct")
class InnerProduct(Converter):
    """Fully connected over the axes from `axis` on; with `transpose`, the weight is (K, num_output)."""

    def __init__(self, layer: Layer, bottoms: tuple[Shape | None, ...]) -> None:
        super().__init__(layer, bottoms)
        self.p = layer.fields.inner_product_param
        if not self.p.num_output:
            raise self.refuse("num_output must be given and positive")

    def _axis(self, bottom: Shape) -> int:
        return canonical(self, bottom, self.p.axis)

    def blob_specs(self) -> tuple[BlobSpec, ...]:
        bottom = self.bottoms[0]
        inputs = None if bottom is None else product(bottom[self._axis(bottom) :])
        shape = (inputs, self.p.num_output) if self.p.transpose else (self.p.num_output, inputs)
        weight = BlobSpec("weight", shape, self.p.weight_filler)
        return (weight, BlobSpec("bias", (self.p.num_output,), self.p.bias_filler))[: 1 + self.p.bias_term]

    def top_shapes(self) -> tuple[Shape | None, ...]:
        bottom = self.bottoms[0]
        return (None if bottom is None else (*bottom[: self._axis(bottom)], self.p.num_output),)

    def look(self, view: View) -> View:
        return view.whole()

    def forward(self, *bottoms: Tensor, **blobs: Tensor) -> Tensor:
        weight = blobs["weight"].T if self.p.transpose else blobs["weight"]
        return torch.nn.functional.linear(bottoms[0].flatten(self.p.axis), weight, blobs.get("bias"))

    def python(self, place: Place) -> PythonForm:
        (x,), bottom, weight = place.bottoms, self.bottoms[0], place.shapes["weight"]
        sizes = weight if self.p.transpose else weight[::-1]
        if bottom is None or self._axis(bottom) != len(bottom) - 1:
            x = f"{operand(x)}.flatten({self.p.axis})"
        module = call("nn.Linear", *sizes, bias=unless("bias" in place.shapes, True))
        return PythonForm(f"{place.name}({x})", {"": module})

    def state(self, blobs: Mapping[str, Array]) -> Mapping[str, Array]:
        kept = {".weight": blobs["weight"].T if self.p.transpose else blobs["weight"]}
        return kept | ({".bias": blobs["bias"]} if "bias" in blobs else {})
