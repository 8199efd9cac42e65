"""Any folder of images and label PNGs.

classes.txt                     one class per line, in the order of the labels: NAME, or NAME R G B
images/ID.jpg (.jpeg, .png)     the split "all", or the part of it whose ids are in SPLIT.txt
labels/ID.png                   8 bits, palette or grey: 0 is the first class, 255 void
SPLIT/images, SPLIT/labels      or each split in its own folder
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import ClassVar

from PIL import Image

from caffe2torch.command_line import Progress
from caffe2torch.errors import ReadError, WriteError
from fcn_repro.data import png, reading
from fcn_repro.data.datasets.base import Dataset, Label, Labelling, Split, register
from fcn_repro.data.labels import IGNORE_LABEL
from fcn_repro.data.palette import colormap, frozen
from fcn_repro.files import write

_SUFFIXES = (".jpg", ".jpeg", ".png")
_COLOURED = re.compile(r"(.+?)\s+(\d{1,3})\s+(\d{1,3})\s+(\d{1,3})")


@register
class Folder(Dataset):
    """Images and labels of the user's own."""

    name = "folder"
    title = "folder of images and labels"
    marks = ("classes.txt",)
    list_file = "{split}.txt"
    splits: ClassVar = {"all": Split()}

    @property
    def heads(self) -> Mapping[str, Labelling]:
        """One head, with the classes in classes.txt."""
        return self._heads

    @cached_property
    def _heads(self) -> Mapping[str, Labelling]:
        return {"sem": read_classes(self.folder / "classes.txt")}

    @cached_property
    def _root(self) -> Path:
        own = self.folder / self.split
        return own if (own / "images").is_dir() else self.folder

    def listed(self) -> Sequence[str] | None:
        """The ids in SPLIT.txt, or else the images in SPLIT/images or, for "all", in images."""
        if self.split != "classes" and (ids := super().listed()) is not None:
            return ids
        if self._root == self.folder and self.split != "all":
            return None
        images = self._root / "images"
        found = sorted(path.stem for path in images.glob("*") if path.suffix in _SUFFIXES)
        return reading.as_ids(found, images)

    def image_path(self, identifier: str) -> Path:
        """With whichever suffix it has."""
        paths = [self._root / "images" / f"{identifier}{suffix}" for suffix in _SUFFIXES]
        return next((path for path in paths if path.is_file()), paths[0])

    def label_paths(self, identifier: str) -> Mapping[str, Path]:
        """Beside the images."""
        return {"sem": self._root / "labels" / f"{identifier}.png"}

    def read_label(self, path: Path, head: str) -> Label:
        """As on disk."""
        return reading.read_label(path, self.heads[head].palette)

    @classmethod
    def how_to_get(cls) -> str:
        """Only the user has it."""
        return "put classes.txt (one class per line, in the order of the labels) next to images/ and labels/"


def save_folder(dataset: Dataset, folder: Path, progress: Progress | None = None) -> None:
    """Writes a split as such a folder: its split "all", with the labels of the first head and their colours.

    classes.txt comes last, so that an interrupted folder does not open. Raises WriteError for a folder that
    is not empty, and what reading raises.
    """
    if folder.exists() and not (folder.is_dir() and next(folder.iterdir(), None) is None):
        raise WriteError(f"{folder}: already exists; name a new folder, or an empty one")
    for done, sample in enumerate(dataset, start=1):
        image = png.encoded(Image.fromarray(sample.image_hwc), "PNG")
        write(folder / "images" / f"{sample.id}.png", image)
        write(folder / "labels" / f"{sample.id}.png", png.label_png(sample.label, dataset.palette))
        if progress is not None:
            progress(done, len(dataset))
    colours = (" ".join(map(str, colour)) for colour in dataset.palette.tolist())
    lines = [f"{name} {colour}\n" for name, colour in zip(dataset.classes, colours, strict=True)]
    write(folder / "classes.txt", "".join(lines))


def read_classes(path: Path) -> Labelling:
    """classes.txt: names, and their colours, by default PASCAL VOC's. Raises ReadError for more than 255."""
    lines = reading.read_lines(path)
    if not 1 <= len(lines) <= IGNORE_LABEL:
        raise ReadError(f"{path}: {len(lines)} classes; labels of 8 bits name 1 to {IGNORE_LABEL}, and void")
    names, colours = [], colormap(len(lines)).tolist()
    for label, line in enumerate(lines):
        coloured = _COLOURED.fullmatch(line)
        names.append(coloured[1] if coloured else line)
        if coloured:
            colours[label] = [int(value) for value in coloured.groups()[1:]]
    if max(map(max, colours)) > 255:
        raise ReadError(f"{path}: a colour is three numbers from 0 to 255")
    return Labelling(tuple(names), frozen(colours))
