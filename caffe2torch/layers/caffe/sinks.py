"""Layers that only take blobs and have no top: HDF5Output, Silence."""

from __future__ import annotations

from typing import TYPE_CHECKING

from caffe2torch.layers.converter import Converter
from caffe2torch.layers.registry import converts

if TYPE_CHECKING:
    from torch import Tensor


@converts("HDF5Output")
class HDF5Output(Converter):
    """Takes two blobs and writes no file. A deploy net drops it, and its blobs become outputs."""

    bottom_count = (2, 2)
    top_count = (0, 0)
    held_against = ""
    is_loss = True

    def forward(self, *bottoms: Tensor, **blobs: Tensor) -> tuple[Tensor, ...]:
        return ()


@converts("Silence")
class Silence(Converter):
    """Takes blobs that nothing else uses, so that they are not outputs."""

    bottom_count = (1, None)
    top_count = (0, 0)

    def forward(self, *bottoms: Tensor, **blobs: Tensor) -> tuple[Tensor, ...]:
        return ()
