"""Where values come from: Input, the data layers that an Input takes the place of (phase.py), Parameter."""

from __future__ import annotations

from typing import TYPE_CHECKING

from caffe2torch.net import Layer
from caffe2torch.registry import BlobSpec, Converter, Shape, converts

if TYPE_CHECKING:
    from torch import Tensor


@converts("Input")
class Input(Converter):
    """An input of the net. Its shape tells channels; the net runs at any size."""

    def top_shapes(self) -> tuple[Shape | None, ...]:
        given = tuple(tuple(shape.dim) for shape in self.layer.fields.input_param.shape)
        tops = len(self.layer.tops)
        if len(given) not in (0, 1, tops):
            raise self.refuse(f"{len(given)} shapes for {tops} tops; give one, or one each")
        return given if len(given) == tops else (given or (None,)) * tops


@converts("Data", "DummyData", "HDF5Data", "ImageData", "MemoryData", "WindowData")
class Data(Converter):
    """A source of data: its tops become inputs of the net. The fillers of a DummyData are not run."""

    is_data = True

    def __init__(self, layer: Layer, bottoms: tuple[Shape | None, ...]) -> None:
        super().__init__(layer, bottoms)
        raise self.refuse("a source of data takes no bottoms")


@converts("Parameter")
class Parameter(Converter):
    """A learned blob of its own `shape` as a top."""

    def __init__(self, layer: Layer, bottoms: tuple[Shape | None, ...]) -> None:
        super().__init__(layer, bottoms)
        self.shape: Shape = tuple(layer.fields.parameter_param.shape.dim)

    def blob_specs(self) -> tuple[BlobSpec, ...]:
        return (BlobSpec("weight", self.shape),)

    def top_shapes(self) -> tuple[Shape | None, ...]:
        return (self.shape,)

    def forward(self, *bottoms: Tensor, **blobs: Tensor) -> Tensor:
        weight: Tensor = blobs["weight"]
        return weight
