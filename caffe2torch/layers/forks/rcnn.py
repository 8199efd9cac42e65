"""ROIPooling and SmoothL1Loss (Fast R-CNN), PSROIPooling (R-FCN).

A region of interest is a row (image, xmin, ymin, xmax, ymax), in pixels of the input image.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from caffe2torch._torch import torch
from caffe2torch.layers.axes import product
from caffe2torch.layers.converter import Converter, Shape
from caffe2torch.layers.geometry import View
from caffe2torch.layers.registry import converts
from caffe2torch.net import Layer

if TYPE_CHECKING:
    from torch import Tensor


def _round(x: Tensor) -> Tensor:
    """C's round: halves go away from zero, where torch's go to the even number."""
    return torch.where(x < 0, (x - 0.5).ceil(), (x + 0.5).floor())


def _parts(
    start: Tensor, step: Tensor, count: int, size: int, shift: Tensor | int = 0
) -> tuple[Tensor, Tensor]:
    """The first pixel of each part of the regions along one axis, and the one after the last; (R, count)."""
    position = torch.arange(count, dtype=step.dtype, device=step.device)
    begin = (position * step[:, None] + start[:, None]).floor() + shift
    end = ((position + 1) * step[:, None] + start[:, None]).ceil() + shift
    return begin.clamp(0, size).long(), end.clamp(0, size).long()


class _Pool(Converter):
    """Two bottoms: features (N, C, H, W) and regions (R, 5)."""

    bottom_count = (2, 2)

    def __init__(self, layer: Layer, bottoms: tuple[Shape | None, ...]) -> None:
        super().__init__(layer, bottoms)
        if (regions := bottoms[1]) is not None and product(regions[1:]) not in (5, None):
            raise self.refuse(f"its regions are {regions}; each needs 5 numbers (image and corners)")

    def look(self, view: View) -> View | None:
        return None

    def _regions(self, features: Tensor, rois: Tensor) -> Tensor:
        """The regions as (R, 5); whatever axes they have, Caffe reads five numbers each."""
        rows = rois.flatten(1)  # there may be none
        if rows.shape[1] != 5:
            raise self.refuse(
                f"its regions are {tuple(rois.shape)}; each needs 5 numbers (image and corners)"
            )
        if rows.device.type != "meta" and ((rows[:, 0] < 0) | (rows[:, 0] >= len(features))).any():
            raise self.refuse(f"a region names an image that is not among the {len(features)}")
        return rows


@converts("ROIPooling")
class ROIPooling(_Pool):
    """Fast R-CNN's: the maximum of each of `pooled_h` x `pooled_w` parts of a region; 0 for an empty part."""

    held_against = "NumPy loops"
    fork_fields = frozenset({"roi_pooling_param"})

    def __init__(self, layer: Layer, bottoms: tuple[Shape | None, ...]) -> None:
        super().__init__(layer, bottoms)
        self.p = layer.fields.roi_pooling_param
        if not self.p.pooled_h or not self.p.pooled_w:
            raise self.refuse("pooled_h and pooled_w must be positive")

    def top_shapes(self) -> tuple[Shape | None, ...]:
        features, rois = self.bottoms
        count = rois[0] if rois else None
        return ((count, features[1] if features else None, self.p.pooled_h, self.p.pooled_w),)

    def forward(self, *bottoms: Tensor, **blobs: Tensor) -> Tensor:
        features, rois = bottoms[0], self._regions(*bottoms)
        corners = _round(rois[:, 1:] * self.p.spatial_scale)
        left, right = self._axis(features, corners, 0)
        top, bottom = self._axis(features, corners, 1)
        pooled = features.new_zeros(len(rois), features.shape[1], self.p.pooled_h, self.p.pooled_w)
        if rois.device.type == "meta":
            return pooled
        rows, columns = torch.stack([top, bottom], 2).tolist(), torch.stack([left, right], 2).tolist()
        images = rois[:, 0].long().tolist()
        regions = [_maxima(features[i], rows[n], columns[n]) for n, i in enumerate(images)]
        return torch.stack(regions) if regions else pooled

    def _axis(self, features: Tensor, corners: Tensor, axis: int) -> tuple[Tensor, Tensor]:
        """The parts along x (axis 0) or y (axis 1)."""
        count = (self.p.pooled_w, self.p.pooled_h)[axis]
        start, end = corners[:, axis], corners[:, 2 + axis]
        # Fast R-CNN includes the last pixel, and makes a region at least one pixel wide.
        step = (end - start + 1).clamp(min=1) / count
        return _parts(torch.zeros_like(start), step, count, features.shape[3 - axis], start[:, None])


