"""A sample as an FCN takes it: float32 (C, H, W), as the net's preprocessing says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

import caffe2torch as c2t
from caffe2torch.errors import MissingData, ReadError
from fcn_repro.data.datasets import Sample

MEAN_HHA = (132.431, 94.076, 118.477)
MEAN_LOG_DEPTH = 7.844
"""Both NYUDv2's, as in nyud_layers.py of shelhamer/fcn.berkeleyvision.org at 1305c73."""
COLOUR = ("data", "color")
"""The inputs that are colour images."""

Preparation = Mapping[str, c2t.Preprocessing]
"""By input."""


def prepared(blobs: Sequence[str], mean_bgr: Sequence[float]) -> dict[str, c2t.Preprocessing]:
    """How the papers' nets see their inputs: a colour image in Caffe's order, minus a mean; not scaled."""
    colour = c2t.Preprocessing(tuple(mean_bgr), channels="BGR")
    depth = {"depth": c2t.Preprocessing((MEAN_LOG_DEPTH,)), "hha": c2t.Preprocessing(MEAN_HHA)}
    known = {**dict.fromkeys(COLOUR, colour), **depth}
    return {blob: known[blob] for blob in blobs if blob in known}


def described(preparation: Preparation) -> str:
    """What is done to the inputs, for a record: "data: BGR, minus (104.0, 117.0, 123.0), times 1.0"."""
    steps = (f"{blob}: {x.channels}, minus {x.mean}, times {x.scale}" for blob, x in preparation.items())
    return "; ".join(steps)


def net_inputs(
    sample: Sample, blobs: Sequence[str], preparation: Preparation
) -> dict[str, npt.NDArray[np.float32]]:
    """A sample as the input blobs of a net: "data" or "color", "depth", "hha", each (C, H, W), uncropped.

    Raises MissingData for a blob that the sample does not have.
    """
    images = {blob: _image(sample, blob, preparation) for blob in blobs}
    return {blob: replace(preparation[blob], crop_size=0)(image) for blob, image in images.items()}


def _image(sample: Sample, blob: str, preparation: Preparation) -> npt.NDArray[np.generic]:
    """What a blob is made of (H, W, C): channels are in the net's order, depth is its logarithm."""
    if blob in COLOUR:
        return sample.image_hwc[:, :, :: -1 if preparation[blob].channels == "BGR" else 1]
    if blob == "depth" and sample.depth is not None:
        return log_depth(sample.depth)
    if blob == "hha" and sample.hha_hwc is not None:
        return sample.hha_hwc  # its channels are not reversed
    raise MissingData(f"{sample.id}: the net takes {blob!r}, which this data set or copy does not have")


def log_depth(depth: npt.NDArray[np.uint16]) -> npt.NDArray[np.float32]:
    """The logarithm of a depth map (H, W), as (H, W, 1). Raises ReadError for a depth of 0."""
    if depth.size and depth.min() == 0:
        raise ReadError(
            f"the depth map has {np.count_nonzero(depth == 0)} pixels of depth 0, which has no logarithm"
        )
    return np.log(depth.astype(np.float32))[:, :, np.newaxis]
