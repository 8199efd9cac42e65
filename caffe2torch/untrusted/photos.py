"""Photos from anywhere -> pixels as a person sees them: RGB, 8 bits, upright.

The format is judged by the content. The size is checked before any pixel is decoded.
"""

from __future__ import annotations

import io
import mmap
import re
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import IO, Any, cast

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFile, ImageOps, UnidentifiedImageError

from caffe2torch.errors import ReadError
from caffe2torch.untrusted.mapped import MISTAKEN, AnyPath, mapped

FORMATS = ("JPEG", "PNG", "TIFF", "BMP", "WEBP")
MAX_PIXELS, FREE_PIXELS, MAX_RATIO = 1 << 27, 1 << 24, 50
"""What is decoded at most, and what a file of few bytes may have, plus so many for each byte: photos have no
more, and each takes 8 to 16 bytes of memory. A drawing with large plain areas is refused beyond that."""
MAX_SCANS = 64
"""Of a progressive JPEG, which are a dozen; each goes over the whole image."""
BACKGROUND = (255, 255, 255)
"""The colour behind transparent pixels: white."""

Pixels = npt.NDArray[np.uint8]

_MISTAKEN = {
    start: what for start, what in MISTAKEN.items() if what.startswith(("a git-LFS", "AppleDouble", "a web"))
}
_BROKEN = (
    *(OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, TypeError, OverflowError),
    *(struct.error, zlib.error, MemoryError, Image.DecompressionBombError),
)
"""What Pillow raises for files that are not what they claim to be."""
_BITS, _PHOTOMETRIC = 258, 262
"""Tags of TIFF."""


@dataclass(frozen=True, eq=False)
class Photo:
    """An image (H, W, 3), RGB, and what was done to the file's pixels to get it, for its reader to know."""

    image_hwc: Pixels
    notes: tuple[str, ...] = ()


def read_photo(path: AnyPath) -> Photo:
    """A JPEG, PNG, TIFF, BMP or WebP file, turned as its EXIF data say.

    Grey, palettes, CMYK and 16 bits (the upper 8) become RGB of 8 bits, transparency is laid on white, and
    of several pictures the first is taken; colour profiles are not applied. Raises MissingData without the
    file, ReadError for one that is broken, too large or of another kind.
    """
    with opened(path, mapped(path, _MISTAKEN)) as image:
        count = 1 if image.format == "MPO" else getattr(image, "n_frames", 1)  # phones add depth to a JPEG
        notes = [f"the first of {count} pictures in the file"] * (count > 1)
        is_deep = image.format in ("PNG", "TIFF") and any(";16" in str(args) for *_, args in image.tile)
        image.load()
        turn(image)
        pixels, more = _rgb(image, path)
        if is_deep and pixels.max() < 16:
            raise ReadError(
                f"{path}: has 16 bits, but no value above 4095 of 65535, as if there were 12; save it with 8"
            )
        return Photo(pixels, (*notes, *more))


def read_image(image: Image.Image) -> Photo:
    """The same for an image that Pillow holds. Raises ReadError for a mode that has no colours."""
    with _one_line("the image", b""):  # it may have been opened, and not read yet
        own = image.copy()
        turn(own)
        return Photo(*_rgb(own, "the image"))


@contextmanager
def _one_line(path: AnyPath, start: bytes) -> Iterator[None]:
    """Turns what Pillow raises for a file that begins with `start` into a ReadError."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about metadata, and of large images, which are bounded here
            yield
    except UnidentifiedImageError as error:
        what = "HEIC or AVIF, which is not read" if start[4:8] == b"ftyp" else "of no kind that is read"
        raise ReadError(f"{path}: is {what}; save it as JPEG, PNG, TIFF, BMP or WebP") from error
    except _BROKEN as error:
        raise ReadError(f"{path}: a broken image: {' '.join(str(error).split())}") from error


@contextmanager
def opened(
    path: AnyPath, buffer: IO[bytes] | mmap.mmap, formats: tuple[str, ...] = FORMATS
) -> Iterator[ImageFile.ImageFile]:
    """The image in `buffer`, for whoever decodes it inside: what Pillow raises there is a ReadError."""
    length = _length(buffer)
    with (
        _one_line(path, buffer.read(16)),
        Image.open(cast(IO[bytes], buffer), formats=formats) as image,
    ):
        size = f"{image.width}x{image.height} pixels (width x height)"
        if image.width * image.height > MAX_PIXELS:
            raise ReadError(f"{path}: {size}, at most {MAX_PIXELS} are decoded; make it smaller")
        if image.width * image.height > FREE_PIXELS + MAX_RATIO * length:
            raise ReadError(f"{path}: {size} in only {length} bytes, as no photo has; make it smaller")
        if image.format in ("JPEG", "MPO") and _count(b"\xff\xda", buffer) > MAX_SCANS:
            raise ReadError(f"{path}: a JPEG of over {MAX_SCANS} scans; save it again")
        yield image


def _length(buffer: IO[bytes] | mmap.mmap) -> int:
    """The bytes in a buffer, which is at its beginning afterwards."""
    buffer.seek(0, io.SEEK_END)
    length = buffer.tell()
    buffer.seek(0)
    return length


def _count(marker: bytes, buffer: IO[bytes] | mmap.mmap) -> int:
    """How often a marker stands in a buffer; the data between markers of a JPEG hold none."""
    content = buffer.getbuffer() if isinstance(buffer, io.BytesIO) else buffer
    return sum(1 for _ in re.finditer(re.escape(marker), cast(mmap.mmap, content)))


def turn(image: Image.Image) -> None:
    """Turns an image as its EXIF data say; a TIFF turned itself when it was loaded, and says nothing."""
    with suppress(*_BROKEN):  # damaged metadata say nothing
        ImageOps.exif_transpose(image, in_place=True)


def _rgb(image: Image.Image, path: AnyPath) -> tuple[Pixels, tuple[str, ...]]:
    """The pixels (H, W, 3) of an image of any mode, and a note if something shows through."""
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PNG"):
        return np.repeat(upper_bits(image)[:, :, None], 3, axis=2), ()
    if image.mode in ("I", "F"):
        raise ReadError(
            f"{path}: its pixels have 32 bits, and which value is white is not known; save it with 8"
        )
    if image.mode in ("LAB", "HSV"):
        raise ReadError(f"{path}: is of the colour space {image.mode}; save it as RGB")
    if image.mode in ("LA", "PA", "La", "RGBA", "RGBa") or "transparency" in image.info:
        return _on_background(image.convert("RGBA"))
    return np.asarray(image.convert("RGB")), ()


def upper_bits(image: Image.Image) -> Pixels:
    """The upper 8 bits of grey pixels of 12 or 16."""
    tags: Any = getattr(image, "tag_v2", {})
    bits = (tags.get(_BITS) or (16,))[0]
    grey = (np.asarray(image).astype(np.uint32) >> (bits - 8)).astype(np.uint8)
    return 255 - grey if tags.get(_PHOTOMETRIC) == 0 else grey  # 0 is white in fax machines


def _on_background(image: Image.Image) -> tuple[Pixels, tuple[str, ...]]:
    if image.getchannel("A").getextrema() == (255, 255):
        return np.asarray(image.convert("RGB")), ()
    below = Image.new("RGBA", image.size, (*BACKGROUND, 255))
    return np.asarray(Image.alpha_composite(below, image).convert("RGB")), ("transparency laid on white",)
