"""YOLO's detections: YoloDetectionOutput (version 2) and Yolov3DetectionOutput (eric612/MobileNet-YOLO)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from caffe2torch._torch import torch
from caffe2torch.layers.converter import Converter, Shape
from caffe2torch.layers.forks.boxes import suppress
from caffe2torch.layers.geometry import View
from caffe2torch.layers.registry import converts
from caffe2torch.net import Layer
from caffe2torch.net.fields import Fields

if TYPE_CHECKING:
    from torch import Tensor


class _Detections(Converter):
    """Each bottom is a map of boxes: for each anchor four numbers, an object's score, the classes' scores."""

    p: Fields

    def look(self, view: View) -> View | None:
        return None

    def top_shapes(self) -> tuple[Shape | None, ...]:
        return ((1, 1, None, 7),)

    def _found(self, values: Tensor, position: int) -> tuple[Tensor, Tensor, Tensor]:
        """Boxes (n, 4) of one map, their scores and labels; `values` are (h, w, anchors, numbers)."""
        raise NotImplementedError

    def _anchors(self, pairs: list[float]) -> list[list[float]]:
        """(width, height) of each anchor."""
        if len(pairs) % 2 or min(pairs, default=0) <= 0:
            raise self.refuse(f"biases are widths and heights, all positive; it has {len(pairs)} numbers")
        return [pairs[i : i + 2] for i in range(0, len(pairs), 2)]

    def forward(self, *bottoms: Tensor, **blobs: Tensor) -> Tensor:
        if bottoms[0].device.type == "meta":
            return bottoms[0].new_empty(1, 1, 1, 7)
        found = [self._found(self._values(x.detach()), i) for i, x in enumerate(bottoms)]
        boxes, scores, labels = (torch.cat(parts) for parts in zip(*found, strict=True))
        order = scores.sort(descending=True, stable=True).indices
        # These forks drop a box that overlaps a better one by the threshold itself, too.
        below = math.nextafter(self.p.nms_threshold, -1)
        kept = order[suppress(boxes[order].double(), below, 0, len(order))]
        if not len(kept):
            return bottoms[0].new_tensor([[[[0, *[-1] * 6]]]])
        rows = [torch.zeros_like(scores)[:, None], labels[:, None] + 1, scores[:, None], boxes]
        return torch.cat(rows, 1)[kept][None, None]

    def _values(self, x: Tensor) -> Tensor:
        """A map (1, channels, h, w) as (h, w, anchors, numbers)."""
        numbers = 5 + self.p.num_classes
        if x.ndim != 4 or x.shape[1] != self.p.num_box * numbers:
            expected = f"(1, {self.p.num_box} x {numbers}, h, w)"
            raise self.refuse(f"its bottom is {tuple(x.shape)}; num_box and num_classes need {expected}")
        if len(x) != 1:
            raise self.refuse(f"mixes the boxes of several images; give it one, its bottom has {len(x)}")
        return x[0].view(self.p.num_box, numbers, *x.shape[2:]).permute(2, 3, 0, 1)


def _boxes(values: Tensor, sizes: Tensor) -> Tensor:
    """Corners (h, w, anchors, 4) as fractions of the image; `sizes` are the anchors', in the same measure."""
    height, width = values.shape[:2]
    rows, columns = (torch.arange(size, device=values.device) for size in (height, width))
    y, x = torch.meshgrid(rows, columns, indexing="ij")
    cells = values.new_tensor([width, height])
    centre = (values[..., :2].sigmoid() + torch.stack([x, y], -1)[:, :, None]) / cells
    half = values[..., 2:4].exp() * sizes / 2
    return torch.cat([centre - half, centre + half], -1)


