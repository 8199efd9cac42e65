"""A user's own split, looked at before it is learned from or scored: what training and scores would hide.

Every label and the header of every image is read; what follows for the whole split is refused or noted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from caffe2torch.command_line import Progress
from caffe2torch.errors import ReadError
from fcn_repro.data.datasets import IGNORE_LABEL, Dataset
from fcn_repro.data.datasets.base import refuse_other_size
from fcn_repro.data.images import Header, read_header
from fcn_repro.data.read_ahead import read_ahead
from fcn_repro.data.reading import some

THREADS = 4
"""Files read at a time: decoding releases Python's lock."""


@dataclass(frozen=True, eq=False)
class Seen:
    """One sample: its image's header, the shape (H, W) of its labels, and how many pixels have each label."""

    id: str
    header: Header
    shape: tuple[int, ...]
    pixels: Mapping[str, npt.NDArray[np.int64]]
    """By head, (256,)."""


def surveyed(dataset: Dataset, progress: Progress | None = None) -> Dataset:
    """The split with what its files have in common among its notes; as it is unless it is the user's own.

    Raises ReadError for labels that are void everywhere or black and white masks, and what reading raises.
    """
    if not dataset.own:
        return dataset
    seen = []
    for sample in read_ahead(lambda index: _look(dataset, index), range(len(dataset)), threads=THREADS):
        seen.append(sample)
        if progress is not None:
            progress(len(seen), len(dataset))
    notes = list(dataset.notes)
    for head, labelling in dataset.heads.items():
        pixels = np.sum([sample.pixels[head] for sample in seen], 0)
        _refuse_void(dataset, head, pixels)
        notes += _class_notes(labelling.classes, pixels)
    return replace(dataset, notes=(*notes, *_file_notes(seen)))


def _look(dataset: Dataset, index: int) -> Seen:
    labels, identifier = dataset.labels(index), dataset.ids[index]
    pixels = {head: np.bincount(label.ravel(), minlength=256) for head, label in labels.items()}
    path, shape = dataset.image_path(identifier), next(iter(labels.values())).shape
    header = read_header(path)
    refuse_other_size(path, header.shown if header.turned_for(shape) else header.shape, shape)
    return Seen(identifier, header, shape, pixels)


def _refuse_void(dataset: Dataset, head: str, pixels: npt.NDArray[np.int64]) -> None:
    """Raises ReadError where 255 takes all that could be learned or scored."""
    (used,), last = np.nonzero(pixels), len(dataset.heads[head].classes) - 1
    where = f"{dataset.folder}: {dataset.title}, split {dataset.split}"
    if used.tolist() == [IGNORE_LABEL]:
        raise ReadError(
            f"{where}: all its labels are {IGNORE_LABEL}, void, in every pixel: there is nothing to learn or "
            f"to score; label them with 0 to {last}"
        )
    if used.tolist() == [0, IGNORE_LABEL]:
        raise ReadError(
            f"{where}: its labels hold 0 and {IGNORE_LABEL} alone, as black and white masks do, but "
            f"{IGNORE_LABEL} is void here, so that all the foreground would be left out; save the masks with "
            f"1 in the place of {IGNORE_LABEL}"
        )


def _class_notes(classes: Sequence[str], pixels: npt.NDArray[np.int64]) -> list[str]:
    absent = [name for name, count in zip(classes, pixels, strict=False) if not count]
    if not absent:
        return []
    notes = [f"No label shows {', '.join(absent)}: not to be learned from these, and IU 0 where predicted."]
    if len(absent) == len(classes) - 1:
        (only,) = set(classes) - set(absent)
        notes.append(f"All labels are {only}: whatever always answers that scores 100.")
    return notes


def _file_notes(seen: Sequence[Seen]) -> list[str]:
    """A sentence on each kind of file that is read in a way that somebody may not expect."""
    turned = {s.id: s.header.turned_for(s.shape) for s in seen if s.header.orientation != 1}
    tagged = {answer: [name for name in turned if turned[name] is answer] for answer in (True, False, None)}
    found = {
        "Void (255) in all their labels": [
            s.id for s in seen if all(count[:IGNORE_LABEL].sum() == 0 for count in s.pixels.values())
        ],
        "Of 16 bits per sample, read as 8, so that 65535 becomes 255": [
            s.id for s in seen if s.header.bits == 16
        ],
        "With an EXIF orientation and labels as they are shown, so turned to fit them": tagged[True],
        "With an EXIF orientation and labels as they are stored, so not turned": tagged[False],
        "With an EXIF orientation, NOT turned, and labels whose size does not tell whether they are as the "
        "image is shown or as it is stored; look whether they fit": tagged[None],
    }
    return [f"{what}: {some(names)}." for what, names in found.items() if names]
