"""SBD, the Semantic Boundaries Dataset (Hariharan et al., ICCV 2011), as benchmark.tgz unpacks.

benchmark_RELEASE/dataset/img/ID.jpg
                          cls/ID.mat           GTcls.Segmentation: 0 background, 1 to 20 as VOC
                          train.txt, val.txt
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from fcn_repro.data.datasets.base import Dataset, Label, Split, register
from fcn_repro.data.datasets.matlab import read_matrix
from fcn_repro.data.datasets.pascal_voc import LABELLINGS
from fcn_repro.data.published import Archive, DataSource
from fcn_repro.data.reading import as_ids, lookup, read_ids


@register
class Sbd(Dataset):
    """VOC's objects on 11355 images of VOC 2011. Your own lists next to train.txt open by their names."""

    name = "sbd"
    title = "SBD"
    published: ClassVar = {
        "sbd": DataSource(
            "SBD, the Semantic Boundaries Dataset",
            "http://home.bharathh.info/pubs/codes/SBD/download.html",
            "unknown, see the page; the images are Flickr's, under its terms of use",
            (
                Archive(
                    "benchmark.tgz",
                    "http://www.eecs.berkeley.edu/Research/Projects/CS/vision/grouping/semantic_contours/benchmark.tgz",
                    about=1_300_000_000,
                    # As the server stores it (torchvision/datasets/sbd.py); as it arrives where the transfer
                    # already unzips it, a plain tar under the same name (wkentaro/fcn).
                    md5=("82b4d87ceb2ed10f6038a1cba92111cb", "2b2af8a6cff7365684e002c08be823a6"),
                ),
            ),
            note="For train_noval put its list, train_noval.txt of the page, beside train.txt.",
        )
    }
    labellings = LABELLINGS
    places = (".", "dataset", "benchmark_RELEASE/dataset")
    marks = ("cls", "img")
    list_file = "{split}.txt"
    image_file = "img/{id}.jpg"
    label_files: ClassVar = {"sem": "cls/{id}.mat"}
    quirks = (
        "SBD's labels have no void border.",
        "SBD's train overlaps VOC's val: evaluate on seg11valid, or train on train_noval.",
    )
    splits: ClassVar = {
        "train": Split(8498),
        "val": Split(2857),
        "trainval": Split(11355),
        "train_noval": Split(
            5623, note="train_noval: train without VOC 2012 val; its list is published separately."
        ),
    }

    def listed(self) -> Sequence[str] | None:
        """The list on disk; trainval is both."""
        if self.split != "trainval":
            return super().listed()
        paths = (self.folder / "train.txt", self.folder / "val.txt")
        return as_ids((identifier for path in paths for identifier in read_ids(path)), self.folder)

    def read_label(self, path: Path, head: str) -> Label:
        """As on disk, in a struct."""
        return lookup(read_matrix(path, "GTcls", "Segmentation"), range(21), path)
