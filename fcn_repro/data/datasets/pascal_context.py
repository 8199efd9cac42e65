"""PASCAL-Context (Mottaghi et al., CVPR 2014): VOC 2010 labelled with 459 categories, and its three tasks.

    VOCdevkit/VOC2010/JPEGImages/ID.jpg
                      ImageSets/Main/train.txt, val.txt
    trainval/ID.mat                                    LabelMap: 1 to 459
    labels.txt                                         the 459 names, "1: accordion"

The annotation may be next to VOCdevkit or inside VOC2010. labels.txt says which number has which name.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from caffe2torch.errors import MissingData, ReadError
from fcn_repro.data.datasets.base import Dataset, Label, Split, first_with, register
from fcn_repro.data.datasets.matlab import read_matrix
from fcn_repro.data.datasets.pascal_voc import OBJECTS
from fcn_repro.data.labels import IGNORE_LABEL
from fcn_repro.data.palette import colormap, labelling
from fcn_repro.data.published import Archive, DataSource
from fcn_repro.data.reading import lookup, read_ids, read_lines

CLASSES_59 = (
    *OBJECTS,
    *("bag", "bed", "bench", "book", "building", "cabinet", "ceiling", "clothes", "computer", "cup", "door"),
    *("fence", "floor", "flower", "food", "grass", "ground", "keyboard", "light", "mountain", "mouse"),
    *("curtain", "platform", "sign", "plate", "road", "rock", "shelves", "sidewalk", "sky", "snow"),
    *("bedcloth", "track", "tree", "truck", "wall", "water", "window", "wood"),
)
CLASSES_33 = (
    *OBJECTS,
    *("sky", "grass", "ground", "road", "building", "tree", "water", "mountain", "wall", "floor", "track"),
    *("keyboard", "ceiling"),
)
ALIASES = {"diningtable": "table", "bedcloth": "bedclothes", "clothes": "cloth"}
"""What three of the 59 are called among the 459."""

RAW_LABELS = 459

_VOC_PLACES = (".", "VOC2010", "VOCdevkit/VOC2010", "images/VOCdevkit/VOC2010")
_PLACES = (".", "annotation", "pascal-context", *_VOC_PLACES[1:])
_MARKS = ("labels.txt", "trainval")


class PascalContext(Dataset):
    """What the tasks share: they differ in which of the 459 are classes, and in what becomes of the rest."""

    published: ClassVar = {
        "pascal-context": DataSource(
            "PASCAL-Context and the images of VOC 2010",
            "http://www.cs.stanford.edu/~roozbeh/pascal-context/",
            "annotation: see the page; the images are Flickr's, under its terms of use",
            (
                Archive(
                    "VOCtrainval_03-May-2010.tar",
                    "http://host.robots.ox.ac.uk/pascal/VOC/voc2010/VOCtrainval_03-May-2010.tar",
                    into="images",
                    size=1_345_040_896,
                    md5=("da459979d0c395079b5c75ee67908abb",),  # pytorch/vision, torchvision/datasets/voc.py
                ),
                Archive(
                    "trainval.tar.gz",
                    "http://www.cs.stanford.edu/~roozbeh/pascal-context/trainval.tar.gz",
                    into="annotation",
                    about=30_700_000,
                    # ahundt/tf-image-segmentation, data_pascal_voc.py
                    md5=("df034edb2c12aa7d33b42b20bb1796e3",),
                ),
            ),
        )
    }
    splits: ClassVar = {"train": Split(4998), "val": Split(5105)}
    mean_bgr = (104.007, 116.669, 122.679)
    rest: ClassVar[int] = IGNORE_LABEL

    @classmethod
    def find(cls, folder: Path) -> Path:
        """The folder given, with images and annotation in it, together or apart."""
        for what, places, marks in (("images", _VOC_PLACES, ("JPEGImages",)), ("labels", _PLACES, _MARKS)):
            if not first_with(folder, places, marks):
                raise MissingData(
                    f"{folder}: no {what} of {cls.title} here: expected {' and '.join(marks)}, "
                    f"in it or in {', '.join(places[1:])}; {cls.how_to_get()}"
                )
        return folder

    def listed(self) -> Sequence[str] | None:
        """VOC 2010's lists, not those of its segmentation."""
        path = self._images / "ImageSets" / "Main" / f"{self.split}.txt"
        return read_ids(path) if path.is_file() else None

    def image_path(self, identifier: str) -> Path:
        """In VOC 2010."""
        return self._images / "JPEGImages" / f"{identifier}.jpg"

    def label_paths(self, identifier: str) -> Mapping[str, Path]:
        """In the annotation's folder."""
        return {"sem": self._annotation / "trainval" / f"{identifier}.mat"}

    def read_label(self, path: Path, head: str) -> Label:
        """The task's classes by the names of the raw labels."""
        return lookup(read_matrix(path, "LabelMap"), self._table, path)

    @cached_property
    def _images(self) -> Path:
        return first_with(self.folder, _VOC_PLACES, ("JPEGImages",)) or self.folder

    @cached_property
    def _annotation(self) -> Path:
        return first_with(self.folder, _PLACES, _MARKS) or self.folder

    @cached_property
    def _table(self) -> npt.NDArray[np.uint8]:
        """The task's label for each raw one, 0 to 459."""
        path = self._annotation / "labels.txt"
        numbers = read_names(path)
        table = np.full(RAW_LABELS + 1, self.rest, np.uint8)
        for label, name in enumerate(self.classes):
            raw_name = ALIASES.get(name, name)
            if raw_name in numbers:
                table[numbers[raw_name]] = label
            elif name != "background":
                raise ReadError(f"{path}: no label is called {raw_name!r}, which the task calls {name!r}")
        return table


