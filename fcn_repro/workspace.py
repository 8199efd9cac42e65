"""One folder with everything: data/NAME, models/NAME.safetensors, results/*.json."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from caffe2torch.errors import MissingData
from fcn_repro import recipes
from fcn_repro.data.datasets import Dataset, Split, dataset, names, open_dataset
from fcn_repro.fetching.zoo import folder, zoo

HOME = "FCN_REPRO_HOME"
"""The environment variable that names the folder; the default is the current one."""
HUB_WEIGHTS = "model.safetensors"
"""What marks a folder as a model in the form of Hugging Face's hub."""


@dataclass(frozen=True)
class Workspace:
    """A folder of ours and, if the user names one, a folder of data."""

    home: Path
    data: Path | None = None
    partial: bool = False
    """Whether an incomplete data set opens all the same."""

    @staticmethod
    def at(home: Path | None, data: Path | None = None, partial: bool = False) -> Workspace:
        """In `home`, else where the environment says, else here."""
        return Workspace(home or Path(os.environ.get(HOME, ".")), data, partial)

    @property
    def data_sets(self) -> Path:
        """Where data sets are unpacked, each by the name of its source."""
        return self.home / "data"

    @property
    def models(self) -> Path:
        """Where models are kept."""
        return self.home / "models"

    @property
    def results(self) -> Path:
        """Where evaluations are stored."""
        return self.home / "results"

    def model(self, name: str) -> Path | None:
        """A model's file by name: converted, as published, or shipped with us; None without one."""
        files = [self.models / f"{name}{suffix}" for suffix in (".safetensors", ".caffemodel")]
        files += [folder() / f"{name}.caffemodel"]
        return next((file for file in files if file.is_file()), None)

    def is_trained(self, name: str) -> bool:
        """Whether a model is here that was trained, not fetched: fetching leaves a record (http.py)."""
        record = self.models / f"{name}.caffemodel.sha256"
        return self.model(name) is not None and not record.is_file()

    def open(self, images: str) -> Dataset:
        """The data set NAME/SPLIT. Raises MissingData, and what `open_dataset` raises."""
        name, _, split = images.partition("/")
        place = self.data or self._fetched(name, split)
        return open_dataset(name, place, split, partial=self.partial)

    def _fetched(self, name: str, split: str) -> Path:
        """Where a split is: test images may come on their own, and VOC 2012 has the images of VOC 2011."""
        own = dataset(name).source or name
        also = ["voc2012"] if split == "seg11valid" else []
        places = [self.data_sets / source for source in (f"{name}-{split}", own, *also)]
        return next((place for place in places if place.is_dir()), self.data_sets / own)

    def found_data_sets(self) -> Iterator[tuple[str, str]]:
        """The data sets that are here, each with its folder, or "rendered" for one that needs no folder."""
        for name in names():
            kind = dataset(name)
            place = self.data or self.data_sets / (kind.source or name)
            try:
                yield name, "rendered" if kind.rendered else str(kind.find(place))
            except MissingData:
                continue


def named(images: str) -> str:
    """NAME/SPLIT, also from just the split if only one data set has it; seg11valid is VOC 2011's.

    Raises MissingData if none or several have it.
    """
    if "/" in images:
        dataset(images.partition("/")[0])
        return images
    having = [name for name in names() if images in dataset(name).splits]
    if not having:
        raise MissingData(f"no data set has a split {images!r}; write NAME/SPLIT: {', '.join(names())}")
    preferred = [name for name in having if name == "voc2011"] if images == "seg11valid" else having
    if len(preferred) > 1:
        choices = ", ".join(f"{name}/{images}" for name in having)
        raise MissingData(f"several data sets have a split {images!r}: {choices}")
    return f"{preferred[0]}/{images}"


def is_whole(opened: Dataset) -> bool:
    """Whether a copy has all the images that were published."""
    return opened.facts.count in (None, len(opened))


def count(images: str) -> int | None:
    """How many images NAME/SPLIT has, as published; None if no number was, as of a list of the user's own."""
    name, _, split = images.partition("/")
    return dataset(name).splits.get(split, Split()).count


def weights_file(name: str, workspace: Workspace) -> Path:
    """The file of a zoo model or of a recipe's result, or the file or folder named. Raises MissingData."""
    if Path(name).is_file() or Path(name, HUB_WEIGHTS).is_file():
        return Path(name)
    if found := workspace.model(name):
        return found
    ways = [f"train it with: fcn-repro --train {name}"] if name in recipes.names() else []
    ways += [f"get it with: fcn-repro --fetch {name}"] if name in zoo().models else []
    if ways:
        raise MissingData(f"{name} is not in {workspace.models}; {', or '.join(ways)}")
    raise MissingData(
        f"{name}: neither a file, nor a recipe, nor a model of the zoo; fcn-repro --list names them"
    )
