"""SSD's layers: Permute, Normalize, PriorBox, DetectionOutput (weiliu89/caffe, branch "ssd")."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from caffe2torch._torch import is_exporting, torch
from caffe2torch.blob import Array
from caffe2torch.layers.converter import BlobSpec, Converter, Shape
from caffe2torch.layers.forks.boxes import suppress
from caffe2torch.layers.forks.detections import operator
from caffe2torch.layers.geometry import View
from caffe2torch.layers.python_form import Place, PythonForm, call, literal, operand
from caffe2torch.layers.registry import converts
from caffe2torch.net import Layer
from caffe2torch.net.fields import Fields

if TYPE_CHECKING:
    from torch import Tensor


@converts("Permute")
class Permute(Converter):
    """SSD's: the axes in another `order`; axes that it does not name come last, in their original order."""

    held_against = "NumPy loops; SSD's Caffe"
    fork_fields = frozenset({"permute_param"})

    def __init__(self, layer: Layer, bottoms: tuple[Shape | None, ...]) -> None:
        super().__init__(layer, bottoms)
        order = layer.fields.permute_param.order
        if len(set(order)) != len(order):
            raise self.refuse(f"order: {order} names an axis twice")
        if bottoms[0] is not None:
            self._order(len(bottoms[0]))

    def _order(self, axes: int) -> list[int]:
        order = list(self.layer.fields.permute_param.order)
        if any(axis >= axes for axis in order):
            raise self.refuse(f"order: {order} is out of range for its bottom of {axes} axes")
        return order + [axis for axis in range(axes) if axis not in order]

    def shares_memory(self) -> bool:
        order = self.layer.fields.permute_param.order
        return list(order) == list(range(len(order)))

    def look(self, view: View) -> View | None:
        return None

    def top_shapes(self) -> tuple[Shape | None, ...]:
        bottom = self.bottoms[0]
        return (None if bottom is None else tuple(bottom[axis] for axis in self._order(len(bottom))),)

    def forward(self, *bottoms: Tensor, **blobs: Tensor) -> Tensor:
        return bottoms[0].permute(self._order(bottoms[0].ndim)).contiguous()

    def python(self, place: Place) -> PythonForm:
        bottom = self.bottoms[0]
        if bottom is None:
            return super().python(place)
        return PythonForm(f"{operand(place.bottoms[0])}.permute{tuple(self._order(len(bottom)))}")


@converts("Normalize")
class Normalize(Converter):
    """SSD's: each pixel's channels, or with `across_spatial` each image, at norm 1, times a learned scale.

    One scale for all with `channel_shared`, else one per channel.
    """

    held_against = "NumPy loops; SSD's Caffe"
    fork_fields = frozenset({"norm_param"})

    def __init__(self, layer: Layer, bottoms: tuple[Shape | None, ...]) -> None:
        super().__init__(layer, bottoms)
        self.p = layer.fields.norm_param

    def blob_specs(self) -> tuple[BlobSpec, ...]:
        filler = self.p.scale_filler
        if not self.p.has("scale_filler"):
            filler = Fields("FillerParameter", {"value": 1.0})
        channels = None if self.bottoms[0] is None else self.bottoms[0][1]
        return (BlobSpec("weight", () if self.p.channel_shared else (channels,), filler),)

    def look(self, view: View) -> View | None:
        return view.whole() if self.p.across_spatial else view

    def forward(self, *bottoms: Tensor, **blobs: Tensor) -> Tensor:
        (x,) = bottoms
        axes = list(range(1, x.ndim)) if self.p.across_spatial else [1]
        length = ((x * x).sum(axes, keepdim=True) + self.p.eps).sqrt()
        weight = blobs["weight"]
        y: Tensor = x / length * (weight if self.p.channel_shared else weight.view(-1, *(1,) * (x.ndim - 2)))
        return y

    def python(self, place: Place) -> PythonForm:
        (x,), shape = place.bottoms, place.shapes["weight"]
        axes = "(1, 2, 3)" if self.p.across_spatial else "1"
        if self.bottoms[0] is None or len(self.bottoms[0]) != 4:
            return super().python(place)
        length = f"({x}.square().sum({axes}, keepdim=True) + {literal(self.p.eps)}).sqrt()"
        weight = call("torch.empty", *shape, *(1, 1) * bool(shape)) if shape else "torch.empty(())"
        return PythonForm(f"{x} / {length} * {place.name}", {"": f"nn.Parameter({weight})"})

    def state(self, blobs: Mapping[str, Array]) -> Mapping[str, Array]:
        weight = blobs["weight"]
        return {"": weight.reshape(-1, 1, 1) if weight.ndim else weight}


