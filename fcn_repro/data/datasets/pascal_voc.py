"""PASCAL VOC 2011 and 2012, segmentation: the VOCdevkit as its tar unpacks.

    VOCdevkit/VOC2012/JPEGImages/ID.jpg
                      SegmentationClass/ID.png          palette PNG: 0 background, 1 to 20, 255 void
                      ImageSets/Segmentation/SPLIT.txt  one id per line

A folder that holds nothing but label PNGs opens too: its labels can be read, its images cannot.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from caffe2torch.errors import MissingData
from fcn_repro.data import reading, splits
from fcn_repro.data.datasets.base import Dataset, Label, Split, first_with, register
from fcn_repro.data.palette import colormap, labelling
from fcn_repro.data.published import Archive, DataSource

OBJECTS = (
    *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train"),
    "tvmonitor",
)
CLASSES = ("background", *OBJECTS)
LABELLINGS = {"sem": labelling(CLASSES, colormap(21))}

_KITS = ("", "VOCdevkit/", "TrainVal/VOCdevkit/")  # the last is where VOC 2011 unpacks
_SEG11VALID = Split(736, note="seg11valid: the images of VOC 2011 val that SBD's train does not have.")
_TEST_NOTE = "The evaluation server keeps the labels of test; registered users get the images."


class PascalVoc(Dataset):
    """What the years share. Your own list next to train.txt opens by its name."""

    year: ClassVar[int]
    labellings = LABELLINGS
    quirks = ("Label 255 marks object borders and unlabelled pixels: neither learned nor scored.",)
    list_file = "ImageSets/Segmentation/{split}.txt"
    image_file = "JPEGImages/{id}.jpg"
    label_files: ClassVar = {"sem": "SegmentationClass/{id}.png"}

    @classmethod
    def find(cls, folder: Path) -> Path:
        """The year's folder, or another year's (both have seg11valid), or a folder of label PNGs."""
        years = [f"{kit}VOC{year}" for year in (cls.year, 2012, 2011) for kit in _KITS]
        if found := first_with(folder, (".", *years), ("JPEGImages",)):
            return found
        if next(folder.glob("*.png"), None):
            return folder
        raise MissingData(
            f"{folder}: no {cls.title} here: neither VOCdevkit/VOC{cls.year} nor JPEGImages nor label PNGs; "
            f"{cls.how_to_get()}"
        )

    def listed(self) -> Sequence[str] | None:
        """The list in ImageSets, which lacks seg11valid."""
        return splits.read("seg11valid") if self.split == "seg11valid" else super().listed()

    def label_paths(self, identifier: str) -> Mapping[str, Path]:
        """SBD's labels merged with VOC's own, as PNGs, circulate as SegmentationClassAug."""
        if self.labels_only:
            return {"sem": self.folder / f"{identifier}.png"}
        if self.split == "trainaug":
            return {"sem": self.folder / "SegmentationClassAug" / f"{identifier}.png"}
        return super().label_paths(identifier)

    def read_label(self, path: Path, head: str) -> Label:
        """As on disk."""
        return reading.read_label(path, self.heads[head].palette)

    def needed(self, identifier: str) -> tuple[Path, ...]:
        """Image and label, or only the label."""
        image, *labels = super().needed(identifier)
        return tuple(labels) if self.labels_only else (image, *labels)

    @property
    def labels_only(self) -> bool:
        """Whether the folder holds nothing but label PNGs."""
        return not (self.folder / "JPEGImages").is_dir()


@register
class PascalVoc2011(PascalVoc):
    """VOC 2011, which the papers evaluate on."""

    name = "voc2011"
    title = "PASCAL VOC 2011"
    published: ClassVar = {
        "voc2011": DataSource(
            "PASCAL VOC 2011, training and validation",
            "http://host.robots.ox.ac.uk/pascal/VOC/voc2011/",
            "annotation: see the page; the images are Flickr's, under its terms of use",
            (
                Archive(
                    "VOCtrainval_25-May-2011.tar",
                    "http://host.robots.ox.ac.uk/pascal/VOC/voc2011/VOCtrainval_25-May-2011.tar",
                    md5=("6c3384ef61512963050cb5d687e5bf1e",),  # pytorch/vision, torchvision/datasets/voc.py
                ),
            ),
        )
    }
    year = 2011
    splits: ClassVar = {
        "train": Split(1112),
        "val": Split(1111),
        "trainval": Split(2223),
        "seg11valid": _SEG11VALID,
        "test": Split(labelled=False, note=_TEST_NOTE),
    }


@register
class PascalVoc2012(PascalVoc):
    """VOC 2012, whose images and labels include those of 2011."""

    name = "voc2012"
    title = "PASCAL VOC 2012"
    published: ClassVar = {
        "voc2012": DataSource(
            "PASCAL VOC 2012, training and validation",
            "http://host.robots.ox.ac.uk/pascal/VOC/voc2012/",
            "annotation: see the page; the images are Flickr's, under its terms of use",
            (
                Archive(
                    "VOCtrainval_11-May-2012.tar",
                    "http://host.robots.ox.ac.uk/pascal/VOC/voc2012/VOCtrainval_11-May-2012.tar",
                    size=1_999_639_040,
                    md5=("6cd6e144f989b92b3379bac3b3de84fd",),  # wkentaro/fcn, fcn/datasets/voc.py
                ),
            ),
        ),
        "voc2012-test": DataSource(
            "PASCAL VOC 2012, test images",
            "http://host.robots.ox.ac.uk:8080/",
            "the images are Flickr's, under its terms of use",
            (Archive("VOC2012test.tar", None),),
            note="The evaluation server gives VOC2012test.tar to registered users: fetch it by hand.",
        ),
    }
    year = 2012
    splits: ClassVar = {
        "train": Split(1464),
        "val": Split(1449),
        "trainval": Split(2913),
        "trainaug": Split(
            10582, note="trainaug: train and SBD, without val; labels in SegmentationClassAug."
        ),
        "seg11valid": _SEG11VALID,
        "test": Split(1456, labelled=False, note=_TEST_NOTE),
    }