def read_names(path: Path) -> dict[str, int]:
    """labels.txt: the number of each of the 459 names, without their spaces."""
    numbers: dict[str, int] = {}
    for line in read_lines(path):
        entry = re.fullmatch(r"([0-9]{1,3}):(.+)", line)
        if not (entry and 1 <= int(entry[1]) <= RAW_LABELS):
            raise ReadError(f"{path}: {line!r} is not NUMBER: NAME with a number from 1 to {RAW_LABELS}")
        numbers[entry[2].replace(" ", "")] = int(entry[1])
    if len(set(numbers.values())) != RAW_LABELS:
        raise ReadError(f"{path}: {len(set(numbers.values()))} labels, expected {RAW_LABELS}")
    return numbers


_ALIASES_QUIRK = (
    "Renamed in labels.txt: " + ", ".join(f"{name} is {raw}" for name, raw in ALIASES.items()) + "."
)


@register
class PascalContext60(PascalContext):
    """The 59 classes and, as class 0, everything else: what the published nets learn and are scored on."""

    name = "pascal-context"
    title = "PASCAL-Context, 59 classes and background"
    labellings: ClassVar = {"sem": labelling(("background", *CLASSES_59), colormap(60))}
    rest = 0
    quirks = ("The other 400 categories are class 0, which is learned and scored as a 60th.", _ALIASES_QUIRK)


@register
class PascalContext59(PascalContext):
    """Only the 59 classes."""

    name = "pascal-context-59"
    title = "PASCAL-Context, 59 classes"
    labellings: ClassVar = {"sem": labelling(CLASSES_59, colormap(60)[1:])}
    quirks = ("The other 400 categories are void.", _ALIASES_QUIRK)


@register
class PascalContext33(PascalContext):
    """The easier classes: VOC's 20 objects and 13 of their surroundings."""

    name = "pascal-context-33"
    title = "PASCAL-Context, 33 classes"
    labellings: ClassVar = {"sem": labelling(CLASSES_33, colormap(34)[1:])}
    quirks = ("The other 426 categories are void.", _ALIASES_QUIRK)
