"""Where values come from: Input, Parameter, and the data layers that an Input replaces (plan/phase.py)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from caffe2torch.layers.converter import BlobSpec, Converter, Shape
from caffe2torch.layers.registry import converts
from caffe2torch.net import Layer
from caffe2torch.net.fields import Fields

if TYPE_CHECKING:
    from torch import Tensor


@converts("Input")
class Input(Converter):
    """An input of the net. Its shape gives the channels; the net runs at any size."""

    bottom_count = (0, 0)
    top_count = (1, None)
    held_against = ""

    def top_shapes(self) -> tuple[Shape | None, ...]:
        # An Input that replaces a data layer has -1 for a size that the file does not give (plan/phase.py).
        given = tuple(
            tuple(None if size < 0 else size for size in shape.dim)
            for shape in self.layer.fields.input_param.shape
        )
        tops = len(self.layer.tops)
        if len(given) not in (0, 1, tops):
            raise self.refuse(f"{len(given)} shapes for {tops} tops; give one, or one per top")
        return given if len(given) == tops else (given or (None,)) * tops


@converts("Data", "DummyData", "HDF5Data", "ImageData", "MemoryData", "WindowData")
class Data(Converter):
    """A source of data: its tops become inputs of the net. The fillers of a DummyData are not run."""

    bottom_count = (0, 0)
    top_count = (1, None)
    held_against = ""
    is_data = True

    @classmethod
    def data_shapes(cls, layer: Layer) -> tuple[Shape | None, ...]:
        p = getattr(layer.fields, _SIZED.get(layer.type, ""), None)
        if p is None:
            return (None,) * len(layer.tops)
        if layer.type == "DummyData":
            return _dummy_shapes(p, len(layer.tops))
        crop = layer.fields.transform_param.crop_size
        height, width = _sides(layer.type, p)
        image = (p.batch_size, _channels(layer, p), crop or height, crop or width)
        shapes: tuple[Shape, ...] = tuple(size or None for size in image), (p.batch_size or None,)
        return shapes[: len(layer.tops)]


def _sides(layer_type: str, p: Fields) -> tuple[int, int]:
    """Height and width, 0 for one that is not given."""
    if layer_type == "MemoryData":
        return p.height, p.width
    return (p.new_height, p.new_width) if layer_type == "ImageData" else (0, 0)


def _channels(layer: Layer, p: Fields) -> int:
    """The number of channels, 0 if unknown: a database has its own, unless the transformation sets it."""
    transform = layer.fields.transform_param
    if layer.type == "MemoryData":
        return int(p.channels)
    if layer.type == "WindowData" or transform.force_color:
        return 3
    if layer.type == "ImageData":
        return 3 if p.is_color else 1
    return 1 if transform.force_gray else len(transform.mean_value) if len(transform.mean_value) > 1 else 0


_SIZED = {
    "Data": "data_param",
    "DummyData": "dummy_data_param",
    "ImageData": "image_data_param",
    "MemoryData": "memory_data_param",
    "WindowData": "window_data_param",
}
"""The message that gives the batch size."""


def _dummy_shapes(p: Fields, tops: int) -> tuple[Shape | None, ...]:
    """One shape for all tops, or one per top; the older form gives four numbers instead."""
    old = zip(p.num, p.channels, p.height, p.width, strict=False)
    shapes: list[Shape] = [tuple(shape.dim) for shape in p.shape] or list(old)
    return tuple(shapes) if len(shapes) == tops else tuple(shapes[:1] or [None]) * tops


@converts("Parameter")
class Parameter(Converter):
    """A learned blob of the given `shape`, as its top."""

    bottom_count = (0, 0)
    held_against = "NumPy"

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
