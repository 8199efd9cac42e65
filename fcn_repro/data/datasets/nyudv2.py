"""NYUDv2 for the 40 classes of Gupta et al. (CVPR 2013), as the FCN authors' nyud.tar.gz lays it out.

data/images/img_ID.png         colour, RGB
data/depth/img_ID.png          depth, 16 bits
data/hha/img_ID.png            disparity, height and angle (Gupta et al., ECCV 2014)
segmentation/img_ID.mat        segmentation: 0 void, 1 to 40
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from fcn_repro.data import reading, splits
from fcn_repro.data.datasets.base import Dataset, Label, Split, register
from fcn_repro.data.datasets.matlab import read_matrix
from fcn_repro.data.images import read_image
from fcn_repro.data.labels import IGNORE_LABEL
from fcn_repro.data.palette import colormap, labelling
from fcn_repro.data.published import Archive, DataSource

CLASSES = (
    *("wall", "floor", "cabinet", "bed", "chair", "sofa", "table", "door", "window", "bookshelf"),
    *("picture", "counter", "blinds", "desk", "shelves", "curtain", "dresser", "pillow", "mirror"),
    *("floor mat", "clothes", "ceiling", "books", "refridgerator", "television", "paper", "towel"),
    *("shower curtain", "box", "whiteboard", "person", "night stand", "toilet", "sink", "lamp", "bathtub"),
    *("bag", "otherstructure", "otherfurniture", "otherprop"),
)

_VOID_FIRST = (IGNORE_LABEL, *range(40))


@register
class Nyudv2(Dataset):
    """1449 indoor scenes with depth. The papers train on trainval and test on test."""

    name = "nyudv2"
    title = "NYUDv2"
    published: ClassVar = {
        "nyudv2": DataSource(
            "NYUDv2, prepared by the FCN authors",
            "http://cs.nyu.edu/~silberman/datasets/nyu_depth_v2.html",
            "unknown, see the page",
            (Archive("nyud.tar.gz", "http://dl.caffe.berkeleyvision.org/nyud.tar.gz"),),
            note="Labels of 40 classes, depth and HHA by Gupta et al., "
            "http://people.eecs.berkeley.edu/~sgupta/cvpr13/data.tgz",
        )
    }
    labellings: ClassVar = {"sem": labelling(CLASSES, colormap(41)[1:])}
    places = (".", "nyud", "data/nyud")
    marks = ("segmentation", "data/images")
    image_file = "data/images/img_{id}.png"
    label_files: ClassVar = {"sem": "segmentation/img_{id}.mat"}
    mean_bgr = (116.190, 97.203, 92.318)
    quirks = (
        "On disk 0 is void and the classes are 1 to 40; here 255 is void and they are 0 to 39.",
        "A copy without data/depth or data/hha opens, but nets that take them cannot run on it.",
    )
    splits: ClassVar = {"train": Split(381), "val": Split(414), "trainval": Split(795), "test": Split(654)}

    def listed(self) -> Sequence[str] | None:
        """The FCN authors' lists; trainval is both."""
        if self.split not in self.splits:
            return None
        parts = ("train", "val") if self.split == "trainval" else (self.split,)
        return [identifier for part in parts for identifier in splits.read(f"nyudv2_{part}")]

    def read_label(self, path: Path, head: str) -> Label:
        """One less than on disk, with void moved to 255."""
        return reading.lookup(read_matrix(path, "segmentation"), _VOID_FIRST, path)

    def read_depth(self, identifier: str) -> npt.NDArray[np.uint16] | None:
        """The depth map (H, W) as on disk."""
        path = self._path("data/depth/img_{id}.png", identifier)
        return reading.read_depth(path) if path.exists() else None

    def read_hha(self, identifier: str) -> npt.NDArray[np.uint8] | None:
        """The encoded depth map (H, W, 3), its channels as on disk."""
        path = self._path("data/hha/img_{id}.png", identifier)
        return read_image(path) if path.exists() else None
