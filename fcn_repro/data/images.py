"""A stranger's image file as RGB of 8 bits: bounded in size, 16 bits scaled, its orientation tag respected.

The tag of EXIF says how to turn what is stored before it is shown. Programs that draw labels may or may not
do so; where the size of the labels tells which, the image is read as the labels have it.
"""

from __future__ import annotations

import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFile, ImageOps, UnidentifiedImageError

from caffe2torch.errors import MissingData, ReadError

FORMATS = ("JPEG", "PNG", "TIFF", "BMP", "WEBP")
SUFFIXES = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".tif", ".tiff", ".bmp", ".webp")
"""Of files in these formats, in lower case."""
MAX_PIXELS, FREE_PIXELS, MAX_RATIO = 1 << 26, 1 << 24, 50
"""What is decoded at most, and what a photo in few bytes may have, plus so many for each byte."""
_LABELS = ("1", "L", "P")
"""Modes of one byte a pixel; labels are plain areas, which take few bytes in a file."""

_ORIENTATION = 0x0112
_BROKEN_IMAGE = (
    *(OSError, SyntaxError, ValueError, EOFError, IndexError, struct.error, zlib.error),
    *(Image.DecompressionBombError, Image.DecompressionBombWarning),
)


@dataclass(frozen=True)
class Header:
    """What an image's file says of it: its shape (H, W) as stored, its orientation tag, bits per sample."""

    shape: tuple[int, int]
    orientation: int = 1
    bits: int = 8

    def turned_for(self, shape: tuple[int, ...]) -> bool | None:
        """Whether labels of `shape` are of the image as shown, not as stored; None where that cannot tell."""
        if self.orientation == 1:
            return False
        return None if self.shown == self.shape else shape == self.shown

    @property
    def shown(self) -> tuple[int, int]:
        """The shape (H, W) after turning: tags from 5 on swap height and width."""
        return self.shape[::-1] if self.orientation >= 5 else self.shape


def read_image(path: Path, shape: tuple[int, ...] | None = None) -> npt.NDArray[np.uint8]:
    """An image as RGB (H, W, 3), as stored: no rotation by EXIF, no colour profile.

    With the `shape` (H, W) of its labels it is turned as its orientation tag says where only that fits them.
    """
    with opened(path, FORMATS) as image:
        header = _header(image)
        if shape is not None and header.turned_for(shape):
            ImageOps.exif_transpose(image, in_place=True)
        return _rgb(image, header.bits, path)


def read_header(path: Path) -> Header:
    """What the file says of its image."""
    with opened(path, FORMATS) as image:
        return _header(image)


def _header(image: ImageFile.ImageFile) -> Header:
    bits = _bits(image)  # before EXIF, for which a PNG is decoded: then its header is forgotten
    try:
        tag = image.getexif().get(_ORIENTATION, 1)
    except (SyntaxError, struct.error):  # damaged EXIF: what shows the image does not turn it, either
        tag = 1
    known = isinstance(tag, int) and 1 <= tag <= 8
    return Header((image.height, image.width), tag if known else 1, bits)


def _bits(image: ImageFile.ImageFile) -> int:
    """16 for PNG and TIFF of 16 bits per sample, which Pillow reads as they are or by their high bytes."""
    raw = [args if isinstance(args, str) else (args or ("",))[0] for *_, args in image.tile]
    deep = image.format in ("PNG", "TIFF") and any(";16" in str(mode) for mode in raw)
    return 16 if deep or image.mode.startswith("I;16") else 8


def _rgb(image: Image.Image, bits: int, path: Path) -> npt.NDArray[np.uint8]:
    if image.mode in ("I", "F"):
        raise ReadError(f"{path}: the image has 32 bits per sample; save it with 8, as it is to be seen")
    if image.mode.startswith("I;16"):
        high = np.asarray(image).astype(np.uint16) >> 8  # Pillow's convert would clip to 255
        rgb = np.stack([high.astype(np.uint8)] * 3, 2)
    else:
        rgb = np.asarray(image.convert("RGB"))
    if bits == 16 and rgb.max() < 16:
        raise ReadError(
            f"{path}: the image has 16 bits per sample, but none over 4095 of 65535, as if 12 bits or fewer "
            "had been stored in them; save it with 8 bits, as it is to be seen"
        )
    return rgb


@contextmanager
def opened(path: Path, formats: tuple[str, ...]) -> Iterator[ImageFile.ImageFile]:
    """A single image that is not too large to decode, with only its header read so far.

    Raises MissingData without the file, ReadError for anything else.
    """
    try:
        with _quiet(), Image.open(path, formats=formats) as image:
            if image.width * image.height > MAX_PIXELS:
                raise ReadError(
                    f"{path}: {image.width}x{image.height} pixels; at most {MAX_PIXELS} are decoded"
                )
            are_labels = image.mode in _LABELS and formats == ("PNG",)
            if image.width * image.height > _allowed(path, are_labels):
                size = f"{image.width}x{image.height}"
                raise ReadError(f"{path}: {size} pixels in few bytes, as no photo has; make it smaller")
            _refuse_unclear(image, path)
            yield image
    except FileNotFoundError as error:
        raise MissingData(f"{path}: no such file") from error
    except UnidentifiedImageError as error:
        raise ReadError(f"{path}: not a {_either(formats)} image") from error
    except _BROKEN_IMAGE as error:
        raise ReadError(f"{path}: a broken image: {error}") from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Without Pillow's warnings: of metadata, and of sizes, which are bounded here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _allowed(path: Path, are_labels: bool) -> int:
    """The pixels that a file may have."""
    return MAX_PIXELS if are_labels else FREE_PIXELS + MAX_RATIO * path.stat().st_size


def _refuse_unclear(image: ImageFile.ImageFile, path: Path) -> None:
    """Raises ReadError for several images in a file, and for a TIFF that Pillow would turn by itself."""
    # A phone's JPEG may hold a second picture (MPO), but its first is the photo.
    if image.format != "MPO" and getattr(image, "is_animated", False):
        raise ReadError(f"{path}: several images in one file; save the one that is meant alone")
    if image.format == "TIFF" and _header(image).orientation != 1:
        raise ReadError(f"{path}: a TIFF with an orientation tag; save it as it is seen, without the tag")


def _either(formats: tuple[str, ...]) -> str:
    *others, last = formats
    return f"{', '.join(others)} or {last}" if others else last
