"""Label maps as palette PNGs, as VOC publishes its labels and accepts predictions."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image

VOID_COLOUR = (224, 224, 192)
"""PASCAL VOC's colour for label 255."""


def label_png(label: npt.NDArray[np.uint8], palette: npt.NDArray[np.uint8]) -> bytes:
    """A PNG file of a label map (H, W); `palette` (N, 3) has the colours of labels 0 to N - 1, RGB."""
    colours = np.zeros((256, 3), np.uint8)
    colours[: len(palette)] = palette
    if len(palette) < 256:
        colours[255] = VOID_COLOUR
    image = Image.fromarray(np.ascontiguousarray(label, np.uint8))
    image.putpalette(colours.tobytes())
    return encoded(image, "PNG")


def hexadecimal(palette: npt.NDArray[np.uint8]) -> tuple[str, ...]:
    """Colours (N, 3), RGB, as #rrggbb."""
    return tuple("#{:02x}{:02x}{:02x}".format(*colour) for colour in palette.tolist())


def from_hexadecimal(colours: Sequence[str]) -> npt.NDArray[np.uint8]:
    """Colours #rrggbb as (N, 3), RGB."""
    return np.array([list(bytes.fromhex(colour[1:])) for colour in colours], np.uint8).reshape(-1, 3)


def encoded(image: Image.Image, form: str) -> bytes:
    """An image file in a format that Pillow writes: "PNG", "JPEG"."""
    file = io.BytesIO()
    image.save(file, form, **({"quality": 85} if form == "JPEG" else {"optimize": True}))
    return file.getvalue()