def prior_boxes(
    features: Tensor,
    image: tuple[float, ...],
    step: tuple[float, ...] | None,
    offsets: list[tuple[float, float]],
    clip: bool,
    boxes: list[tuple[float, float]],
    variance: list[float],
) -> Tensor:
    """SSD's default boxes and their variances, (1, 2, values), for a map of features.

    `boxes` are (height, width) in pixels of the image; so is `step`, from one pixel of
    the features to the next. `offsets`, one for all boxes or one each, are parts of it.
    Values are fractions of the image: xmin, ymin, xmax, ymax.
    """
    device, (rows, columns) = features.device, features.shape[2:]
    rise, run = step or (image[0] / rows, image[1] / columns)
    down, right = torch.tensor(offsets, device=device).unbind(1)
    y = (torch.arange(rows, device=device)[:, None, None] + down) * rise
    x = (torch.arange(columns, device=device)[:, None] + right) * run
    centre = torch.stack([place.expand(rows, columns, -1) for place in (y, x)], -1)
    half = torch.tensor(boxes, device=device) / 2  # (boxes, 2)
    size = torch.tensor([float(side) for side in image], device=device)
    ends = [((centre + end * half) / size).flip(-1) for end in (-1, 1)]
    corners = torch.cat(ends, -1)  # (rows, columns, boxes, 4)
    if clip:
        corners = corners.clamp(0, 1)
    spread = torch.tensor(variance, device=device).expand_as(corners)
    return torch.stack([corners, spread]).view(1, 2, -1)


@converts("PriorBox")
class PriorBox(Converter):
    """SSD's: the default boxes of a feature map's pixels, as fractions of the image, and their variances.

    Top (1, 2, boxes * 4). Takes all parameters; as in SSD, fractions of `min_size` and `max_size` are lost.
    OpenCV's takes the boxes' `width` and `height` instead, and for TextBoxes two pairs of `offset_h` and
    `offset_w` in place of `offset`.
    """

    bottom_count = (1, 2)
    held_against = "NumPy loops; SSD's Caffe"
    fork_fields = frozenset({"prior_box_param"})
    shape_only = frozenset({0, 1})

    def __init__(self, layer: Layer, bottoms: tuple[Shape | None, ...]) -> None:
        super().__init__(layer, bottoms)
        p = self.p = layer.fields.prior_box_param
        if len(p.variance) not in (0, 1, 4):
            raise self.refuse(f"takes 1 or 4 variance, has {len(p.variance)}")
        self.image = self._pair("img", "img_size")
        self.step = self._pair("step", "step")
        if len(bottoms) != 2 and self.image is None:
            raise self.refuse("needs two bottoms, the features and the image, or img_size")
        sizes, offsets = self._sizes(), self._offsets()
        self.boxes = [size for size in sizes for _ in offsets]
        self.offsets = offsets * len(sizes) if len(offsets) > 1 else offsets
        self.variance = list(p.variance or (0.1,))

    def _pair(self, name: str, both: str) -> tuple[float, float] | None:
        """(height, width) of the image or of a step, None if the bottoms give them."""
        height, width = getattr(self.p, f"{name}_h"), getattr(self.p, f"{name}_w")
        if self.p.has(f"{name}_h") or self.p.has(f"{name}_w"):
            if self.p.has(both) or min(height, width) <= 0:
                raise self.refuse(f"takes {both}, or positive {name}_h and {name}_w")
            return height, width
        size = getattr(self.p, both)
        return (size, size) if self.p.has(both) else None

    def _clips(self) -> None:
        """Refuses fields of OpenCV beside no `clip`, whose default it has its own way."""
        if not self.p.has("clip"):
            raise self.refuse("needs clip: OpenCV, whose fields it has, clips by default, and SSD does not")

    def _sizes(self) -> list[tuple[float, float]]:
        """(height, width) of the boxes around one pixel, in pixels of the image."""
        if not self.p.width and not self.p.height:
            return self._derived()
        self._clips()
        return self._given()

    def _offsets(self) -> list[tuple[float, float]]:
        """(down, right) of the boxes' centres from their pixel, as parts of a step."""
        p = self.p
        if not p.offset_h and not p.offset_w:
            return [(p.offset, p.offset)]
        self._clips()
        if p.has("offset") or len(p.offset_h) != len(p.offset_w) or len(p.offset_h) > 2:
            raise self.refuse("takes offset, or one or two pairs of offset_h and offset_w")
        return list(zip(p.offset_h, p.offset_w, strict=True))

    def _given(self) -> list[tuple[float, float]]:
        """The sizes that the file lists."""
        p = self.p
        if p.min_size or p.max_size or p.aspect_ratio:
            raise self.refuse("takes width and height, or min_size with max_size and aspect_ratio; not both")
        if not p.width or len(p.width) != len(p.height) or min(*p.width, *p.height) <= 0:
            raise self.refuse(f"needs as many width as height, all positive; has {p.width} and {p.height}")
        return list(zip(p.height, p.width, strict=True))

    def _derived(self) -> list[tuple[float, float]]:
        """SSD's sizes, in its order."""
        p = self.p
        if not p.min_size or (p.max_size and len(p.max_size) != len(p.min_size)):
            raise self.refuse(
                f"needs min_size, and as many max_size or none; has {p.min_size} and {p.max_size}"
            )
        if any(big <= small for small, big in zip(p.min_size, p.max_size, strict=False)):
            raise self.refuse(f"max_size: {p.max_size} must be greater than min_size: {p.min_size}")
        sizes = [int(size) for size in p.min_size]
        largest = [int(size) for size in p.max_size]
        boxes: list[tuple[float, float]] = []
        for position, size in enumerate(sizes):
            boxes.append((float(size), float(size)))
            if largest:
                boxes.append((math.sqrt(size * largest[position]),) * 2)
            boxes += [(size / math.sqrt(ratio), size * math.sqrt(ratio)) for ratio in self._ratios()]
        return boxes

    def _ratios(self) -> list[float]:
        """The aspect ratios other than 1, each once, each followed by its inverse with `flip`."""
        ratios = [1.0]
        for ratio in self.p.aspect_ratio:
            if all(abs(ratio - known) >= 1e-6 for known in ratios):
                ratios += [ratio, 1 / ratio] if self.p.flip else [ratio]
        return ratios[1:]

    def look(self, view: View) -> View | None:
        return None

    def top_shapes(self) -> tuple[Shape | None, ...]:
        bottom = self.bottoms[0]
        if bottom is None or bottom[2] is None or bottom[3] is None:
            return ((1, 2, None),)
        return ((1, 2, bottom[2] * bottom[3] * len(self.boxes) * 4),)

    def forward(self, *bottoms: Tensor, **blobs: Tensor) -> Tensor:
        image = self.image or tuple(bottoms[1].shape[2:])
        offsets, clip = self.offsets, self.p.clip
        return prior_boxes(bottoms[0], image, self.step, offsets, clip, self.boxes, self.variance)

    def python(self, place: Place) -> PythonForm:
        image = literal(self.image) if self.image else f"{place.bottoms[1]}.shape[2:]"
        step = literal(self.step) if self.step else "None"
        numbers = map(literal, (self.offsets, self.p.clip, self.boxes, self.variance))
        arguments = ", ".join([place.bottoms[0], image, step, *numbers])
        return PythonForm(f"prior_boxes({arguments})", parts=(prior_boxes,))


