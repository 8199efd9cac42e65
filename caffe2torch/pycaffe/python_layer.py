"""Python layers: classes derived from `caffe.Layer`, in modules that a net names.

A net that has any runs their code: only load nets whose Python layers you trust, as with Caffe.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any

from caffe2torch.errors import NetError
from caffe2torch.net import Layer as LayerDefinition
from caffe2torch.net.fields import thaw
from caffe2torch.pycaffe.blob import Blob, BlobVec
from caffe2torch.pycaffe.net_layers import NetLayer


class Layer:
    """The base of Python layers: `setup`, `reshape` and `forward` take bottoms and tops, lists of Blobs.

    `param_str`, `phase` (0 TRAIN, 1 TEST) and `blobs` are there from `setup` on; `backward(top,
    propagate_down, bottom)` writes the bottoms' diffs.
    """

    param_str: str
    phase: int
    blobs: BlobVec
    type = "Python"

    def __init__(self, layer_param: Any = None, *_: Any) -> None: ...

    def setup(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        """Called once, when the net is built."""

    def backward(self, top: Sequence[Blob], propagate_down: Sequence[bool], bottom: Sequence[Blob]) -> None:
        """Leaves the bottoms' diffs as they are."""


class PythonLayer(NetLayer):
    """A layer that a class of the user's computes."""

    def __init__(
        self, layer: LayerDefinition, bottoms: Sequence[Blob], tops: Sequence[Blob], phase: str
    ) -> None:
        super().__init__(layer, bottoms, tops)
        p = layer.fields.python_param
        made = _class_of(layer.name, p.module, p.layer)(thaw(layer.fields))
        made.param_str = made.param_str_ = p.param_str  # the second until 2015
        own_phase = layer.fields.phase if layer.fields.has("phase") else phase
        made.phase = ("TRAIN", "TEST").index(own_phase)
        made.blobs = self.blobs
        self.instance = made
        made.setup(self.bottoms, self.tops)
        if not hasattr(made, "reshape"):
            raise NetError(f"layer {layer.name!r} (Python): {p.module}.{p.layer} has no method reshape")

    def reshape(self, *_: object) -> None:
        """By the user's class."""
        self.instance.reshape(self.bottoms, self.tops)

    def forward(self, record: bool = True) -> None:
        """By the user's class, which reshapes first."""
        self.instance.reshape(self.bottoms, self.tops)
        self.instance.forward(self.bottoms, self.tops)

    def backward(self) -> None:
        """By the user's class."""
        self.instance.backward(self.tops, self.needs.bottoms, self.bottoms)


def _class_of(layer: str, module: str, name: str) -> type[Any]:
    """The class that a layer names, from its module; what that raises comes out unchanged.

    Raises NetError for anything but a class of layers: what else a module holds is not called.
    """
    found = None
    if all(part.isidentifier() for part in module.split(".")):
        found = getattr(importlib.import_module(module), name)
    if not (isinstance(found, type) and issubclass(found, Layer)):
        raise NetError(f"layer {layer!r} (Python): {module}.{name} is no class derived from caffe.Layer")
    return found
