"""Photos and a model -> files, a page, and what to say about them."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import caffe2torch as c2t
from caffe2torch.command_line import Answer, ProgressLine, UsageError
from caffe2torch.errors import Caffe2TorchError, NetError, ReadError, WriteError
from fcn_repro.data.png import encoded, label_png
from fcn_repro.files import refuse_existing, write
from fcn_repro.report.files import is_ours
from fcn_repro.segmenting.page import MAX_FIGURES, PAGE, Figure, Head, figure_of, page
from fcn_repro.segmenting.photos import Found, Photo, find
from fcn_repro.segmenting.told import Outcome, Pictured, answer
from fcn_repro.workspace import Workspace

_MAX_HEAD = 40
"""Characters of a head's name in those of its files."""


def segment(options: argparse.Namespace) -> Answer:
    """Segments what the command line asks for, and writes it to its folder.

    A single photo that cannot be read is an error; of several, each is told, and the others are segmented.
    """
    found = find(options.photos)
    if os.path.realpath(options.output) in map(os.path.realpath, found.folders):
        raise UsageError(f"-o {options.output}: the photos are there; name another folder")
    _refuse_unwritable(options.output)
    place, with_page = options.output / PAGE, len(found.photos) > 1 or bool(found.folders)
    if with_page:
        refuse_existing([place], options.force or is_ours(options.output, place.stem))
    with _about(options.model):
        segmenter, said = _segmenter(options)
    run = _Run(segmenter, options.output, with_page)
    unit = "photos" if len(found.photos) > 1 else "tiles"
    outcome = run.over(found, ProgressLine(unit, quiet=options.json))
    if run.figures:
        heads = [Head(name, labelling) for name, labelling in segmenter.labellings.items()]
        write(place, page(options.model, heads, run.figures, outcome))
    found_out = answer(options.model, outcome, segmenter, place if run.figures else None)
    return replace(found_out, warnings=(*said, *found_out.warnings))


def _segmenter(options: argparse.Namespace) -> tuple[c2t.Segmenter, tuple[str, ...]]:
    """The model, and what to say of the mean that the user gives."""
    from fcn_repro.scoring.device import usable
    from fcn_repro.scoring.models import contradicted, load_fast

    model = load_fast(Workspace.at(options.home), options.model, usable(options.device))
    segmenter = c2t.Segmenter(model, options.mean, options.memory)
    own = model.preprocessing.get(segmenter.blob)
    return segmenter, contradicted(options.model, own, segmenter.prepared)


def _refuse_unwritable(folder: Path) -> None:
    """Raises WriteError, before any photo is segmented, where the folder can be neither written nor made."""
    there = next(path for path in (folder, *folder.parents) if os.path.exists(path))  # noqa: PTH110
    if not there.is_dir():
        raise WriteError(f"{there}: is a file; name a folder with -o")
    if not os.access(there, os.W_OK):
        raise WriteError(f"{there}: may not be written to; name another folder with -o")


class _Run:
    """One model over many photos, which are written to a folder."""

    def __init__(self, segmenter: c2t.Segmenter, folder: Path, with_page: bool) -> None:
        self.segmenter, self.folder, self.with_page = segmenter, folder, with_page
        self.endings = _endings(segmenter.labellings)
        self.figures: list[Figure] = []
        self.replaced = 0
        self.photos: set[str] = set()

    def over(self, found: Found, progress: ProgressLine) -> Outcome:
        """Segments each photo that can be."""
        self.photos = {os.path.realpath(photo.path) for photo in found.photos}
        pictured, failed, left_out = list[Pictured](), dict[Path, str](), list(found.left_out)
        several = len(found.photos) > 1
        for done, photo in enumerate(found.photos):
            try:
                pictured.append(self._picture(photo, None if several else progress))
            except Caffe2TorchError as error:
                if not several:
                    raise
                if isinstance(error, ReadError) and not photo.listed:
                    left_out.append(str(photo.path))
                else:
                    failed[photo.path] = str(error)
            if several:
                progress(done + 1, len(found.photos))
        progress.wipe()
        return Outcome(tuple(pictured), failed, tuple(left_out), self.replaced)

    def _picture(self, photo: Photo, progress: ProgressLine | None) -> Pictured:
        """Segments one photo, and writes its files. Raises what reading, the net and writing raise."""
        read = c2t.read_photo(photo.path)
        with _about(str(photo.path)):
            found = self.segmenter(read.image_hwc, progress)
        files = {head: self._write(photo.name, head, read, found[head]) for head in found}
        if self.with_page and len(self.figures) < MAX_FIGURES:
            self.figures.append(figure_of(photo, read, list(found.values()), files))
        shares = {head: segmentation.shares() for head, segmentation in found.items()}
        return Pictured(photo.path, read.image_hwc.shape[:2], read.notes, shares, files)

    def _write(self, name: str, head: str, photo: c2t.Photo, found: c2t.Segmentation) -> Mapping[str, Path]:
        """The files of one head: its labels, and the picture."""
        labelling = self.segmenter.labellings[head]
        labels = self.folder / f"{name}{self.endings[head]}-labels.png"
        overlay = self.folder / f"{name}{self.endings[head]}-overlay.jpg"
        if taken := [path for path in (labels, overlay) if os.path.realpath(path) in self.photos]:
            raise WriteError(f"{taken[0]}: is one of the photos; name another folder with -o")
        self.replaced += labels.exists() + overlay.exists()
        write(labels, label_png(found.labels, labelling.palette))
        write(overlay, encoded(c2t.overlay(photo.image_hwc, found.labels, labelling), "JPEG"))
        return {"labels": labels, "overlay": overlay}


def _endings(heads: Iterable[str]) -> dict[str, str]:
    """What the files of each head end with, before what they are; nothing where there is one head.

    A stranger names the heads: what is no letter or digit of theirs, such as a slash, stays out of a path.
    """
    endings = dict[str, str]()
    for number, head in enumerate(heads):
        plain = "-" + re.sub(r"[^\w.]", "_", head)[:_MAX_HEAD]
        endings[head] = f"{plain}-{number}" if plain in endings.values() else plain
    return endings if len(endings) > 1 else dict.fromkeys(endings, "")


@contextmanager
def _about(what: str) -> Iterator[None]:
    """Puts the model or the photo in front of what the net refuses."""
    try:
        yield
    except NetError as error:
        if what in str(error):
            raise
        raise NetError(f"{what}: {error}") from error
