"""Boxes and non-maximum suppression, for the detectors of SSD and of Faster R-CNN.

A box is (xmin, ymin, xmax, ymax), on the last axis of a tensor.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from caffe2torch._torch import torch

if TYPE_CHECKING:
    from torch import Tensor


def area(boxes: Tensor, pixel: float) -> Tensor:
    """Areas; `pixel` is 1 for boxes of whole pixels, which include their last one, and 0 for fractions.

    A box whose ends are swapped has area 0.
    """
    width, height = boxes[..., 2] - boxes[..., 0], boxes[..., 3] - boxes[..., 1]
    valid = (width >= 0) & (height >= 0)
    return torch.where(valid, (width + pixel) * (height + pixel), torch.zeros_like(width))


def overlap(box: Tensor, boxes: Tensor, pixel: float) -> Tensor:
    """Intersection over union of one box, (4,), with each of `boxes`, (n, 4); 0 if they are disjoint."""
    width = torch.minimum(box[2], boxes[:, 2]) - torch.maximum(box[0], boxes[:, 0]) + pixel
    height = torch.minimum(box[3], boxes[:, 3]) - torch.maximum(box[1], boxes[:, 1]) + pixel
    shared = width.clamp(min=0) * height.clamp(min=0)
    union = area(box, pixel) + area(boxes, pixel) - shared
    return torch.where(shared > 0, shared / union, torch.zeros_like(shared))


def suppress(boxes: Tensor, threshold: float, pixel: float, most: int, eta: float = 1.0) -> list[int]:
    """The positions of the boxes to keep, at most `most`; `boxes`, (n, 4), are sorted best first.

    A box is kept if no kept one overlaps it by more than the threshold, which shrinks by `eta` with each box
    kept while it is over 0.5 (SSD's adaptive suppression).
    """
    kept: list[int] = []
    if eta == 1.0:
        alive = torch.ones(len(boxes), dtype=torch.bool, device=boxes.device)
        for position in range(len(boxes)):
            if len(kept) == most:
                break
            if alive[position]:
                kept.append(position)
                alive[position:] &= overlap(boxes[position], boxes[position:], pixel) <= threshold
        return kept
    for position in range(len(boxes)):
        if len(kept) == most:
            break
        if not kept or overlap(boxes[position], boxes[kept], pixel).max() <= threshold:
            kept.append(position)
            threshold = threshold * eta if threshold > 0.5 else threshold
    return kept
