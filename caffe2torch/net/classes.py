"""A list of classes, as text: one per line, in the order of the labels.

Each line is NAME, or each is NAME R G B. A line that is neither would shift or rename the labels after it.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Mapping, Sequence

from caffe2torch.errors import NetError, ReadError
from caffe2torch.net.knowledge import MAX_CLASSES
from caffe2torch.net.labelling import Labelling
from caffe2torch.net.text import shape_text
from caffe2torch.untrusted.mapped import AnyPath, mapped

MAX_BYTES = 1 << 24
MAX_LINE = 200
"""Characters, so that no pattern below takes long."""

_COLOURED = re.compile(r"(.+?)\s+(\d{1,3})\s+(\d{1,3})\s+(\d{1,3})")
_OTHERWISE_COLOURED = re.compile(r".+[\s,;:(]\d{1,3}\s*[,;]\s*\d{1,3}\s*[,;]\s*\d{1,3}\)?")
_NUMBERED = re.compile(r"(\d+)\s*[\s,;:.=]\s*\D.*")


def read_classes(path: AnyPath, most: int = MAX_CLASSES) -> tuple[Labelling, bool]:
    """The names with their colours, and whether the list gives these; by default they are PASCAL VOC's.

    `most` is how many classes there may be. Raises MissingData without the file, ReadError for a list that is
    malformed.
    """
    lines = _lines(path)
    while lines and not lines[-1]:
        del lines[-1]
    if not 2 <= len(lines) <= most:
        raise ReadError(
            f"{path}: {len(lines)} class{'es' if len(lines) != 1 else ''}; expected 2 to {most}, the "
            "background among them if its pixels are labelled: a single class is right everywhere"
        )
    if (longest := max(map(len, lines))) > MAX_LINE:
        raise ReadError(f"{path}: a line of {longest} characters; a class takes at most {MAX_LINE}")
    _refuse_other_lines(path, lines)
    coloured = [match for match in map(_COLOURED.fullmatch, lines) if match]
    names = [match[1] for match in coloured] or lines
    colours = [(int(match[2]), int(match[3]), int(match[4])) for match in coloured]
    if colours and max(map(max, colours)) > 255:
        raise ReadError(f"{path}: a colour is three numbers from 0 to 255")
    _refuse_twice(path, "name", names)
    _refuse_twice(path, "colour", colours)
    return Labelling(tuple(names), tuple(colours) or Labelling.numbered(len(names)).colours), bool(colours)


def with_classes(
    known: Mapping[str, Labelling], outputs: Mapping[str, Sequence[int | None] | None], told: Labelling
) -> dict[str, Labelling]:
    """What is known, with the classes of the one of a net's outputs that scores as many.

    `outputs` are their shapes, as far as they are known. Raises NetError unless one of them must be meant.
    """
    count = len(told.classes)
    able = [blob for blob, shape in outputs.items() if shape is None or _scores(shape, count)]
    if len(able) != 1:
        shown = ", ".join(f"{blob} {shape_text(shape or ())}" for blob, shape in outputs.items())
        which = f"any of {', '.join(able)}" if able else "none of its outputs"
        raise NetError(f"{count} classes can be those of {which}; its outputs are {shown}")
    return {**known, able[0]: told}


def _scores(shape: Sequence[int | None], count: int) -> bool:
    return len(shape) > 1 and shape[1] in (None, count)


def _lines(path: AnyPath) -> list[str]:
    """The lines, stripped."""
    raw = mapped(path)
    if len(raw) > MAX_BYTES:
        raise ReadError(f"{path}: {len(raw)} bytes; a list has at most {MAX_BYTES}")
    try:
        return [line.strip() for line in raw[:].decode("utf-8-sig").splitlines()]
    except UnicodeDecodeError as error:
        raise ReadError(f"{path}: not a readable text file: {error}") from None


def _refuse_other_lines(path: AnyPath, lines: Sequence[str]) -> None:
    """Lines that are not NAME, or not NAME R G B where others are, or that number the classes otherwise."""
    some_coloured = any(map(_COLOURED.fullmatch, lines))
    for number, line in enumerate(lines, start=1):
        problem = ""
        if not line or line.startswith("#"):
            problem = "no class, but each line is one, also where no image shows it"
        elif not line.isprintable():
            problem = "holds characters that cannot be shown"
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


def _refuse_twice(path: AnyPath, what: str, values: Sequence[Hashable]) -> None:
    first = {value: number for number, value in reversed([*enumerate(values, start=1)])}
    for number, value in enumerate(values, start=1):
        if first[value] < number:
            raise ReadError(f"{path}:{number}: the {what} {value} is already that of line {first[value]}")
