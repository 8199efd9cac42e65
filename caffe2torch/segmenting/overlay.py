"""Labels as a person sees them: painted over their photo, above a legend of the classes that occur."""

from __future__ import annotations

from dataclasses import dataclass
from os import PathLike

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from caffe2torch.errors import NetError
from caffe2torch.net.labelling import Colour, Labelling
from caffe2torch.segmenting.segmenter import Labels, as_pixels, shares

LEAST, MOST = 512, 2048
"""The longer side of a picture: small photos are enlarged, to be seen, and large ones shrunk."""
STRENGTH = 0.55
"""How much of a class's colour there is in a painted pixel."""
IGNORE_LABEL = 255
UNPAINTED = "background"
"""A class of this name is left as it is in the photo."""

_PAPER, _INK, _LINE = (255, 255, 255), (28, 31, 36), (150, 155, 163)
_MAX_NAME = 40
"""Characters of a class's name in the legend."""


@dataclass(frozen=True)
class _Entry:
    """A class in the legend."""

    text: str
    colour: Colour | None


def overlay(
    image: str | PathLike[str] | Image.Image | npt.NDArray[np.uint8],
    labels: Labels,
    labelling: Labelling | None = None,
) -> Image.Image:
    """A photo with its classes painted over it, and which they are below, with their shares of the pixels.

    `image` is what `segment` takes, `labels` (H, W) what it returns; 255, and a class called background, are
    not painted. Without a `labelling` classes are numbered and have PASCAL VOC's colours. The picture is as
    large as the photo, but 512 to 2048 pixels on its longer side. Raises NetError for labels that do not fit.
    """
    pixels = as_pixels(image)
    if not isinstance(labels, np.ndarray):
        raise TypeError(f"the labels are {type(labels)}; give one head's, a uint8 array (H, W)")
    if labels.shape != pixels.shape[:2] or labels.dtype != np.uint8:
        raise NetError(
            f"the labels are {labels.dtype} {labels.shape}, the photo is {pixels.shape[:2]}; give one "
            f"head's, uint8 (H, W)"
        )
    found = shares(labels)
    highest = max((label for label in found if label != IGNORE_LABEL), default=0)
    named = labelling or Labelling.numbered(highest + 1)
    if highest >= len(named.classes):
        raise NetError(f"label {highest} is none of the {len(named.classes)} classes of the labelling")
    size = _shown_size(pixels.shape[1], pixels.shape[0])
    photo = Image.fromarray(np.ascontiguousarray(pixels)).resize(size, Image.Resampling.LANCZOS)
    map_ = Image.fromarray(np.ascontiguousarray(labels)).resize(size, Image.Resampling.NEAREST)
    painted = _painted(np.asarray(photo), np.asarray(map_), named)
    return _above(Image.fromarray(painted), [_entry(label, share, named) for label, share in found.items()])


def _shown_size(width: int, height: int) -> tuple[int, int]:
    """A photo's (width, height) as it is shown; pixels are enlarged by a whole factor, to stay square."""
    longer = max(width, height)
    factor = float(-(-LEAST // longer)) if longer < LEAST else min(1.0, MOST / longer)
    return max(1, round(width * factor)), max(1, round(height * factor))


def _painted(photo: Labels, labels: Labels, named: Labelling) -> Labels:
    """The photo (h, w, 3) with each class in its colour."""
    colours = np.zeros((256, 3), np.float32)
    colours[: len(named.classes)] = named.palette
    strength = np.zeros(256, np.float32)
    strength[: len(named.classes)] = [STRENGTH * (name != UNPAINTED) for name in named.classes]
    paint = strength[labels][:, :, None]  # (h, w, 1)
    mixed = photo * (1 - paint) + colours[labels] * paint
    return np.round(mixed).astype(np.uint8)


def _entry(label: int, share: float, named: Labelling) -> _Entry:
    if label == IGNORE_LABEL:
        return _Entry(f"void {percent(share)}", None)
    name = "".join(c if c.isprintable() else "?" for c in named.classes[label])
    name = name if len(name) <= _MAX_NAME else f"{name[: _MAX_NAME - 1]}…"
    return _Entry(f"{name} {percent(share)}", None if name == UNPAINTED else named.colours[label])


def percent(share: float) -> str:
    """A share as a person reads it."""
    return f"{100 * share:.1f} %" if share >= 0.0005 else "< 0.1 %"


def _above(picture: Image.Image, entries: list[_Entry]) -> Image.Image:
    """The picture above a legend, whose entries flow into lines."""
    size = min(32, max(13, picture.width // 45))
    font = ImageFont.load_default(size)
    line, gap = round(1.7 * size), size
    places, left, top = list[tuple[int, int]](), gap, gap
    for entry in entries:
        width = round(2.6 * size + font.getlength(entry.text))
        if left > gap and left + width > picture.width:
            left, top = gap, top + line
        places.append((left, top))
        left += width
    page = Image.new("RGB", (picture.width, picture.height + top + line + gap // 2), _PAPER)
    page.paste(picture, (0, 0))
    draw = ImageDraw.Draw(page)
    for entry, (x, y) in zip(entries, places, strict=True):
        y += picture.height
        draw.rectangle((x, y, x + size, y + size), fill=entry.colour or _PAPER, outline=_LINE)
        draw.text((x + 1.4 * size, y + size / 2), entry.text, fill=_INK, font=font, anchor="lm")
    return page