@converts("Yolov3DetectionOutput")
class Yolov3DetectionOutput(_Detections):
    """MobileNet-YOLO's for YOLO v3: boxes above `confidence_threshold` that do not overlap a better one.

    Top (1, 1, detections, 7): 0, label (from 1), confidence, xmin, ymin, xmax, ymax as fractions of the
    image; one row of -1 where nothing is found. One image at a time. A box counts for each class that is
    likely enough, and suppresses boxes of all classes. Refused: `gaussian_box`, as CPU and GPU differ there.
    """

    bottom_count = (1, None)
    held_against = "NumPy loops"
    fork_fields = frozenset({"yolov3_detection_output_param"})

    def __init__(self, layer: Layer, bottoms: tuple[Shape | None, ...]) -> None:
        super().__init__(layer, bottoms)
        p = self.p = layer.fields.yolov3_detection_output_param
        if p.gaussian_box:
            raise self.refuse("gaussian_box is not supported")
        if not p.has("num_classes") or len(bottoms) != p.mask_group_num:
            raise self.refuse(f"needs num_classes, and mask_group_num bottoms; has {len(bottoms)} bottoms")
        if len(p.mask) != p.num_box * len(bottoms) or len(p.anchors_scale) != len(bottoms):
            raise self.refuse(f"needs num_box mask and one anchors_scale for each of {len(bottoms)} bottoms")
        anchors = self._anchors(list(p.biases))
        if max(p.mask, default=0) >= len(anchors):
            raise self.refuse(f"mask {p.mask} names an anchor that is not among the {len(anchors)} in biases")
        self.anchors = [anchors[position] for position in p.mask]

    def _found(self, values: Tensor, position: int) -> tuple[Tensor, Tensor, Tensor]:
        first, scale = position * self.p.num_box, self.p.anchors_scale[position]
        image = values.new_tensor([values.shape[1] * scale, values.shape[0] * scale])
        sizes = values.new_tensor(self.anchors[first : first + self.p.num_box]) / image
        scores = values[..., 5:].sigmoid() * values[..., 4:5].sigmoid()
        places = (scores > self.p.confidence_threshold).nonzero()
        row, column, anchor, label = places.unbind(1)
        boxes = _boxes(values, sizes)[row, column, anchor]
        return boxes, scores[row, column, anchor, label], label.to(scores)


@converts("YoloDetectionOutput")
class YoloDetectionOutput(_Detections):
    """MobileNet-YOLO's for YOLO v2: the boxes' likeliest classes, at least `confidence_threshold` likely.

    Bottoms: one or two square maps. Top as Yolov3DetectionOutput's; a box suppresses boxes of all classes.
    Intel's layer of this name gives other numbers: a layer that has one of its fields is refused.
    """

    bottom_count = (1, 2)
    held_against = "NumPy loops"
    fork_fields = frozenset({"yolo_detection_output_param"})

    def __init__(self, layer: Layer, bottoms: tuple[Shape | None, ...]) -> None:
        super().__init__(layer, bottoms)
        p = self.p = layer.fields.yolo_detection_output_param
        intels = [name for name in ("visualize", "visualize_threshold", "ssd_format") if p.has(name)]
        if intels:
            raise self.refuse(f"{', '.join(intels)}: of Intel's Caffe, which gives other numbers")
        if not p.has("num_classes"):
            raise self.refuse("num_classes must be given")
        self.anchors = self._anchors(list(p.biases))
        if p.coords != 4 or len(self.anchors) != p.num_box:
            raise self.refuse(
                f"needs coords: 4, and two biases for each of {p.num_box} boxes, has {len(p.biases)}"
            )

    def _found(self, values: Tensor, position: int) -> tuple[Tensor, Tensor, Tensor]:
        height, width = values.shape[:2]
        if height != width:
            raise self.refuse(f"takes square maps, its bottom is {height} x {width}")
        score, label = (values[..., 5:].softmax(-1) * values[..., 4:5].sigmoid()).max(-1)
        likely = score >= self.p.confidence_threshold
        boxes = _boxes(values, values.new_tensor(self.anchors) / width)
        return boxes[likely], score[likely], label[likely].to(score)
