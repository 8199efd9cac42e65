"""Image files -> pixels as Caffe's users' libraries give them: OpenCV to its layers, scikit-image to pycaffe.

Neither knows of colour profiles; transparency is dropped. `photos` reads images as a person sees them.
"""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from caffe2torch.blob import Array
from caffe2torch.errors import ReadError
from caffe2torch.untrusted.mapped import AnyPath, mapped
from caffe2torch.untrusted.photos import opened, turn, upper_bits


def read_pixels(path: AnyPath) -> Array:
    """An image file as stored: (H, W, 1), grey, of uint8 or uint16, or (H, W, 3), RGB, of uint8.

    Raises MissingData without the file, ReadError for one that is broken, too large or of another kind.
    """
    with opened(path, mapped(path, {})) as image:
        if image.mode.startswith("I;16"):
            return np.asarray(image).astype(np.uint16)[:, :, None]
        return _plain(image, path, None)


def read_bgr(path: AnyPath, color: bool | None) -> Array:
    """An image file as OpenCV's imread gives it, uint8: (3, H, W), BGR, or (1, H, W), grey.

    `color` says which of the two; None keeps the file's own. A JPEG or TIFF is turned as its EXIF data say.
    Raises MissingData without the file, ReadError for one that is broken, too large or of another kind.
    """
    return _bgr(mapped(path, {}), path, color)


def decode_bgr(encoded: bytes, where: str, color: bool | None) -> Array:
    """The same for an encoded image in memory, which errors call `where`."""
    return _bgr(io.BytesIO(encoded), where, color)


def _bgr(buffer: io.BytesIO, path: AnyPath, color: bool | None) -> Array:
    with opened(path, buffer) as image:
        if color is False and image.format == "JPEG":
            image.draft("L", image.size)  # the luminance that the file stores, as libjpeg gives OpenCV
        turn(image)
        pixels = _plain(image, path, color)
        return np.ascontiguousarray(pixels[:, :, ::-1].transpose(2, 0, 1))


def _plain(image: Image.Image, path: AnyPath, color: bool | None) -> Array:
    """The pixels (H, W, C), RGB or grey, of 8 bits."""
    if image.mode.startswith("I;16"):
        pixels = upper_bits(image)[:, :, None]
    elif image.mode in ("1", "L", "LA", "La"):
        pixels = np.asarray(image.convert("L"))[:, :, None]
    elif image.mode in ("I", "F", "LAB", "HSV"):
        raise ReadError(f"{path}: has pixels of mode {image.mode}; save it with 8 bits, grey or RGB")
    else:
        pixels = np.asarray(image.convert("RGB"))
    if color and pixels.shape[2] == 1:
        return np.repeat(pixels, 3, axis=2)
    return _grey(pixels) if color is False and pixels.shape[2] == 3 else pixels


def _grey(rgb: Array) -> Array:
    """Luminance (H, W, 1) in whole levels, in OpenCV's fixed point of 14 bits."""
    weighed = rgb.astype(np.int32) @ np.array([[4899], [9617], [1868]], np.int32)
    return ((weighed + (1 << 13)) >> 14).astype(np.uint8)
