"""classes.txt of a user's own folder: one class per line, in the order of the labels.

Each line is NAME, or each is NAME R G B. A line that is neither would shift or rename the labels after it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from caffe2torch.errors import ReadError
from fcn_repro.data.datasets.base import Labelling
from fcn_repro.data.labels import IGNORE_LABEL
from fcn_repro.data.palette import colormap, labelling
from fcn_repro.data.reading import text_lines

MAX_LINE = 200
"""Characters, so that no pattern below takes long."""

_COLOURED = re.compile(r"(.+?)\s+(\d{1,3})\s+(\d{1,3})\s+(\d{1,3})")
_OTHERWISE_COLOURED = re.compile(r".+[\s,;:(]\d{1,3}\s*[,;]\s*\d{1,3}\s*[,;]\s*\d{1,3}\)?")
_NUMBERED = re.compile(r"(\d+)\s*[\s,;:.=]\s*\D.*")


def read_classes(path: Path) -> tuple[Labelling, bool]:
    """The names with their colours, and whether the list gives these; by default they are PASCAL VOC's.

    Raises ReadError for a list that is malformed.
    """
    lines = text_lines(path)
    while lines and not lines[-1]:
        del lines[-1]
    if not 2 <= len(lines) <= IGNORE_LABEL:
        raise ReadError(
            f"{path}: {len(lines)} class{'es' if len(lines) != 1 else ''}; expected 2 to {IGNORE_LABEL}, the "
            "background among them if its pixels are labelled: a single class is right everywhere"
        )
    if (longest := max(map(len, lines))) > MAX_LINE:
        raise ReadError(f"{path}: a line of {longest} characters; a class takes at most {MAX_LINE}")
    _refuse_other_lines(path, lines)
    coloured = [match for match in map(_COLOURED.fullmatch, lines) if match]
    names = [match[1] for match in coloured] or lines
    colours = [[int(value) for value in match.groups()[1:]] for match in coloured]
    if colours and max(map(max, colours)) > 255:
        raise ReadError(f"{path}: a colour is three numbers from 0 to 255")
    _refuse_twice(path, "name", names)
    _refuse_twice(path, "colour", colours)
    return labelling(names, colours or colormap(len(lines))), bool(colours)


def _refuse_other_lines(path: Path, lines: Sequence[str]) -> None:
    """Lines that are not NAME, or not NAME R G B where others are, or that number the classes otherwise."""
    some_coloured = any(map(_COLOURED.fullmatch, lines))
    for number, line in enumerate(lines, start=1):
        problem = ""
        if not line or line.startswith("#"):
            problem = "no class, but each line is one, also where no image shows it"
        elif _OTHERWISE_COLOURED.fullmatch(line):
            problem = "expected NAME R G B, with spaces between"
        elif some_coloured and not _COLOURED.fullmatch(line):
            problem = "expected NAME R G B, as on other lines; give each class a colour, or none"
        if problem:
            raise ReadError(f"{path}:{number}: {line!r}: {problem}")
    numbers = [int(match[1]) for match in map(_NUMBERED.fullmatch, lines) if match]
    if len(numbers) == len(lines) and numbers != list(range(len(lines))):
        raise ReadError(
            f"{path}:1: {lines[0]!r}: the lines number the classes, but not from 0 on, as labels do; put "
            "them into the order of the labels, with a line for label 0, and leave out the numbers"
        )


def _refuse_twice(path: Path, what: str, values: Sequence[object]) -> None:
    for number, value in enumerate(values, start=1):
        if (first := values.index(value) + 1) < number:
            raise ReadError(f"{path}:{number}: the {what} {value} is already that of line {first}")
