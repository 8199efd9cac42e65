"""What a data set is: its facts as class variables, its files by id, its samples on demand."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, TypeVar

import numpy as np
import numpy.typing as npt

from caffe2torch import Labelling as Labelling
from caffe2torch.errors import MissingData, ReadError
from fcn_repro.data import images
from fcn_repro.data.labels import IGNORE_LABEL
from fcn_repro.data.published import DataSource
from fcn_repro.data.reading import read_ids

VOC_MEAN_BGR = (104.00699, 116.66877, 122.67892)
"""PASCAL VOC's mean colour. A data set's own is that of its data layer in shelhamer/fcn.berkeleyvision.org at
1305c73; those that have none there fine-tune nets trained on VOC."""

Label = npt.NDArray[np.uint8]
"""The class of each pixel, (H, W)."""


@dataclass(frozen=True)
class Split:
    """A list of images. `count` is None if no number was published.

    `labelled` is False if the labels are kept secret; `absent` are classes that none of its images shows.
    """

    count: int | None = None
    labelled: bool = True
    absent: tuple[str, ...] = ()
    note: str = ""


@dataclass(frozen=True, eq=False)
class Sample:
    """One image as on disk, RGB, uint8 (H, W, 3), and its labels by head, uint8 (H, W), 255 = void.

    `labels` is empty if they are secret. NYUDv2 adds `depth`, uint16 (H, W), and `hha_hwc`, uint8.
    """

    id: str
    image_hwc: npt.NDArray[np.uint8]
    labels: Mapping[str, Label]
    depth: npt.NDArray[np.uint16] | None = None
    hha_hwc: npt.NDArray[np.uint8] | None = None

    @property
    def label(self) -> Label:
        """The labels (H, W) of the first head. Raises MissingData if they are secret."""
        if not self.labels:
            raise MissingData(f"{self.id}: the labels of this split are not public")
        return next(iter(self.labels.values()))


@dataclass(frozen=True)
class Dataset:
    """A split of a data set in a folder: `ids` in the order of the list; a sample is read when asked for.

    Made by `open_dataset`. `notes` says what to know about the data and this copy, one sentence each.
    The paths below are relative to the folder, with {id} and {split} to be filled in.
    """

    folder: Path
    split: str
    ids: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    name: ClassVar[str]
    title: ClassVar[str]
    labellings: ClassVar[Mapping[str, Labelling]] = {}
    splits: ClassVar[Mapping[str, Split]] = {}
    quirks: ClassVar[tuple[str, ...]] = ()
    rendered: ClassVar[bool] = False
    """Whether samples are made on demand: no folder is needed."""
    own: ClassVar[bool] = False
    """Whether it is the user's own: nothing was published of it, so its files are looked at first."""
    published: ClassVar[Mapping[str, DataSource]] = {}
    """Where it is published, by names for `--fetch`: its own, then those of parts that come apart."""
    source: ClassVar[str] = ""
    """The first name in `published`."""
    places: ClassVar[tuple[str, ...]] = (".",)
    """Where a copy may be below the given folder, as the archives unpack."""
    marks: ClassVar[tuple[str, ...]] = ()
    """What marks a copy."""
    list_file: ClassVar[str] = ""
    image_file: ClassVar[str] = ""
    label_files: ClassVar[Mapping[str, str]] = {}
    kept: ClassVar[str] = ""
    """What is left of the images, if they are masked (masked.py)."""
    ignore_label: ClassVar[int] = IGNORE_LABEL
    mean_bgr: ClassVar[tuple[float, float, float]] = VOC_MEAN_BGR
    """What nets trained on it subtract from an image."""

    def read_label(self, path: Path, head: str) -> Label:
        """The labels of one head in a file, classes from 0, void as 255. Every data set defines it."""
        raise NotImplementedError

    @property
    def heads(self) -> Mapping[str, Labelling]:
        """The labellings by name: "sem", and SIFT Flow's "geo"."""
        return self.labellings

    @property
    def classes(self) -> tuple[str, ...]:
        """The class names of the first head."""
        return next(iter(self.heads.values())).classes

    @property
    def palette(self) -> npt.NDArray[np.uint8]:
        """The colours (N, 3) of the first head's classes."""
        return next(iter(self.heads.values())).palette

    @property
    def facts(self) -> Split:
        """What was published about the split; nothing about a list of the user's own."""
        return self.splits.get(self.split, Split())

    @property
    def labelled(self) -> bool:
        """Whether the split's labels are public."""
        return self.facts.labelled

    @property
    def absent(self) -> tuple[str, ...]:
        """Classes of the first head that no image of the split shows; means leave them out."""
        return self.facts.absent

    def __len__(self) -> int:
        return len(self.ids)

    def __iter__(self) -> Iterator[Sample]:
        return (self[index] for index in range(len(self)))

    def __getitem__(self, index: int) -> Sample:
        identifier = self.ids[index]
        labels = self.labels(index) if self.labelled else {}
        shape = next((label.shape for label in labels.values()), None)
        image_hwc = self.read_image(identifier, shape)
        for label in labels.values():
            refuse_other_size(self.image_path(identifier), image_hwc.shape[:2], label.shape)
        return Sample(identifier, image_hwc, labels, self.read_depth(identifier), self.read_hha(identifier))

    def labels(self, index: int) -> Mapping[str, Label]:
        """A sample's labels by head, without its image. Raises ReadError for a number that is not a class."""
        labels = {}
        for head, path in self.label_paths(self.ids[index]).items():
            labels[head] = label = self.read_label(path, head)
            known = len(self.heads[head].classes)
            unknown = label[(label >= known) & (label != IGNORE_LABEL)]
            if unknown.size:
                raise ReadError(f"{path}: label {unknown[0]}; known are 0 to {known - 1}, and {IGNORE_LABEL}")
        return labels

    def read_image(self, identifier: str, shape: tuple[int, ...] | None) -> npt.NDArray[np.uint8]:
        """An image (H, W, 3), RGB, as stored; `shape` is its labels' (H, W), None without any."""
        return images.read_image(self.image_path(identifier))

    def read_depth(self, identifier: str) -> npt.NDArray[np.uint16] | None:
        """An image's depth map (H, W), or None."""
        return None

    def read_hha(self, identifier: str) -> npt.NDArray[np.uint8] | None:
        """An image's encoded depth map (H, W, 3), or None."""
        return None

    def listed(self) -> Sequence[str] | None:
        """The ids in the split's list, or None without one."""
        path = self._path(self.list_file)
        return read_ids(path) if path.is_file() else None

    def lists(self) -> Sequence[str]:
        """The lists that are here, by the names of their splits."""
        pattern = self.list_file.replace("{split}", "*")
        return sorted(path.stem for path in self.folder.glob(pattern)) if pattern else ()

    def unpaired(self, listed: Sequence[str]) -> str:
        """Files that should come in pairs and do not, for a split that lists these ids; "" if all do."""
        return ""

    def left_out(self) -> Sequence[str]:
        """Files that the split does not take, a sentence each."""
        return ()

    def image_path(self, identifier: str) -> Path:
        """Where an image is."""
        return self._path(self.image_file, identifier)

    def label_paths(self, identifier: str) -> Mapping[str, Path]:
        """Where an image's labels are, by head."""
        return {head: self._path(file, identifier) for head, file in self.label_files.items()}

    def needed(self, identifier: str) -> tuple[Path, ...]:
        """The files that a complete sample needs."""
        labels = self.label_paths(identifier).values() if self.labelled else ()
        return self.image_path(identifier), *labels

    def _path(self, file: str, identifier: str = "") -> Path:
        return self.folder / file.replace("{id}", identifier).replace("{split}", self.split)

    @classmethod
    def find(cls, folder: Path) -> Path:
        """Where the copy is, at `folder` or below it. Raises MissingData without one."""
        if found := first_with(folder, cls.places, cls.marks):
            return found
        what = f"expected {' and '.join(cls.marks)}" if folder.is_dir() else "there is no such folder"
        raise MissingData(f"{folder}: no {cls.title} here, {what}; {cls.how_to_get()}")

    @classmethod
    def how_to_get(cls) -> str:
        """What to do if the data are not there."""
        return f"get it with: fcn-repro --fetch {cls.source}"


def refuse_other_size(path: Path, image: tuple[int, ...], label: tuple[int, ...]) -> None:
    """Raises ReadError if an image and its label differ in (H, W)."""
    if image != label:
        raise ReadError(f"{path}: (H, W) is {image}, of its label {label}")


def first_with(folder: Path, places: Sequence[str], marks: Sequence[str]) -> Path | None:
    """The first of the places below `folder` that has all the marks."""
    found = (folder / place for place in places if all((folder / place / mark).exists() for mark in marks))
    return next(found, None)


_D = TypeVar("_D", bound=type[Dataset])
REGISTERED: dict[str, type[Dataset]] = {}


def register(kind: _D) -> _D:
    """Makes the decorated Dataset known by its name."""
    if kind.name in REGISTERED:
        raise RuntimeError(f"two data sets are called {kind.name}")
    kind.source = next(iter(kind.published), "")
    REGISTERED[kind.name] = kind
    return kind
