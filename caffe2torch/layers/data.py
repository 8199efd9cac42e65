"""Input, and the data layers that an Input takes the place of (phase.py)."""

from __future__ import annotations

from caffe2torch.net import Layer
from caffe2torch.registry import Converter, Shape, converts


@converts("Input")
class Input(Converter):
    """An input of the net. Its shape tells channels; the net runs at any size."""

    def top_shapes(self) -> tuple[Shape | None, ...]:
        given = tuple(tuple(shape.dim) for shape in self.layer.fields.input_param.shape)
        tops = len(self.layer.tops)
        if len(given) not in (0, 1, tops):
            raise self.refuse(f"{len(given)} shapes for {tops} tops; give one, or one each")
        return given if len(given) == tops else (given or (None,)) * tops


@converts("Data", "DummyData", "HDF5Data", "ImageData", "MemoryData", "Python", "WindowData")
class Data(Converter):
    """A source of data: its tops become inputs of the net. A Python layer is one when it has no bottom."""

    is_data = True

    def __init__(self, layer: Layer, bottoms: tuple[Shape | None, ...]) -> None:
        super().__init__(layer, bottoms)
        python = layer.fields.python_param
        raise self.refuse(f"Python code ('{python.module}.{python.layer}') between layers is not converted")
