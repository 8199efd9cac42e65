"""The papers' data sets, each read as it was published. Nothing here needs torch.

    folder ─ open_dataset ─→ Dataset ────── [i] ─────→ Sample
             lists and counts   nothing read yet       image_hwc (H, W, 3) RGB, label (H, W), 255 = void
             are checked

>>> voc = open_dataset("voc2011", "VOCdevkit", "seg11valid")
>>> len(voc), voc[0].image_hwc.shape, voc.classes[:2]
(736, (366, 500, 3), ('background', 'aeroplane'))

A data set is one module here with a subclass of Dataset, decorated with `register`, and found automatically.
"""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from caffe2torch.errors import MissingData
from fcn_repro.data.datasets.base import REGISTERED, Dataset, Labelling, Sample, Split, register
from fcn_repro.data.datasets.masked import masked
from fcn_repro.data.labels import IGNORE_LABEL

__all__ = [
    "IGNORE_LABEL",
    "Dataset",
    "Head",
    "Labelling",
    "Sample",
    "Split",
    "dataset",
    "names",
    "open_dataset",
    "register",
]

Head = Labelling  # its former name


def names() -> tuple[str, ...]:
    """The names of the data sets."""
    return tuple(_registered())


@cache
def dataset(name: str) -> type[Dataset]:
    """A data set by name, also NAME+foreground (masked.py). Raises MissingData for an unknown one."""
    plain, *parts = name.split("+")
    if plain not in _registered():
        raise MissingData(f"no data set is called {plain!r}; known are {', '.join(names())}")
    return masked(_registered()[plain], *parts) if parts else _registered()[plain]


@cache
def _registered() -> dict[str, type[Dataset]]:
    for module in pkgutil.iter_modules(__path__):
        importlib.import_module(f"{__name__}.{module.name}")
    return dict(sorted(REGISTERED.items()))


def open_dataset(
    name: str,
    folder: str | Path,
    split: str,
    *,
    partial: bool = False,
    expected_count: int | None = None,
) -> Dataset:
    """A split of a data set, in `folder` or where its archive puts it below.

    Its list must have as many ids as were published (or `expected_count`), and every file must be there;
    otherwise raises MissingData, with the numbers and how to get the rest. `partial` opens the samples that
    are complete, and says so in `notes`.
    """
    kind = dataset(name)
    found = kind(kind.find(Path(folder)), split)
    listed = found.listed()
    if listed is None:
        raise MissingData(f"{found.folder}: {kind.title} has no list {split!r} here; {_lists(found)}")
    ids = tuple(identifier for identifier in listed if _is_complete(found, identifier))
    count = found.facts.count if expected_count is None else expected_count
    problem = _problem(found, listed, ids, count)
    if problem and not (partial and ids):
        way_out = "" if partial else ", or use what is there with --partial"
        raise MissingData(
            f"{found.folder}: {kind.title}, split {split}: {problem}; {kind.how_to_get()}{way_out}"
        )
    partly = f"This copy is partial: {problem}." if problem else ""
    said = (*kind.quirks, found.facts.note, *found.left_out(), partly)
    return kind(found.folder, split, ids, tuple(filter(None, said)))


def _lists(found: Dataset) -> str:
    """The splits that a data set has, and those that are here."""
    published, here = () if found.own else tuple(found.splits), found.lists()
    parts = [f"published are {', '.join(published)}"] if published else []
    parts += [f"here are {', '.join(here)}" if here else "there is none here"]
    near = difflib.get_close_matches(found.split, {*published, *here}, 1)
    parts += [f"did you mean {near[0]!r}?"] if near else []
    return ". ".join(filter(None, ["; ".join(parts), found.facts.note]))


def _is_complete(found: Dataset, identifier: str) -> bool:
    return all(path.is_file() for path in found.needed(identifier))


def _problem(found: Dataset, listed: Sequence[str], ids: Sequence[str], count: int | None) -> str:
    """What is wrong with a copy that lists `listed` and has `ids`; "" when nothing is."""
    if not listed:
        return "the list is empty"
    problems = []
    if count is not None and len(listed) != count:
        problems.append(f"the list has {len(listed)} ids, expected {count}")
    if len(ids) < len(listed):
        gap = next(identifier for identifier in listed if not _is_complete(found, identifier))
        path = next(path for path in found.needed(gap) if not path.is_file())
        problems.append(f"{len(ids)} of {len(listed)} samples are complete, the first missing file is {path}")
    if unpaired := found.unpaired(listed):
        problems.append(unpaired)
    return "; ".join(problems)
