"""LSTMUnit: one step of an LSTM, from a BVLC branch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from caffe2torch.layers.caffe.recurrent import lstm_step
from caffe2torch.layers.converter import Converter, Shape
from caffe2torch.layers.geometry import View
from caffe2torch.layers.registry import converts

if TYPE_CHECKING:
    from torch import Tensor


@converts("LSTMUnit")
class LSTMUnit(Converter):
    """One step of an LSTM: from memory (1, N, D), gates (1, N, 4 D) and cont (1, N) to memory and output."""

    bottom_count = (3, 3)
    top_count = (2, 2)
    held_against = "NumPy loops; SSD's Caffe"

    def top_shapes(self) -> tuple[Shape | None, ...]:
        return (self.bottoms[0],) * 2

    def look(self, view: View) -> View | None:
        return None

    def forward(self, *bottoms: Tensor, **blobs: Tensor) -> tuple[Tensor, ...]:
        return lstm_step(bottoms[0], bottoms[1], bottoms[2].detach().unsqueeze(-1))
