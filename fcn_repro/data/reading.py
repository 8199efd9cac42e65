"""Reading one file of a data set: images, labels, lists of ids.

The files come from anywhere: sizes are checked before memory is allocated, and nothing in them is run.
Every function raises MissingData without the file, and ReadError for one that is something else.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from caffe2torch.errors import MissingData, ReadError
from fcn_repro.data.images import opened
from fcn_repro.data.labels import IGNORE_LABEL

MAX_LIST_BYTES, MAX_ID = 1 << 23, 200
"""Bytes of a list, and of an id in it, which becomes a file's name."""
_PIECE = 1 << 20
WHITE = (255, 255, 255)
_PACKING = np.array([1 << 16, 1 << 8, 1], np.uint32)
"""Red, green and blue in one number."""


def read_label(
    path: Path, palette: npt.NDArray[np.uint8] | None = None, *, by_colour: bool = False
) -> npt.NDArray[np.uint8]:
    """The indices (H, W) in a palette PNG, or in a grey one of 8 bits.

    With the data set's `palette` (N, 3), RGB, each index in use must have its label's colour in the file, or
    be grey, (i, i, i); an index beyond the palette, as void is, may have any that is no other label's.
    Programs that shrink PNGs renumber palettes, and turn grey files into such with palettes: then only the
    colours still tell the labels. With `by_colour`, so do those of an RGB file, as annotation tools write.
    """
    with opened(path, ("PNG",)) as image:
        if image.mode in ("1", "L") and (bits := _bits(path)) < 8:
            raise ReadError(
                f"{path}: the PNG is grey, of bit depth {bits}, which readers scale to 0 to 255: whether the "
                "scaled values are the labels cannot be told; save it with 8 bits"
            )
        if image.mode in ("RGB", "RGBA") and palette is not None and by_colour:
            return _of_colours(path, np.asarray(image), palette)
        if image.mode not in ("P", "L"):
            raise ReadError(
                f"{path}: the PNG is of mode {image.mode}; labels are indices, in a palette or grey PNG, or "
                "in your own folder RGB, where classes.txt gives each class its colour: NAME R G B"
            )
        label = np.asarray(image)
        if image.mode == "P" and palette is not None:
            found = np.array(image.getpalette("RGB"), np.uint8).reshape(-1, 3)
            _check_palette(path, np.unique(label).tolist(), found.tolist(), palette.tolist())
        return label


def _of_colours(
    path: Path, pixels: npt.NDArray[np.uint8], palette: npt.NDArray[np.uint8]
) -> npt.NDArray[np.uint8]:
    """The labels (H, W) of pixels (H, W, 3 or 4) in the colours of a palette (N, 3), with white as void."""
    if (pixels[..., 3:] < 255).any():
        raise ReadError(f"{path}: the PNG has transparent pixels, whose labels nobody can tell; flatten it")
    colours = {WHITE: IGNORE_LABEL, **{tuple(colour): i for i, colour in enumerate(palette.tolist())}}
    packed = pixels[..., :3].astype(np.uint32) @ _PACKING
    label, known = np.zeros(packed.shape, np.uint8), np.zeros(packed.shape, bool)
    for colour, index in colours.items():
        here = packed == np.array(colour, np.uint32) @ _PACKING
        label[here], known = index, known | here
    if not known.all():
        y, x = np.argwhere(~known)[0].tolist()
        raise ReadError(
            f"{path}: {np.count_nonzero(~known)} pixels have no class's colour in classes.txt, nor white, "
            f"which is void; the first, at row {y}, column {x}, has {tuple(pixels[y, x, :3].tolist())}. "
            "Smoothed edges mix colours: draw without antialiasing"
        )
    return label


def _bits(path: Path) -> int:
    """The bits per sample of a PNG, the first byte after its width and height."""
    with path.open("rb") as file:
        return file.read(25)[24]