def _maxima(image: Tensor, rows: list[list[int]], columns: list[list[int]]) -> Tensor:
    """The maxima (C, rows, columns) of the parts of one region of an image (C, H, W)."""
    parts = []
    for top, bottom in rows:
        band = image[:, top:bottom].amax(1) if top < bottom else image[:, 0] * 0
        parts += [band[:, left:right].amax(1) if left < right else band[:, 0] * 0 for left, right in columns]
    return torch.stack(parts, 1).view(len(image), len(rows), len(columns))


@converts("PSROIPooling")
class PSROIPooling(_Pool):
    """R-FCN's: the mean of each of `group_size` x `group_size` parts of a region, of its own channels."""

    held_against = "NumPy loops"
    fork_fields = frozenset({"psroi_pooling_param"})

    def __init__(self, layer: Layer, bottoms: tuple[Shape | None, ...]) -> None:
        super().__init__(layer, bottoms)
        p = self.p = layer.fields.psroi_pooling_param
        if not (p.has("spatial_scale") and p.output_dim > 0 and p.group_size > 0):
            raise self.refuse("needs spatial_scale, output_dim and group_size")
        needed, features = p.output_dim * p.group_size**2, bottoms[0]
        if features is not None and features[1] not in (None, needed):
            raise self.refuse(
                f"output_dim: {p.output_dim} needs {needed} channels, its bottom has {features[1]}"
            )

    def top_shapes(self) -> tuple[Shape | None, ...]:
        rois = self.bottoms[1]
        return ((rois[0] if rois else None, self.p.output_dim, self.p.group_size, self.p.group_size),)

    def forward(self, *bottoms: Tensor, **blobs: Tensor) -> Tensor:
        features, rois = bottoms[0], self._regions(*bottoms)
        left, right = self._axis(features, rois, 0)
        top, bottom = self._axis(features, rois, 1)
        group, image = self.p.group_size, rois[:, 0].long()[:, None, None]
        # Sums of all that lies above and left of a pixel, so that a part's sum takes four of them.
        sums = torch.nn.functional.pad(features.double().cumsum(2).cumsum(3), (1, 0, 1, 0))
        sums = sums.view(len(features), self.p.output_dim, group, group, *sums.shape[2:])
        y, x = torch.arange(group, device=sums.device)[:, None], torch.arange(group, device=sums.device)

        def corner(rows: Tensor, columns: Tensor) -> Tensor:
            """(R, group, group, output_dim): the sums at a corner of each part, in its own channels."""
            return sums[image, :, y, x, rows[:, :, None], columns[:, None, :]]

        total = corner(bottom, right) - corner(top, right) - corner(bottom, left) + corner(top, left)
        pixels = (bottom - top).clamp(min=0)[:, :, None] * (right - left).clamp(min=0)[:, None, :]
        mean = torch.where(
            pixels[..., None] > 0, total / pixels[..., None].clamp(min=1), torch.zeros_like(total)
        )
        return mean.permute(0, 3, 1, 2).to(features.dtype)

    def _axis(self, features: Tensor, rois: Tensor, axis: int) -> tuple[Tensor, Tensor]:
        """The parts along x (axis 0) or y (axis 1)."""
        start, end = (_round(rois[:, corner + axis]) for corner in (1, 3))
        start, end = start * self.p.spatial_scale, (end + 1) * self.p.spatial_scale
        step = (end - start).clamp(min=0.1) / self.p.group_size
        return _parts(start, step, self.p.group_size, features.shape[3 - axis])


@converts("SmoothL1Loss")
class SmoothL1Loss(Converter):
    """Fast R-CNN's: an L1 loss that is quadratic within 1 / `sigma`^2 of 0; a mean over the batch.

    Further bottoms weight the difference inside the loss, and the loss from outside, elementwise.
    """

    bottom_count = (2, 4)
    held_against = "NumPy loops; SSD's Caffe"
    is_loss = True
    fork_fields = frozenset({"smooth_l1_loss_param"})

    def __init__(self, layer: Layer, bottoms: tuple[Shape | None, ...]) -> None:
        super().__init__(layer, bottoms)
        self.sigma2 = layer.fields.smooth_l1_loss_param.sigma**2

    def look(self, view: View) -> View | None:
        return None

    def top_shapes(self) -> tuple[Shape | None, ...]:
        return ((),)

    def forward(self, *bottoms: Tensor, **blobs: Tensor) -> Tensor:
        if any(bottom.numel() != bottoms[0].numel() for bottom in bottoms):
            raise self.refuse(f"its bottoms differ: {', '.join(str(tuple(b.shape)) for b in bottoms)}")
        values, targets, *weights = (bottom.reshape(len(bottoms[0]), -1) for bottom in bottoms)
        inside, outside = [*weights, None, None][:2]
        difference = values - targets if inside is None else (values - targets) * inside
        size = difference.abs()
        bent = size < 1 / self.sigma2
        loss = torch.where(bent, 0.5 * self.sigma2 * difference**2, size - 0.5 / self.sigma2)
        return (loss if outside is None else loss * outside).sum() / len(values)
