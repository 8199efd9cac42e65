"""Faster R-CNN's Python layers that propose regions and draw from them (py-faster-rcnn)."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from caffe2torch._torch import torch
from caffe2torch.layers.converter import Converter, Shape
from caffe2torch.layers.forks.boxes import suppress
from caffe2torch.layers.geometry import View
from caffe2torch.layers.registry import converts
from caffe2torch.net import Layer

if TYPE_CHECKING:
    from torch import Tensor

BASE = 16
"""Height and width of the box that the anchors are made from, in pixels (generate_anchors.py)."""
RATIOS = (0.5, 1.0, 2.0)
"""Heights over widths of the anchors."""


@dataclass(frozen=True)
class Limits:
    """Which boxes are proposed; for py-faster-rcnn this is configuration, not part of the net."""

    before: int
    """How many of the most confident boxes go into suppression."""
    after: int
    """How many come out of it at most."""
    threshold: float = 0.7
    """A box that overlaps a better one by more than this is dropped."""
    smallest: float = 16.0
    """The smallest height and width, in pixels of the image before it was resized."""


LIMITS = {"TEST": Limits(6000, 300), "TRAIN": Limits(12000, 2000)}
"""py-faster-rcnn's defaults (lib/fast_rcnn/config.py); its experiments' files may say otherwise."""


def anchors(scales: tuple[float, ...]) -> Tensor:
    """The boxes (anchors, 4) around the first pixel, ratio by ratio, before scaling in whole pixels."""
    sizes = []
    for ratio in RATIOS:
        width = round((BASE * BASE / ratio) ** 0.5)
        sizes += [(width * scale, round(width * ratio) * scale) for scale in scales]
    centre, half = (BASE - 1) / 2, (torch.tensor(sizes, dtype=torch.float32) - 1) / 2
    return torch.cat([centre - half, centre + half], 1)


@converts("rpn.proposal_layer.ProposalLayer")
class ProposalLayer(Converter):
    """Faster R-CNN's Python layer: scores, offsets and the image's size become regions, the best first.

    One image at a time; tops (R, 5) and, if named, the scores (R, 1). How many regions come out is
    set in py-faster-rcnn's configuration, whose defaults these are: in phase TEST at most 300 of 6000 boxes.
    Plug in your own (layers/caffe/python.py) for another configuration.
    """

    bottom_count = (3, 3)
    top_count = (1, 2)
    held_against = "NumPy loops"
    depends_on_phase = True

    def __init__(self, layer: Layer, bottoms: tuple[Shape | None, ...]) -> None:
        super().__init__(layer, bottoms)
        parameters = self._parameters(layer.fields.python_param.param_str)
        if set(parameters) - {"feat_stride", "scales"} or "feat_stride" not in parameters:
            raise self.refuse(
                f"param_str must give feat_stride and may give scales; it gives {sorted(parameters)}"
            )
        self.stride = int(parameters["feat_stride"])
        self.scales = tuple(parameters.get("scales", (8, 16, 32)))

    def _parameters(self, text: str) -> dict[str, Any]:
        """The `'key': value` lines of a param_str, which is YAML there."""
        lines = [
            line.split(":", 1) for line in text.replace("!!python/tuple", "").splitlines() if ":" in line
        ]
        try:
            return {key.strip().strip("'\""): ast.literal_eval(value.strip()) for key, value in lines}
        except (SyntaxError, ValueError):
            raise self.refuse(
                f"param_str {text!r} is not understood; it should be like \"'feat_stride': 16\""
            ) from None

    def look(self, view: View) -> View | None:
        return None

    def top_shapes(self) -> tuple[Shape | None, ...]:
        return ((None, 5), (None, 1))[: len(self.layer.tops)]

    def forward(self, *bottoms: Tensor, training: bool = False, **blobs: Tensor) -> tuple[Tensor, ...]:
        scores, offsets, image = bottoms
        if len(scores) != 1:
            raise self.refuse(f"takes one image at a time, its bottom has {len(scores)}")
        if scores.device.type == "meta":
            return (scores.new_empty(1, 5), scores.new_empty(1, 1))[: len(self.layer.tops)]
        limits = LIMITS["TRAIN" if training else "TEST"]
        boxes, confidence = self._boxes(scores, offsets), self._confidence(scores)
        height, width, scale = image.reshape(-1)[:3].tolist()
        edge = boxes.new_tensor([width, height, width, height]) - 1
        boxes = torch.minimum(boxes, edge).clamp(min=0)
        big = (boxes[:, 2:] - boxes[:, :2] + 1 >= limits.smallest * scale).all(1).nonzero()[:, 0]
        best = big[confidence[big].sort(descending=True, stable=True).indices[: limits.before]]
        kept = best[suppress(boxes[best], limits.threshold, 1, limits.after)]
        regions = torch.cat([boxes.new_zeros(len(kept), 1), boxes[kept]], 1)
        return (regions, confidence[kept][:, None])[: len(self.layer.tops)]

    def _confidence(self, scores: Tensor) -> Tensor:
        """The confidence of each box, pixel by pixel; the background's come first in the bottom."""
        return scores[0, scores.shape[1] // 2 :].permute(1, 2, 0).reshape(-1)

    def _boxes(self, scores: Tensor, offsets: Tensor) -> Tensor:
        """The anchors at each pixel, moved and resized by the offsets (bbox_transform.py)."""
        rows, columns = (torch.arange(size, device=scores.device) * self.stride for size in scores.shape[2:])
        y, x = torch.meshgrid(rows, columns, indexing="ij")
        own = anchors(self.scales).to(scores)
        placed = (torch.stack([x, y, x, y], -1).view(-1, 1, 4) + own).view(-1, 4)
        moves = offsets[0].permute(1, 2, 0).reshape(-1, 4)
        if len(moves) != len(placed):
            raise self.refuse(f"{tuple(offsets.shape)} offsets do not fit {len(own)} anchors at each pixel")
        size = placed[:, 2:] - placed[:, :2] + 1
        centre = placed[:, :2] + size / 2 + moves[:, :2] * size
        half = moves[:, 2:].exp() * size / 2
        return torch.cat([centre - half, centre + half], 1)


@converts("rpn.proposal_target_layer.ProposalTargetLayer")
class ProposalTarget(Converter):
    """Faster R-CNN's Python layer that draws regions to train on; a deploy net takes all of them."""

    bottom_count = (0, None)
    top_count = (0, None)
    held_against = ""
    is_sampler = True

    def __init__(self, layer: Layer, bottoms: tuple[Shape | None, ...]) -> None:
        super().__init__(layer, bottoms)
        raise self.refuse("draws regions by their labels, and does not train here")
