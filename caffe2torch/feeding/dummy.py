"""DummyData (dummy_data_layer.cpp): tops that fillers fill."""

from __future__ import annotations

from typing import TypeVar

from caffe2torch._torch import torch
from caffe2torch.errors import UnsupportedLayer
from caffe2torch.feeding.source import Batch, Shape, Source, feeds
from caffe2torch.modules.fillers import fill
from caffe2torch.net import Layer
from caffe2torch.net.fields import Fields

_T = TypeVar("_T")
_OLD = ("num", "channels", "height", "width")


@feeds("DummyData")
class DummyData(Source):
    """Constant fillers fill once, when the net is built: what a script writes there stays."""

    def __init__(self, layer: Layer, phase: str, seed: int) -> None:
        super().__init__(layer, phase, seed)
        p, tops = layer.fields.dummy_data_param, len(layer.tops)
        self._shapes = self._each(_shapes(p), "shapes", tops)
        fillers = list(p.data_filler) or [Fields("FillerParameter", {})]
        self._fillers = self._each(fillers, "data_filler", tops)
        self._generator = torch.Generator().manual_seed(seed)

    def _each(self, given: list[_T], what: str, tops: int) -> list[_T]:
        """One for each top, from one for all or one for each."""
        if len(given) not in (1, tops):
            problem = f"{len(given)} {what} for {tops} tops; give one, or one per top"
            raise UnsupportedLayer(self.layer.name, self.layer.type, problem)
        return given if len(given) == tops else given * tops

    def shapes(self) -> tuple[Shape, ...]:
        """What the file gives."""
        return tuple(self._shapes)

    def start(self) -> Batch:
        """The constants."""
        return self._filled(constant=True)

    def next(self) -> Batch:
        """What is not constant."""
        return self._filled(constant=False)

    def _filled(self, constant: bool) -> Batch:
        return tuple(
            fill(shape, filler, self._generator).numpy() if constant == (filler.type == "constant") else None
            for shape, filler in zip(self._shapes, self._fillers, strict=True)
        )


def _shapes(p: Fields) -> list[Shape]:
    """As `shape`, or in the older form of four numbers."""
    if p.shape:
        return [tuple(shape.dim) for shape in p.shape]
    return list(zip(*(getattr(p, name) for name in _OLD), strict=False))
