"""Street scenes rendered on demand: no download, no folder, exact labels.

A sample depends only on VERSION, its split and its number, in integer arithmetic: it is the same everywhere.

train, val, test         scenes of about 96x128 pixels (H, W), each pixel with its class, 255 around things
objects, objects-val     pictures of about 60x72 pixels, each of one class in turn, with every pixel of that
                         class: what ImageNet is to the papers' nets. An FCN that learns them by the ordinary
                         loss per pixel is a classifier of whole images, made fully convolutional.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from fcn_repro.data.datasets.base import Dataset, Label, Sample, Split, register
from fcn_repro.data.palette import labelling
from fcn_repro.data.scenes.canvas import Canvas
from fcn_repro.data.scenes.chance import Chance
from fcn_repro.data.scenes.portrait import portrait
from fcn_repro.data.scenes.street import CLASSES, street

VERSION = 1
"""Of the drawing: any change to a pixel of any sample needs a new one."""

COLOURS = (
    *((0, 0, 0), (128, 64, 128), (170, 50, 40), (60, 160, 60), (0, 90, 220), (250, 210, 0)),
    *((0, 210, 210), (170, 170, 170), (150, 95, 35), (235, 0, 150), (255, 130, 0)),
)

_OBJECTS = "Each image shows one class, and every pixel has that label: it teaches a classifier."


@register
class Shapes(Dataset):
    """Streets with trees, cars, people and thinner things. Not in the papers, but small and always here."""

    name = "shapes"
    title = "rendered street scenes"
    rendered = True
    labellings: ClassVar = {"sem": labelling(CLASSES, COLOURS)}
    splits: ClassVar = {
        "train": Split(10_000),
        "val": Split(100),
        "test": Split(200),
        "objects": Split(11_000, note=_OBJECTS),
        "objects-val": Split(220, note=_OBJECTS),
    }

    def __getitem__(self, index: int) -> Sample:
        canvas, chance = self._drawn(index)
        return Sample(self.ids[index], canvas.photograph(chance), {"sem": canvas.label})

    def labels(self, index: int) -> Mapping[str, Label]:
        """A sample's labels; its image is drawn but not photographed."""
        return {"sem": self._drawn(index)[0].label}

    def listed(self) -> Sequence[str] | None:
        """SPLIT-NUMBER for each number below the count; None for an unknown split."""
        if self.split not in self.splits:
            return None
        return tuple(f"{self.split}-{number:05}" for number in range(self.facts.count or 0))

    def needed(self, identifier: str) -> tuple[Path, ...]:
        """No files."""
        return ()

    @classmethod
    def find(cls, folder: Path) -> Path:
        """Any folder, even one that does not exist."""
        return folder

    @classmethod
    def how_to_get(cls) -> str:
        """There is nothing to get."""
        return "it is rendered, and always here"

    def _drawn(self, index: int) -> tuple[Canvas, Chance]:
        """A scene, and the stream of random numbers that its photograph continues."""
        number = int(self.ids[index].rpartition("-")[2])
        chance = Chance((VERSION << 32 | tuple(self.splits).index(self.split), number))
        if self.split.startswith("objects"):
            return portrait(chance, number % len(CLASSES)), chance
        return street(chance), chance
