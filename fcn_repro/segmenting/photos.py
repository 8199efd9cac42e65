"""Which photos a command line means, and what each is called in the output."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from caffe2torch.errors import MissingData, ReadError
from fcn_repro.data import images

SUFFIXES = (*images.SUFFIXES, ".dib", ".avif", ".heic", ".heif")
"""What photos are called, in any case: a file of a folder that is called so must be one."""


@dataclass(frozen=True)
class Photo:
    """A file to segment, and the beginning of the names of what is written for it.

    `listed` is False for a file of a folder that is not called as photos are: it may be none.
    """

    path: Path
    name: str
    listed: bool = True


@dataclass(frozen=True)
class Found:
    """The photos in the order of the command line and, of a folder, by name; and what was left out."""

    photos: tuple[Photo, ...]
    folders: tuple[Path, ...] = ()
    left_out: tuple[str, ...] = ()


def find(given: Sequence[Path]) -> Found:
    """The files and the folders' files. Raises MissingData for a folder without any."""
    paths = dict[Path, bool]()
    folders, left_out = [], []
    for path in given:
        if not os.path.isdir(path):  # noqa: PTH112 (Path.is_dir raises for an impossible name)
            paths[path] = True
            continue
        folders.append(path)
        inside = _files(path)
        if not inside:
            raise MissingData(f"{path}: no file in this folder")
        paths |= {file: paths.get(file, False) or file.suffix.lower() in SUFFIXES for file in inside}
        left_out += [f"{folder}/" for folder in sorted(path.iterdir()) if folder.is_dir()]
    photos = (Photo(path, name, paths[path]) for path, name in _names(paths).items())
    return Found(tuple(photos), tuple(folders), tuple(left_out))


def _files(folder: Path) -> list[Path]:
    try:
        return [path for path in sorted(folder.iterdir()) if not path.is_dir()]
    except OSError as error:
        raise ReadError(f"{folder}: cannot be read: {error.strerror}") from error


def _names(paths: Iterable[Path]) -> dict[Path, str]:
    """Each file's name without its suffix, numbered from 2 where that is taken, in any case."""
    taken, names = set[str](), dict[Path, str]()
    for path in paths:
        name, number = path.stem, 1
        while name.lower() in taken:
            number += 1
            name = f"{path.stem}-{number}"
        taken.add(name.lower())
        names[path] = name
    return names
