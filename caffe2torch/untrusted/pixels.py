"""Image files -> pixels as Caffe's users' libraries give them: OpenCV to its layers, scikit-image to pycaffe.

Neither knows of colour profiles; transparency is dropped. `photos` reads images as a person sees them.
"""

from __future__ import annotations

import io
import mmap

import numpy as np
from PIL import Image

from caffe2torch.blob import Array
from caffe2torch.errors import ReadError
from caffe2torch.untrusted import photos
from caffe2torch.untrusted.mapped import AnyPath, mapped

FORMATS = (*photos.FORMATS, "PPM")
_WITH_ALPHA = ("LA", "La", "PA", "RGBA", "RGBa")


def read_pixels(path: AnyPath) -> Array:
    """An image file as stored: (H, W, 1), grey, of uint8 or uint16, or (H, W, 3), RGB, of uint8.

    Raises MissingData without the file, ReadError for one that is broken, too large or of another kind.
    """
    with photos.opened(path, mapped(path, {}), FORMATS) as image:
        if image.mode.startswith("I;16"):
            return np.asarray(image).astype(np.uint16)[:, :, None]
        return _plain(image, path, None)


def read_bgr(path: AnyPath, color: bool | None) -> Array:
    """An image file as OpenCV's imread gives it, uint8: (3, H, W), BGR, or (1, H, W), grey.

    `color` says which of the two; None keeps the file's own. A JPEG or TIFF is turned as its EXIF data say.
    Raises MissingData without the file, ReadError for one that is broken, too large or of another kind.
    """
    return _bgr(mapped(path, {}), path, color, transparency=False)


def decode_bgr(encoded: bytes, where: str, color: bool | None) -> Array:
    """The same for an encoded image in memory, which errors call `where`; its own transparency stays.

    That is, with a `color` of None an image that has any is (4, H, W), as imdecode leaves it for Caffe.
    """
    return _bgr(io.BytesIO(encoded), where, color, transparency=color is None)


def _bgr(buffer: io.BytesIO | mmap.mmap, path: AnyPath, color: bool | None, *, transparency: bool) -> Array:
    with photos.opened(path, buffer, FORMATS) as image:
        if color is False and image.format == "JPEG":
            image.draft("L", image.size)  # the luminance that the file stores, as libjpeg gives OpenCV
        photos.turn(image)
        if transparency and (image.mode in _WITH_ALPHA or "transparency" in image.info):
            pixels = np.asarray(image.convert("RGBA"))[:, :, [2, 1, 0, 3]]
        else:
            pixels = _plain(image, path, color)[:, :, ::-1]
        return np.ascontiguousarray(pixels.transpose(2, 0, 1))


def _plain(image: Image.Image, path: AnyPath, color: bool | None) -> Array:
    """The pixels (H, W, C), RGB or grey, of 8 bits."""
    if image.mode.startswith("I;16"):
        pixels = photos.upper_bits(image)[:, :, None]
    elif image.mode in ("1", "L", "LA", "La"):
        pixels = np.asarray(image.convert("L"))[:, :, None]
    elif image.mode == "CMYK":
        pixels = _of_cmyk(np.asarray(image))
    elif image.mode in ("I", "F", "LAB", "HSV"):
        raise ReadError(f"{path}: has pixels of mode {image.mode}; save it with 8 bits, grey or RGB")
    else:
        pixels = np.asarray(image.convert("RGB"))
    if color and pixels.shape[2] == 1:
        return np.repeat(pixels, 3, axis=2)
    if color is False and pixels.shape[2] == 3:
        return _grey(pixels, *(_LIBPNG if image.format == "PNG" else _OPENCV))
    return pixels


_OPENCV = (np.array([[4899], [9617], [1868]], np.int32), 14, 1 << 13)
_LIBPNG = (np.array([[9797], [19234], [3737]], np.int32), 15, 0)
"""Weights of red, green and blue, their bits, and what rounds: libpng, which makes PNGs grey, truncates."""


def _grey(rgb: Array, weights: Array, bits: int, half: int) -> Array:
    """Luminance (H, W, 1) in whole levels, in fixed point."""
    return ((rgb.astype(np.int32) @ weights + half) >> bits).astype(np.uint8)


def _of_cmyk(cmyk: Array) -> Array:
    """RGB of the four inks of a JPEG, 0 for none, as OpenCV mixes them."""
    inks = 255 - cmyk.astype(np.int32)
    black = inks[:, :, 3:]
    return (black - ((255 - inks[:, :, :3]) * black >> 8)).astype(np.uint8)
