"""Layers that pick items: BatchReindex, Filter, Embed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from caffe2torch._torch import torch
from caffe2torch.blob import Array
from caffe2torch.layers.converter import BlobSpec, Converter, Shape
from caffe2torch.layers.geometry import View
from caffe2torch.layers.python_form import Place, PythonForm, call, operand
from caffe2torch.layers.registry import converts
from caffe2torch.net import Layer

if TYPE_CHECKING:
    from torch import Tensor


@converts("BatchReindex")
class BatchReindex(Converter):
    """The items of the first bottom at the indices in the second."""

    bottom_count = (2, 2)
    no_gradient = frozenset({1})
    shape_only = frozenset({1})

    def top_shapes(self) -> tuple[Shape | None, ...]:
        bottom, index = self.bottoms
        return (None if bottom is None else ((index or (None,))[0], *bottom[1:]),)

    def forward(self, *bottoms: Tensor, **blobs: Tensor) -> Tensor:
        x, index = bottoms
        return x.index_select(0, index.reshape(-1).long())

    def python(self, place: Place) -> PythonForm:
        x, index = map(operand, place.bottoms)
        return PythonForm(f"{x}[{index}.flatten().long()]")


@converts("Filter")
class Filter(Converter):
    """The items of each bottom for which the last bottom is not 0."""

    bottom_count = (2, None)
    top_count = (1, None)

    def __init__(self, layer: Layer, bottoms: tuple[Shape | None, ...]) -> None:
        super().__init__(layer, bottoms)
        if len(bottoms) != len(layer.tops) + 1:
            raise self.refuse(
                f"{len(layer.tops)} tops need as many bottoms and a selector, it has {len(bottoms)} bottoms"
            )

    def top_shapes(self) -> tuple[Shape | None, ...]:
        return tuple(None if bottom is None else (None, *bottom[1:]) for bottom in self.bottoms[:-1])

    def forward(self, *bottoms: Tensor, **blobs: Tensor) -> tuple[Tensor, ...]:
        *items, selector = bottoms
        if any(selector.numel() != x.shape[0] for x in items):
            raise self.refuse(f"its selector {tuple(selector.shape)} needs one value per item")
        return tuple(x[selector.reshape(-1) != 0] for x in items)

    def python(self, place: Place) -> PythonForm:
        *items, selector = map(operand, place.bottoms)
        return PythonForm(", ".join(f"{x}[{selector}.flatten() != 0]" for x in items))


@converts("Embed")
class Embed(Converter):
    """A learned row of `num_output` values for each number from 0 to `input_dim` - 1."""

    no_gradient = frozenset({0})

    def __init__(self, layer: Layer, bottoms: tuple[Shape | None, ...]) -> None:
        super().__init__(layer, bottoms)
        self.p = layer.fields.embed_param
        if not (self.p.num_output and self.p.input_dim):
            raise self.refuse("num_output and input_dim must be given and positive")

    def blob_specs(self) -> tuple[BlobSpec, ...]:
        weight = BlobSpec("weight", (self.p.input_dim, self.p.num_output), self.p.weight_filler)
        bias = BlobSpec("bias", (self.p.num_output,), self.p.bias_filler)
        return (weight, bias) if self.p.bias_term else (weight,)

    def top_shapes(self) -> tuple[Shape | None, ...]:
        bottom = self.bottoms[0]
        return (None if bottom is None else (*bottom, self.p.num_output),)

    def look(self, view: View) -> View | None:
        return None

    def forward(self, *bottoms: Tensor, **blobs: Tensor) -> Tensor:
        y = torch.nn.functional.embedding(bottoms[0].long(), blobs["weight"])
        return y + blobs["bias"] if self.p.bias_term else y

    def python(self, place: Place) -> PythonForm:
        y = f"{place.name}({operand(place.bottoms[0])}.long())"
        attributes = {"": call("nn.Embedding", self.p.input_dim, self.p.num_output)}
        if not self.p.bias_term:
            return PythonForm(y, attributes)
        bias = f"nn.Parameter({call('torch.empty', self.p.num_output)})"
        return PythonForm(f"{y} + {place.name}_bias", {**attributes, "_bias": bias})

    def state(self, blobs: Mapping[str, Array]) -> Mapping[str, Array]:
        names = {"weight": ".weight", "bias": "_bias"}
        return {names[name]: values for name, values in blobs.items()}
