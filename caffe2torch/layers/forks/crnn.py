"""ContinuationIndicator: where sequences begin, in nets that read text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from caffe2torch._torch import torch
from caffe2torch.layers.converter import Converter, Shape
from caffe2torch.layers.geometry import View
from caffe2torch.layers.registry import converts
from caffe2torch.net import Layer

if TYPE_CHECKING:
    from torch import Tensor, nn


@converts("ContinuationIndicator")
class ContinuationIndicator(Converter):
    """CRNN's: the second bottom of an LSTM, (time, items), where all sequences begin at the first step.

    There are `time_step` steps, and `batch_size` items or as many as a bottom has on `axis`.
    """

    bottom_count = (0, 1)
    held_against = "NumPy loops"
    fork_fields = frozenset({"continuation_indicator_param"})

    def __init__(self, layer: Layer, bottoms: tuple[Shape | None, ...]) -> None:
        super().__init__(layer, bottoms)
        p = self.p = layer.fields.continuation_indicator_param
        if not p.time_step or not (p.has("axis") if bottoms else p.batch_size):
            raise self.refuse("needs a positive time_step, and batch_size, or a bottom and axis")

    def look(self, view: View) -> View | None:
        return None

    def top_shapes(self) -> tuple[Shape | None, ...]:
        if not self.bottoms:
            return ((self.p.time_step, self.p.batch_size),)
        items = None if self.bottoms[0] is None else self.bottoms[0][self.p.axis]
        return ((self.p.time_step, items),)

    def module(self) -> nn.Module | None:
        """Holds the top of a layer without bottoms, so that it moves with the net."""
        if self.bottoms:
            return None
        holder = torch.nn.Module()
        top = self._indicator(torch.ones(self.p.time_step, self.p.batch_size))
        holder.register_buffer("top", top, persistent=False)
        return holder

    def forward(self, *bottoms: Tensor, **modules: nn.Module) -> Tensor:
        if not bottoms:
            return modules["module"].get_buffer("top")
        items = bottoms[0].shape[self.p.axis]
        return self._indicator(bottoms[0].new_ones(self.p.time_step, items))

    def _indicator(self, ones: Tensor) -> Tensor:
        return torch.cat([torch.zeros_like(ones[:1]), ones[1:]])
