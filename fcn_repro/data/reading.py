"""Reading one file of a data set: images, labels, lists of ids.

The files come from anywhere: sizes are checked before memory is allocated, and nothing in them is run.
Every function raises MissingData without the file, and ReadError for one that is something else.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from caffe2torch.errors import MissingData, ReadError
from fcn_repro.data.labels import IGNORE_LABEL

MAX_PIXELS = 1 << 26
MAX_LIST_BYTES = 1 << 24

_BROKEN_IMAGE = (
    *(OSError, SyntaxError, ValueError, EOFError, IndexError, struct.error, zlib.error),
    *(Image.DecompressionBombError, Image.DecompressionBombWarning),
)


def read_image(path: Path) -> npt.NDArray[np.uint8]:
    """A JPEG or PNG image as RGB (H, W, 3), as stored: no rotation by EXIF, no colour profile."""
    with _opened(path) as image:
        return np.asarray(image.convert("RGB"))


def read_label(path: Path, palette: npt.NDArray[np.uint8] | None = None) -> npt.NDArray[np.uint8]:
    """The indices (H, W) in a palette PNG, or in a grey one of 8 bits.

    With the data set's `palette` (N, 3), RGB, an index whose colour in the file is another label's is
    refused: programs that shrink PNGs renumber palettes, and turn grey files into such with palettes.
    """
    with _opened(path, ("PNG",)) as image:
        if image.mode not in ("P", "L"):
            raise ReadError(
                f"{path}: the PNG is of mode {image.mode}; labels are indices, in a palette or grey PNG"
            )
        if image.mode == "L" and (bits := _bits(path)) < 8:
            raise ReadError(
                f"{path}: the PNG is grey, of {bits} bits, which readers scale to 0 to 255: whether the "
                f"scaled values are the labels cannot be told; save it with 8 bits"
            )
        label = np.asarray(image)
        if image.mode == "P" and palette is not None:
            _check_palette(path, label, np.array(image.getpalette("RGB"), np.uint8).reshape(-1, 3), palette)
        return label


def _bits(path: Path) -> int:
    """The bits per sample of a PNG, the first byte after its width and height."""
    with path.open("rb") as file:
        return file.read(25)[24]


def _check_palette(
    path: Path, label: npt.NDArray[np.uint8], found: npt.NDArray[np.uint8], palette: npt.NDArray[np.uint8]
) -> None:
    """Refuses a label whose colour is another one's, in the data set's palette or as grey."""
    labels: dict[tuple[int, ...], int] = {
        tuple(colour): index for index, colour in enumerate(palette.tolist())
    }
    greys: dict[tuple[int, ...], int] = {
        (index,) * 3: index for index in (*range(len(palette)), IGNORE_LABEL)
    }
    for index in np.unique(label).tolist():
        colour = tuple(found[index].tolist()) if index < len(found) else ()
        meant = {known[colour] for known in (labels, greys) if colour in known}
        if meant and index not in meant:
            raise ReadError(
                f"{path}: index {index} has the colour {colour}, which is that of label {min(meant)}; "
                f"was the palette renumbered when the PNG was made smaller? use the file before that"
            )


def read_depth(path: Path) -> npt.NDArray[np.uint16]:
    """The values (H, W) of a grey PNG of 16 bits."""
    with _opened(path, ("PNG",)) as image:
        if image.mode not in ("I;16", "I"):
            raise ReadError(f"{path}: the PNG is of mode {image.mode}; a depth map is grey, of 16 bits")
        return np.asarray(image).astype(np.uint16)


def read_lines(path: Path) -> list[str]:
    """The lines of a text file, stripped, without empty ones."""
    try:
        if path.stat().st_size > MAX_LIST_BYTES:
            raise ReadError(f"{path}: {path.stat().st_size} bytes; a list has at most {MAX_LIST_BYTES}")
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError as error:
        raise MissingData(f"{path}: no such file") from error
    except (OSError, UnicodeDecodeError) as error:
        raise ReadError(f"{path}: not a readable text file: {error}") from error
    return [line.strip() for line in lines if line.strip()]


def read_ids(path: Path) -> tuple[str, ...]:
    """The ids in a list, one per line."""
    return as_ids(read_lines(path), path)


def as_ids(names: Iterable[str], path: Path) -> tuple[str, ...]:
    """Names found in `path` as ids: they become file names, so none may leave the folder or come twice."""
    ids = tuple(names)
    for name in ids:
        if "/" in name or "\\" in name or name.startswith("."):
            raise ReadError(f"{path}: {name!r} is not an id: it leads to another folder")
    if len(set(ids)) < len(ids):
        twice = next(name for i, name in enumerate(ids) if name in ids[:i])
        raise ReadError(f"{path}: {twice} is listed twice")
    return ids


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
    return np.asarray(table, np.uint8)[raw.astype(np.intp)]


@contextmanager
def _opened(path: Path, formats: tuple[str, ...] = ("JPEG", "PNG")) -> Iterator[Image.Image]:
    """An image that is not too large to decode, with only its header read so far."""
    try:
        with Image.open(path, formats=formats) as image:
            if image.width * image.height > MAX_PIXELS:
                raise ReadError(
                    f"{path}: {image.width}x{image.height} pixels; at most {MAX_PIXELS} are decoded"
                )
            yield image
    except FileNotFoundError as error:
        raise MissingData(f"{path}: no such file") from error
    except UnidentifiedImageError as error:
        raise ReadError(f"{path}: not a {' or '.join(formats)} image") from error
    except _BROKEN_IMAGE as error:
        raise ReadError(f"{path}: a broken image: {error}") from error
