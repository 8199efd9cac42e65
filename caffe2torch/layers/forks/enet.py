"""spatial_dropout.SpatialDropoutLayer: ENet's Python layer that drops whole channels."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from caffe2torch._torch import torch
from caffe2torch.layers.converter import Converter, Shape
from caffe2torch.layers.registry import converts
from caffe2torch.net import Layer

if TYPE_CHECKING:
    from torch import Tensor


@converts("spatial_dropout.SpatialDropoutLayer")
class SpatialDropout(Converter):
    """ENet's Python layer: scales by 1 / (1 - p), and in phase TRAIN first drops whole channels."""

    held_against = "NumPy loops"
    depends_on_phase = True

    def __init__(self, layer: Layer, bottoms: tuple[Shape | None, ...]) -> None:
        super().__init__(layer, bottoms)
        text = layer.fields.python_param.param_str
        try:
            self.p = float(ast.literal_eval(text)["p"])
        except (KeyError, MemoryError, RecursionError, SyntaxError, TypeError, ValueError):
            raise self.refuse(f"param_str {text[:80]!r} is not a dictionary with a number p") from None
        if not 0 < self.p < 1:
            raise self.refuse(f"p: {self.p} must be over 0 and under 1")

    def forward(self, *bottoms: Tensor, training: bool = False, **blobs: Tensor) -> Tensor:
        # The fork also scales in phase TEST, where other dropouts are the identity (spatial_dropout.py).
        return torch.nn.functional.dropout2d(bottoms[0], self.p) if training else bottoms[0] / (1 - self.p)