@converts("PriorBoxClustered")
class PriorBoxClustered(PriorBox):
    """OpenVINO's: a PriorBox whose boxes have the sizes `width` and `height`."""

    held_against = "NumPy loops"

    def _sizes(self) -> list[tuple[float, float]]:
        return self._given()


@converts("DetectionOutput")
class DetectionOutput(Converter):
    """SSD's: decodes the boxes, keeps confident ones that do not overlap; rows of seven numbers.

    Top (1, 1, detections, 7): image, label, confidence, xmin, ymin, xmax, ymax. Where nothing is found there
    is one row of -1 per image. A fourth bottom is the image to draw on: saving (`save_output_param`) and
    drawing (`visualize`) are left to the caller. RefineDet's layer, known by five bottoms or by its
    `objectness_score`, takes there whether a prior holds an object, and then how to move the priors.
    """

    bottom_count = (3, 5)
    held_against = "NumPy loops; SSD's Caffe"
    fork_fields = frozenset({"detection_output_param", "transform_param"})

    def __init__(self, layer: Layer, bottoms: tuple[Shape | None, ...]) -> None:
        super().__init__(layer, bottoms)
        p = self.p = layer.fields.detection_output_param
        if len(bottoms) == 5 and not p.share_location:
            raise self.refuse("moves priors, as RefineDet does, only with share_location")
        self.filters = len(bottoms) == 5 or (len(bottoms) == 4 and p.has("objectness_score"))
        if not p.num_classes:
            raise self.refuse("num_classes must be given")
        if p.nms_param.nms_threshold < 0 or not 0 < p.nms_param.eta <= 1:
            raise self.refuse("nms_threshold must not be negative, and eta over 0 and at most 1")

    def look(self, view: View) -> View | None:
        return None

    def top_shapes(self) -> tuple[Shape | None, ...]:
        return ((1, 1, None, 7),)

    def forward(self, *bottoms: Tensor, **blobs: Tensor) -> Tensor:
        locations, confidences, priors, *refined = (bottom.detach() for bottom in bottoms)
        if locations.device.type == "meta":
            return locations.new_empty(1, 1, 1, 7)
        prior, variance = priors.reshape(2, -1, 1, 4)
        if len(refined) == 2:
            prior = self._decoded(refined[1].reshape(len(locations), -1, 1, 4), prior, variance)
        classes = 1 if self.p.share_location else self.p.num_classes
        boxes = self._decoded(locations.reshape(len(locations), -1, classes, 4), prior, variance)
        scores = confidences.reshape(len(boxes), -1, self.p.num_classes)
        if self.filters:
            easy = refined[0].reshape(len(boxes), -1, 2)[..., 1:] < self.p.objectness_score
            scores = torch.eye(self.p.num_classes).to(scores)[0].where(easy, scores)
        if is_exporting():
            return self._as_operator(boxes, scores)
        rows = [row for image in range(len(boxes)) for row in self._found(image, boxes[image], scores[image])]
        if not rows:
            nothing = locations.new_full((len(boxes), 7), -1.0)
            nothing[:, 0] = torch.arange(len(boxes))
            return nothing[None, None]
        return torch.stack(rows)[None, None]

    def _as_operator(self, boxes: Tensor, scores: Tensor) -> Tensor:
        p, nms = self.p, self.p.nms_param
        if nms.eta != 1:
            raise self.refuse(f"no graph can hold it: eta {nms.eta:.6g} changes the threshold with each box")
        labels = [label for label in range(p.num_classes) if label != p.background_label_id]
        index = torch.tensor(labels, device=scores.device)
        shared = p.share_location
        own = boxes.expand(-1, -1, len(labels), -1) if shared else boxes.index_select(2, index)
        rows: Tensor = operator()(
            own,
            scores.index_select(2, index),
            labels,
            p.confidence_threshold if p.has("confidence_threshold") else None,
            nms.nms_threshold,
            nms.top_k if nms.has("top_k") else -1,
            p.keep_top_k,
        )
        return rows

    def _decoded(self, location: Tensor, prior: Tensor, variance: Tensor) -> Tensor:
        """Boxes (images, priors, classes, 4) from locations relative to the priors."""
        p = self.p
        offset = location if p.variance_encoded_in_target else location * variance
        if p.code_type == "CORNER":
            return prior + offset
        size = prior[..., 2:] - prior[..., :2]
        if p.code_type == "CORNER_SIZE":
            return prior + offset * torch.cat([size, size], -1)
        centre = (prior[..., :2] + prior[..., 2:]) / 2 + offset[..., :2] * size
        half = size * offset[..., 2:].exp() / 2
        return torch.cat([centre - half, centre + half], -1)

    def _found(self, image: int, boxes: Tensor, scores: Tensor) -> list[Tensor]:
        """One image's rows, class by class, the most confident of a class first."""
        found = []
        for label in range(self.p.num_classes):
            if label != self.p.background_label_id:
                own = boxes[:, 0 if self.p.share_location else label]
                found += [(label, int(i)) for i in self._kept(own, scores[:, label])]
        if -1 < self.p.keep_top_k < len(found):
            found = sorted(found, key=lambda one: -float(scores[one[1], one[0]]))[: self.p.keep_top_k]
            found.sort(key=lambda one: one[0])
        return [self._row(image, label, i, boxes, scores) for label, i in found]

    def _kept(self, boxes: Tensor, scores: Tensor) -> list[int]:
        """The priors of one class's boxes that are kept, best first."""
        nms = self.p.nms_param
        chosen = torch.arange(len(scores), device=scores.device)
        if self.p.has("confidence_threshold"):
            chosen = chosen[scores > self.p.confidence_threshold]
        order = scores[chosen].sort(descending=True, stable=True).indices
        best = chosen[order[: nms.top_k] if nms.has("top_k") and nms.top_k > -1 else order]
        kept = suppress(boxes[best], nms.nms_threshold, 0, len(best), nms.eta)
        return [int(best[position]) for position in kept]

    def _row(self, image: int, label: int, i: int, boxes: Tensor, scores: Tensor) -> Tensor:
        box = boxes[i, 0 if self.p.share_location else label]
        head = box.new_tensor([image, label])
        return torch.cat([head, scores[i, label].view(1), box])