def _check_palette(path: Path, used: list[int], found: list[list[int]], palette: list[list[int]]) -> None:
    """Refuses an index whose colour in the file is another's; `found` and `palette` are by index."""
    for index in used:
        colour = found[index] if index < len(found) else []
        meant = _label_of(colour, palette)
        if colour in ([index] * 3, *palette[index : index + 1]) or (index >= len(palette) and meant is None):
            continue
        known = meant is not None
        is_of = f"which is that of label {meant}" if known else f"not its label's, {tuple(palette[index])}"
        raise ReadError(
            f"{path}: index {index} has the colour {tuple(colour)}, {is_of}; was the palette renumbered when "
            "the PNG was made smaller? use the file before that; if the index is right, save the labels as a "
            "grey PNG of 8 bits"
        )


def _label_of(colour: list[int], palette: list[list[int]]) -> int | None:
    """The label that a colour is of, in the data set's palette or as grey."""
    if colour in palette:
        return palette.index(colour)
    is_grey = len(set(colour)) == 1 and (colour[0] < len(palette) or colour[0] == IGNORE_LABEL)
    return colour[0] if is_grey else None


def read_depth(path: Path) -> npt.NDArray[np.uint16]:
    """The values (H, W) of a grey PNG of 16 bits."""
    with opened(path, ("PNG",)) as image:
        if image.mode not in ("I;16", "I"):
            raise ReadError(f"{path}: the PNG is of mode {image.mode}; a depth map is grey, of 16 bits")
        return np.asarray(image).astype(np.uint16)


def read_lines(path: Path) -> list[str]:
    """The lines of a text file, stripped, without empty ones."""
    try:
        if path.stat().st_size > MAX_LIST_BYTES:
            raise ReadError(f"{path}: {path.stat().st_size} bytes; a list has at most {MAX_LIST_BYTES}")
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError as error:
        raise MissingData(f"{path}: no such file") from error
    except (OSError, UnicodeDecodeError) as error:
        raise ReadError(f"{path}: not a readable text file: {error}") from error
    return [stripped for line in lines if (stripped := line.strip())]


def read_ids(path: Path) -> tuple[str, ...]:
    """The ids in a list, one per line."""
    return as_ids(read_lines(path), path)


def as_ids(names: Iterable[str], path: Path) -> tuple[str, ...]:
    """Names found in `path` as ids: they become file names, so none may leave the folder or come twice."""
    ids = tuple(names)
    for name in ids:
        if "/" in name or "\\" in name or name.startswith("."):
            raise ReadError(f"{path}: {name!r} is not an id: it leads to another folder")
        if len(name.encode()) > MAX_ID or not name.isprintable():
            raise ReadError(f"{path}: {name[:40]!r} is not an id: no file has such a name")
    seen: set[str] = set()
    for name in ids:
        if name in seen:
            raise ReadError(f"{path}: {name} is listed twice")
        seen.add(name)
    return ids


def some(names: Sequence[str]) -> str:
    """How many they are, and the first of them."""
    return f"{len(names)} ({', '.join(names[:5])}{', ...' if len(names) > 5 else ''})"


def lookup(
    raw: npt.NDArray[Any], table: Sequence[int] | npt.NDArray[np.uint8], path: Path
) -> npt.NDArray[np.uint8]:
    """table[raw], for labels (H, W) that are numbered differently on disk, in any number type."""
    if raw.dtype.kind == "f" and not np.array_equal(raw, np.trunc(raw)):
        raise ReadError(f"{path}: labels must be integers, found fractions")
    if raw.size and not (raw.min() >= 0 and raw.max() < len(table)):
        raise ReadError(
            f"{path}: labels from {raw.min()} to {raw.max()} where 0 to {len(table) - 1} are known"
        )
    labels, flat = np.empty(raw.size, np.uint8), raw.reshape(-1)
    for at in range(0, raw.size, _PIECE):  # NumPy's indices take 8 bytes each
        labels[at : at + _PIECE] = np.asarray(table, np.uint8)[flat[at : at + _PIECE].astype(np.intp)]
    return labels.reshape(raw.shape)
