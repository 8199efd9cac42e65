"""Layers that keep the shape: ReLU6 (MobileNet), TopK (k-sparse autoencoders), Gather (yjxiong/caffe)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from caffe2torch._torch import torch
from caffe2torch.layers.converter import Converter, Shape
from caffe2torch.layers.geometry import View
from caffe2torch.layers.python_form import Place, PythonForm
from caffe2torch.layers.registry import converts
from caffe2torch.net import Layer

if TYPE_CHECKING:
    from torch import Tensor


@converts("ReLU6")
class ReLU6(Converter):
    """MobileNet's: min(max(x, 0), 6); a `negative_slope` is refused."""

    held_against = "NumPy loops; SSD's Caffe"

    def __init__(self, layer: Layer, bottoms: tuple[Shape | None, ...]) -> None:
        super().__init__(layer, bottoms)
        if layer.fields.relu_param.negative_slope:
            raise self.refuse("negative_slope is not supported")

    def forward(self, *bottoms: Tensor, **blobs: Tensor) -> Tensor:
        return bottoms[0].clamp(0, 6)

    def python(self, place: Place) -> PythonForm:
        return PythonForm(f"F.relu6({place.bottoms[0]})")


@converts("TopK")
class TopK(Converter):
    """A BVLC branch's: each item's largest values stay, the others become 0.

    Keeps `k` in phase TRAIN and `k` times `a` in phase TEST; which of equal values, Caffe leaves open.
    """

    held_against = "NumPy loops"
    fork_fields = frozenset({"topk_param"})
    depends_on_phase = True

    def __init__(self, layer: Layer, bottoms: tuple[Shape | None, ...]) -> None:
        super().__init__(layer, bottoms)
        p = self.p = layer.fields.topk_param
        if not p.has("a") or p.k < 1 or p.k * p.a < 1:
            raise self.refuse(f"needs positive k, a and k times a; has {p}")

    def look(self, view: View) -> View | None:
        return view.whole()

    def forward(self, *bottoms: Tensor, training: bool = False, **blobs: Tensor) -> Tensor:
        items = bottoms[0].flatten(1)
        count = int(self.p.k if training else self.p.k * self.p.a)
        if count > items.shape[1]:
            raise self.refuse(f"keeps {count} values of each item, its bottom has {items.shape[1]}")
        largest = items.topk(count)
        return torch.zeros_like(items).scatter(1, largest.indices, largest.values).view_as(bottoms[0])


@converts("Gather")
class Gather(Converter):
    """yjxiong/caffe's: joins the batches of several machines; on one machine, each top is its bottom."""

    bottom_count = (1, None)
    top_count = (1, None)
    held_against = "NumPy loops"

    def top_shapes(self) -> tuple[Shape | None, ...]:
        return self.bottoms

    def forward(self, *bottoms: Tensor, **blobs: Tensor) -> tuple[Tensor, ...]:
        return bottoms
