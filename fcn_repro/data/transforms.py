"""A sample as an FCN takes it: float32 (C, H, W), Caffe's channel order, minus the mean, not scaled."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from caffe2torch.errors import MissingData, ReadError
from fcn_repro.data.datasets import Sample

MEAN_HHA = (132.431, 94.076, 118.477)
MEAN_LOG_DEPTH = 7.844
"""Both NYUDv2's, as in nyud_layers.py of shelhamer/fcn.berkeleyvision.org at 1305c73."""


def bgr(image_hwc: npt.NDArray[np.uint8], mean_bgr: Sequence[float]) -> npt.NDArray[np.float32]:
    """An RGB image (H, W, 3) as BGR minus the mean (3, H, W)."""
    return _chw(image_hwc[:, :, ::-1], mean_bgr)


def hha(hha_hwc: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """An encoded depth map (H, W, 3) minus the mean (3, H, W); its channels are not reversed."""
    return _chw(hha_hwc, MEAN_HHA)


def log_depth(depth: npt.NDArray[np.uint16]) -> npt.NDArray[np.float32]:
    """The logarithm of a depth map (H, W) minus its mean (1, H, W). Raises ReadError for a depth of 0."""
    if depth.size and depth.min() == 0:
        raise ReadError(
            f"the depth map has {np.count_nonzero(depth == 0)} pixels of depth 0, which has no logarithm"
        )
    return _chw(np.log(depth.astype(np.float32))[:, :, np.newaxis], (MEAN_LOG_DEPTH,))


def net_inputs(
    sample: Sample, blobs: Sequence[str], mean_bgr: Sequence[float]
) -> dict[str, npt.NDArray[np.float32]]:
    """A sample as the input blobs of a net: "data" or "color", "depth", "hha", each (C, H, W).

    Raises MissingData for a blob that the sample does not have.
    """
    return {blob: _blob(sample, blob, mean_bgr) for blob in blobs}


def _blob(sample: Sample, blob: str, mean_bgr: Sequence[float]) -> npt.NDArray[np.float32]:
    if blob in ("data", "color"):
        return bgr(sample.image_hwc, mean_bgr)
    if blob == "depth" and sample.depth is not None:
        return log_depth(sample.depth)
    if blob == "hha" and sample.hha_hwc is not None:
        return hha(sample.hha_hwc)
    raise MissingData(f"{sample.id}: the net takes {blob!r}, which this data set or copy does not have")


def _chw(image: npt.NDArray[np.generic], mean: Sequence[float]) -> npt.NDArray[np.float32]:
    values = image.astype(np.float32) - np.asarray(mean, np.float32)  # (H, W, C)
    return np.ascontiguousarray(values.transpose(2, 0, 1))
