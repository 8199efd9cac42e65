"""SIFT Flow (Liu et al.; the geometry by Tighe and Lazebnik), as SiftFlowDataset.zip unpacks.

Images/spatial_envelope_256x256_static_8outdoorcategories/ID.jpg
SemanticLabels/ (the same)                               /ID.mat    S: 0 void, 1 to 33
GeoLabels/      (the same)                               /ID.mat    S: -1 void, 1 to 3
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np

from fcn_repro.data import splits
from fcn_repro.data.datasets.base import Dataset, Label, Split, register
from fcn_repro.data.datasets.matlab import read_matrix
from fcn_repro.data.labels import IGNORE_LABEL
from fcn_repro.data.palette import colormap, labelling
from fcn_repro.data.published import Archive, DataSource
from fcn_repro.data.reading import as_ids, lookup

CLASSES = (
    *("awning", "balcony", "bird", "boat", "bridge", "building", "bus", "car", "cow", "crosswalk", "desert"),
    *("door", "fence", "field", "grass", "moon", "mountain", "person", "plant", "pole", "river", "road"),
    *("rock", "sand", "sea", "sidewalk", "sign", "sky", "staircase", "streetlight", "sun", "tree", "window"),
)
GEOMETRY = ("sky", "horizontal", "vertical")
UNANNOTATED = ("highway_bost181", "street_urb506")

_SCENES = "spatial_envelope_256x256_static_8outdoorcategories"


@register
class SiftFlow(Dataset):
    """2688 outdoor scenes of 256x256 pixels, labelled twice: with objects, and with geometry."""

    name = "sift-flow"
    title = "SIFT Flow"
    published: ClassVar = {
        "sift-flow": DataSource(
            "SIFT Flow",
            "http://www.cs.unc.edu/~jtighe/Papers/ECCV10/",
            "unknown, see the page",
            (
                Archive(
                    "SiftFlowDataset.zip",
                    "http://www.cs.unc.edu/~jtighe/Papers/ECCV10/siftflow/SiftFlowDataset.zip",
                    about=140_000_000,
                ),
            ),
        )
    }
    labellings: ClassVar = {
        "sem": labelling(CLASSES, colormap(34)[1:]),
        "geo": labelling(GEOMETRY, [(70, 130, 220), (110, 90, 60), (190, 60, 60)]),
    }
    places = (".", "SiftFlowDataset", "data/sift-flow")
    marks = (f"Images/{_SCENES}", f"SemanticLabels/{_SCENES}")
    image_file = f"Images/{_SCENES}/{{id}}.jpg"
    label_files: ClassVar = {
        "sem": f"SemanticLabels/{_SCENES}/{{id}}.mat",
        "geo": f"GeoLabels/{_SCENES}/{{id}}.mat",
    }
    mean_bgr = (114.578, 115.294, 108.353)
    quirks = ("On disk 0 or -1 is void and the classes start at 1; here 255 is void and they start at 0.",)
    splits: ClassVar = {
        "trainval": Split(
            2486,
            note=f"Of the papers' 2488 images {' and '.join(UNANNOTATED)} have no annotation: 2486 are left.",
        ),
        "test": Split(
            200,
            absent=("cow", "desert", "moon"),
            note="No test image shows cow, desert or moon: means are over the other 30 of the 33 classes.",
        ),
    }

    def listed(self) -> Sequence[str] | None:
        """The published test list; for trainval, every other image that is annotated."""
        if self.split not in self.splits:
            return None
        test = splits.read("sift_flow_test")
        if self.split == "test":
            return test
        images = (self.folder / "Images" / _SCENES).glob("*.jpg")
        return as_ids(sorted({path.stem for path in images} - {*test, *UNANNOTATED}), self.folder)

    def read_label(self, path: Path, head: str) -> Label:
        """One less than on disk, with void moved to 255."""
        raw = np.maximum(read_matrix(path, "S"), 0)
        return lookup(raw, (IGNORE_LABEL, *range(len(self.labellings[head].classes))), path)
