"""DetectionOutput's choice of boxes as one operator of torch's, for graphs: its rows depend on values.

`torch.ops.caffe2torch.detections` is what torch.export sees in place of a loop over boxes; a format that has
non-maximum suppression puts its own in its place (formats/onnx/detecting.py).
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from caffe2torch._torch import torch

if TYPE_CHECKING:
    from torch import Tensor

_LIBRARY = "caffe2torch"
_SCHEMA = (
    "(Tensor boxes, Tensor scores, int[] labels, float? least, float overlap, int best, int most) -> Tensor"
)


@cache
def operator() -> Any:
    """The operator; torch hears of it at its first use.

    boxes (N, priors, labels, 4), scores (N, priors, labels) -> rows (1, 1, detections, 7). Of each label the
    `best` (-1 for all) of those over `least`, and of these the ones that no better one covers by more than
    `overlap`; then the `most` (-1 for all) of each image.
    """
    torch.library.define(f"{_LIBRARY}::detections", _SCHEMA)
    torch.library.register_fake(f"{_LIBRARY}::detections", _rows)
    return torch.ops.caffe2torch.detections.default


def _rows(boxes: Tensor, *others: object) -> Tensor:
    """Nobody knows how many."""
    return boxes.new_empty(1, 1, torch.library.get_ctx().new_dynamic_size(), 7)
