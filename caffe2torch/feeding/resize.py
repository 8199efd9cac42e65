"""How OpenCV's resize makes an image of 8 bits smaller or larger: bilinear, in fixed point."""

from __future__ import annotations

import numpy as np

from caffe2torch.blob import Array
from caffe2torch.errors import NetError

MAX_PIXELS = 1 << 24
"""Of a resized image; each takes 100 bytes on the way."""
_ONE = 1 << 11
"""Weights have 11 bits (INTER_RESIZE_COEF_BITS)."""


def resize(image: Array, height: int, width: int) -> Array:
    """An image (C, H, W), uint8, as (C, height, width), to the last level as `cv::resize` gives it.

    Pixels are areas, so that half-pixel centres agree; nothing is smoothed. Raises NetError for a size over
    MAX_PIXELS.
    """
    if image.shape[1:] == (height, width):
        return image
    if height * width > MAX_PIXELS:
        raise NetError(f"images are to become {height} x {width} (height x width), over {MAX_PIXELS} pixels")
    left, right, weights = _taps(image.shape[2], width)
    # Beyond the first and the last column there is one tap; beyond rows there are two, and both truncate.
    single = (left == right) * _ONE
    weights = np.stack([np.maximum(weights[0], single), np.where(single, 0, weights[1])])
    wide = image.astype(np.int32)
    rows = wide[:, :, left] * weights[0] + wide[:, :, right] * weights[1]  # (C, H, width), 11 bits up
    top, bottom, weights = _taps(image.shape[1], height)
    above, below = (
        ((rows[:, taps] >> 4) * weight[:, None]) >> 16
        for taps, weight in ((top, weights[0]), (bottom, weights[1]))
    )
    levels: Array = (above + below + 2) >> 2
    return levels.astype(np.uint8)


def _taps(size: int, new: int) -> tuple[Array, Array, Array]:
    """For each new pixel of an axis: the two old ones, equal beyond a border, and their weights (2, new)."""
    place = ((np.arange(new) + 0.5) * (size / new) - 0.5).astype(np.float32)
    first = np.floor(place)
    part = place - first
    weights = np.rint(np.stack([np.float32(1) - part, part]) * np.float32(_ONE)).astype(np.int32)
    before, after = (np.clip(first.astype(np.int64) + i, 0, size - 1) for i in (0, 1))
    return before, after, weights
