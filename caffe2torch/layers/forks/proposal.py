"""Layers that propose regions, and one that draws from them: Faster R-CNN's, in Python, and PVANet's."""

from __future__ import annotations

import ast
from collections.abc import Callable, Sequence
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
"""Height and width of the box that py-faster-rcnn makes its anchors from, in pixels (generate_anchors.py)."""


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


def anchors(
    base: int, ratios: Sequence[float], scales: Sequence[float], rounded: Callable[[float], int]
) -> Tensor:
    """The boxes (anchors, 4) around the first pixel, ratio by ratio, before scaling in whole pixels."""
    sizes = []
    for ratio in ratios:
        width = rounded((base * base / ratio) ** 0.5)
        sizes += [(width * scale, rounded(width * ratio) * scale) for scale in scales]
    centre, half = (base - 1) / 2, (torch.tensor(sizes, dtype=torch.float32) - 1) / 2
    return torch.cat([centre - half, centre + half], 1)


class _Proposals(Converter):
    """Three bottoms: scores, offsets and the image's size; tops (R, 5) and, if named, the scores."""

    bottom_count = (3, 3)
    top_count = (1, 2)
    stride: int
    """How far apart two neighbours are, in pixels of the image."""

    def _anchors(self) -> Tensor:
        raise NotImplementedError

    def look(self, view: View) -> View | None:
        return None

    def _proposed(
        self, scores: Tensor, offsets: Tensor, image: Tensor, limits: Limits
    ) -> tuple[Tensor, Tensor]:
        """The regions (R, 5), the best first, and their scores (R,)."""
        if len(scores) != 1 or image.numel() < 3:
            raise self.refuse(f"takes one image and its height, width and scale; has {len(scores)} images")
        boxes = self._boxes(scores, offsets)
        height, width, *scales = image.reshape(-1)[:4].tolist()
        boxes = torch.minimum(boxes, boxes.new_tensor([width, height, width, height]) - 1).clamp(min=0)
        smallest = boxes.new_tensor([scales[-1], scales[0]]) * limits.smallest
        big = (boxes[:, 2:] - boxes[:, :2] + 1 >= smallest).all(1)
        confidence, order = self._ranked(self._confidence(scores), big)
        best = order[: limits.before]
        kept = best[suppress(boxes[best], limits.threshold, 1, limits.after)]
        return torch.cat([boxes.new_zeros(len(kept), 1), boxes[kept]], 1), confidence[kept]

    def _ranked(self, confidence: Tensor, big: Tensor) -> tuple[Tensor, Tensor]:
        """The scores, and the boxes to choose from by them; `big` tells which are large enough."""
        raise NotImplementedError

    def _confidence(self, scores: Tensor) -> Tensor:
        """The confidence of each box, pixel by pixel; the background's come first in the bottom."""
        return scores[0, scores.shape[1] // 2 :].permute(1, 2, 0).reshape(-1)

    def _boxes(self, scores: Tensor, offsets: Tensor) -> Tensor:
        """The anchors at each pixel, moved and resized by the offsets (bbox_transform.py)."""
        rows, columns = (torch.arange(size, device=scores.device) * self.stride for size in scores.shape[2:])
        y, x = torch.meshgrid(rows, columns, indexing="ij")
        own = self._anchors().to(scores)
        placed = (torch.stack([x, y, x, y], -1).view(-1, 1, 4) + own).view(-1, 4)
        moves = offsets[0].permute(1, 2, 0).reshape(-1, 4)
        if len(moves) != len(placed):
            raise self.refuse(f"{tuple(offsets.shape)} offsets do not fit {len(own)} anchors at each pixel")
        size = placed[:, 2:] - placed[:, :2] + 1
        centre = placed[:, :2] + size / 2 + moves[:, :2] * size
        half = moves[:, 2:].exp() * size / 2
        return torch.cat([centre - half, centre + half], 1)


def _positive(numbers: Any) -> bool:
    """Whether these are several numbers, or one, none of them zero or negative."""
    return isinstance(numbers, (list, tuple)) and all(
        isinstance(number, (int, float)) and number > 0 for number in numbers
    )


@converts("rpn.proposal_layer.ProposalLayer")
class ProposalLayer(_Proposals):
    """Faster R-CNN's Python layer: scores, offsets and the image's size become regions, the best first.

    One image at a time; tops (R, 5) and, if named, the scores (R, 1). How many regions come out is
    set in py-faster-rcnn's configuration, whose defaults these are: in phase TEST at most 300 of 6000 boxes.
    Plug in your own (layers/caffe/python.py) for another configuration.
    """

    held_against = "NumPy loops"
    depends_on_phase = True

    def __init__(self, layer: Layer, bottoms: tuple[Shape | None, ...]) -> None:
        super().__init__(layer, bottoms)
        text = layer.fields.python_param.param_str
        parameters = {"scales": (8, 16, 32), "ratios": (0.5, 1, 2)} | self._parameters(text)
        if set(parameters) != {"feat_stride", "scales", "ratios"}:
            raise self.refuse(
                f"param_str must give feat_stride, and may give scales and ratios; it is {text!r}"
            )
        self.stride, self.scales, self.ratios = (
            parameters[name] for name in ("feat_stride", "scales", "ratios")
        )
        if not all(map(_positive, ([self.stride], self.scales, self.ratios))):
            raise self.refuse(f"feat_stride, scales and ratios must be positive; param_str is {text!r}")

    def _parameters(self, text: str) -> dict[str, Any]:
        """What a param_str gives: `'key': value` lines, or all of it in braces, which is YAML there."""
        plain = text.replace("!!python/tuple", "").strip()
        lines = [line.split(":", 1) for line in plain.splitlines() if ":" in line]
        try:
            if plain.startswith("{"):
                return dict(ast.literal_eval(plain))
            return {key.strip().strip("'\""): ast.literal_eval(value.strip()) for key, value in lines}
        except (MemoryError, RecursionError, SyntaxError, TypeError, ValueError):
            raise self.refuse(
                f"param_str {text[:80]!r} is not understood; it should be like \"'feat_stride': 16\""
            ) from None

    def top_shapes(self) -> tuple[Shape | None, ...]:
        return ((None, 5), (None, 1))[: len(self.layer.tops)]

    def _anchors(self) -> Tensor:
        return anchors(BASE, self.ratios, self.scales, round)

    def _ranked(self, confidence: Tensor, big: Tensor) -> tuple[Tensor, Tensor]:
        """Small boxes are left out."""
        chosen = big.nonzero()[:, 0]
        return confidence, chosen[confidence[chosen].sort(descending=True, stable=True).indices]

    def forward(self, *bottoms: Tensor, training: bool = False, **blobs: Tensor) -> tuple[Tensor, ...]:
        scores, offsets, image = bottoms
        if scores.device.type == "meta":
            return (scores.new_empty(1, 5), scores.new_empty(1, 1))[: len(self.layer.tops)]
        # py-faster-rcnn knows one scale for both axes.
        limits = LIMITS["TRAIN" if training else "TEST"]
        regions, confidence = self._proposed(scores, offsets, image.reshape(-1)[:3], limits)
        return (regions, confidence[:, None])[: len(self.layer.tops)]


@converts("Proposal")
class Proposal(_Proposals):
    """PVANet's and OpenVINO's: scores, offsets and the image's size become regions, the best first.

    One image at a time; tops (R, 5) and, if named, the scores (R,). The third bottom is the image's height,
    width and scale, or a scale for each of them. A box smaller than `min_size` gets the score 0.
    """

    held_against = "NumPy loops; py-faster-rcnn"
    fork_fields = frozenset({"proposal_param"})

    def __init__(self, layer: Layer, bottoms: tuple[Shape | None, ...]) -> None:
        super().__init__(layer, bottoms)
        p = self.p = layer.fields.proposal_param
        sizes = (p.feat_stride, p.base_size, p.pre_nms_topn, p.post_nms_topn, *p.ratio, *p.scale)
        if not p.ratio or not p.scale or min(sizes) <= 0:
            raise self.refuse("needs ratio and scale, and no size or number of boxes may be 0")
        self.stride = p.feat_stride

    def top_shapes(self) -> tuple[Shape | None, ...]:
        return ((None, 5), (None,))[: len(self.layer.tops)]

    def _anchors(self) -> Tensor:
        return anchors(self.p.base_size, self.p.ratio, self.p.scale, lambda size: int(size + 0.5))

    def _ranked(self, confidence: Tensor, big: Tensor) -> tuple[Tensor, Tensor]:
        scores = confidence * big
        return scores, scores.sort(descending=True, stable=True).indices

    def forward(self, *bottoms: Tensor, **blobs: Tensor) -> tuple[Tensor, ...]:
        scores, offsets, image = bottoms
        if scores.device.type == "meta":
            return (scores.new_empty(1, 5), scores.new_empty(1))[: len(self.layer.tops)]
        p = self.p
        limits = Limits(p.pre_nms_topn, p.post_nms_topn, p.nms_thresh, p.min_size)
        return self._proposed(scores, offsets, image, limits)[: len(self.layer.tops)]


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
