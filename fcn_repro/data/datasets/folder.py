"""Any folder of images and label PNGs.

classes.txt                     one class per line, in the order of the labels: NAME, or NAME R G B
images/ID.jpg (.png, .tif, ...) the split "all", or the part of it whose ids are in SPLIT.txt
labels/ID.png                   8 bits, palette or grey: 0 is the first class, 255 void;
                                or RGB, in the colours that classes.txt gives, with white as void
SPLIT/images, SPLIT/labels      or each split in its own folder
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import numpy as np
import numpy.typing as npt
from PIL import Image

import caffe2torch as c2t
from caffe2torch.command_line import Progress
from caffe2torch.errors import ReadError, WriteError
from fcn_repro.data import images, png, reading
from fcn_repro.data.datasets.base import Dataset, Label, Labelling, Split, register
from fcn_repro.data.labels import IGNORE_LABEL
from fcn_repro.files import write


@register
class Folder(Dataset):
    """Images and labels of the user's own."""

    name = "folder"
    title = "folder of images and labels"
    marks = ("classes.txt",)
    own = True
    list_file = "{split}.txt"
    splits: ClassVar = {"all": Split()}

    @property
    def heads(self) -> Mapping[str, Labelling]:
        """One head, with the classes in classes.txt."""
        return {"sem": self._classes[0]}

    @cached_property
    def _classes(self) -> tuple[Labelling, bool]:
        return c2t.read_classes(self.folder / "classes.txt", IGNORE_LABEL)

    @cached_property
    def _root(self) -> Path:
        own = self.folder / self.split
        return own if (own / "images").is_dir() else self.folder

    @cached_property
    def _images(self) -> Mapping[str, Path]:
        return _by_id(path for path in _files(self._root / "images") if _is_image(path))

    @cached_property
    def _labels(self) -> Mapping[str, Path]:
        return _by_id(path for path in _files(self._root / "labels") if path.suffix.lower() == ".png")

    @property
    def _has_list(self) -> bool:
        return self.split != "classes" and self._path(self.list_file).is_file()

    def listed(self) -> Sequence[str] | None:
        """The ids in SPLIT.txt, or else the images in SPLIT/images or, for "all", in images."""
        if self._has_list:
            return super().listed()
        folder = self._root / "images"
        if not folder.is_dir() or (self._root == self.folder and self.split != "all"):
            return None
        return reading.as_ids(self._images, folder)

    def lists(self) -> Sequence[str]:
        """SPLIT of each SPLIT.txt and SPLIT/images here, and "all" where there is a folder images."""
        found = {*super().lists(), *(path.parent.name for path in self.folder.glob("*/images"))}
        found |= {"all"} if (self.folder / "images").is_dir() else set()
        return sorted(found - {"classes"})

    def image_path(self, identifier: str) -> Path:
        """With whichever suffix it has."""
        return self._images.get(identifier, self._root / "images" / f"{identifier}.jpg")

    def label_paths(self, identifier: str) -> Mapping[str, Path]:
        """Beside the images."""
        return {"sem": self._labels.get(identifier, self._root / "labels" / f"{identifier}.png")}

    def read_image(self, identifier: str, shape: tuple[int, ...] | None) -> npt.NDArray[np.uint8]:
        """As stored, or turned as its orientation tag says where only that fits its labels."""
        return images.read_image(self.image_path(identifier), shape)

    def read_label(self, path: Path, head: str) -> Label:
        """The indices on disk or, where classes.txt gives colours, those of an RGB file's colours."""
        labelling, coloured = self._classes
        return reading.read_label(path, labelling.palette, by_colour=coloured)

    def unpaired(self, listed: Sequence[str]) -> str:
        """Images without a label and, unless a list says which count, files in labels that are no image's."""
        bare = [
            self._images[name].name for name in listed if name in self._images.keys() - self._labels.keys()
        ]
        taken = {self._labels.get(name) for name in self._images}
        labels = [] if self._has_list else _files(self._root / "labels")
        stray = [path.name for path in labels if path not in taken]
        found = {"images without a label PNG": bare, "in labels, but no PNG of an image's name": stray}
        return "; ".join(f"{what}: {reading.some(names)}" for what, names in found.items() if names)

    def left_out(self) -> Sequence[str]:
        """What lies among the images and is none."""
        others = [path.name for path in _files(self._root / "images") if not _is_image(path)]
        kinds = ", ".join(images.FORMATS)
        return [f"Left out of images, being none of {kinds}: {reading.some(others)}."] if others else []

    @classmethod
    def how_to_get(cls) -> str:
        """Only the user has it."""
        return (
            "put images/ID.jpg and labels/ID.png beside classes.txt (a class per line, in the labels' order)"
        )


def _files(folder: Path) -> list[Path]:
    """What is in a folder, but for hidden files."""
    return sorted(path for path in folder.glob("*") if not path.name.startswith("."))


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in images.SUFFIXES


def _by_id(paths: Iterable[Path]) -> dict[str, Path]:
    """The files by their names without suffix. Raises ReadError for two that differ in nothing else."""
    found: dict[str, Path] = {}
    for path in paths:
        if (other := found.setdefault(path.stem, path)) is not path:
            raise ReadError(f"{path}: {other.name} has the same name but for its suffix; which is meant?")
    return found


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
