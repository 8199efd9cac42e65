"""Images of which only objects, only what is around them, or only their shapes are left (PAMI, Table 8).

    voc2011+foreground         all but the objects has the mean colour
    voc2011+background+black   the objects are black
    voc2011+shape              the objects are white, all else is black

The paper does not say what replaces masked pixels. Void pixels are no object's, so they are background.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from caffe2torch.errors import MissingData
from fcn_repro.data.datasets.base import Dataset, Label, Sample
from fcn_repro.data.labels import IGNORE_LABEL

KEPT = ("foreground", "background", "shape")
"""What can be left of an image."""
Colour = tuple[int, int, int]
"""RGB."""
FILLS: Mapping[str, Colour] = {"black": (0, 0, 0), "white": (255, 255, 255)}
"""What replaces masked pixels where it is not the mean colour; a shape has colours of its own."""


class _Masked(Dataset):
    """Mixed into a data set; `colour` replaces masked pixels."""

    colour: ClassVar[Colour]

    def __getitem__(self, index: int) -> Sample:
        sample = super().__getitem__(index)
        image_hwc = left(sample.image_hwc, sample.label, self.kept.partition("+")[0], self.colour)
        return replace(sample, image_hwc=image_hwc)


def left(image_hwc: npt.NDArray[np.uint8], label: Label, kept: str, colour: Colour) -> npt.NDArray[np.uint8]:
    """The image (H, W, 3) with `colour` in place of what is not kept; of a shape, white objects on black."""
    is_object = ((label != 0) & (label != IGNORE_LABEL))[:, :, np.newaxis]
    if kept == "shape":
        return np.where(is_object, np.uint8(255), np.zeros_like(image_hwc))
    return np.where(is_object == (kept == "foreground"), image_hwc, np.array(colour, np.uint8))


def masked(kind: type[Dataset], kept: str, *fill: str) -> type[Dataset]:
    """A data set's masked form: `kept` is one of KEPT, `fill` at most one of FILLS.

    Raises MissingData for anything else, and for a data set whose first class is not the background.
    """
    name = "+".join((kind.name, kept, *fill))
    if kept not in KEPT or len(fill) > (kept != "shape") or not {*fill} <= FILLS.keys():
        raise MissingData(
            f"{name}: masked data sets are {kind.name}+foreground and {kind.name}+background, with +black or "
            f"+white if masked pixels are not to have the mean colour, and {kind.name}+shape"
        )
    if not kind.labellings or next(iter(kind.labellings.values())).classes[0] != "background":
        raise MissingData(f"{name}: {kind.title} has no background to tell from objects")
    blue, green, red = (round(value) for value in kind.mean_bgr)
    colour = FILLS[fill[0]] if fill else (red, green, blue)
    how = f"{kept} alone, {fill[0] if fill else 'the mean colour'} elsewhere"
    how = "white shapes on black" if kept == "shape" else how
    facts = {
        "name": name,
        "title": f"{kind.title} ({how})",
        "quirks": (*kind.quirks, f"Images are masked: {how}. Void pixels count as background."),
        "kept": name.partition("+")[2],
        "colour": colour,
    }
    return type(f"Masked{kind.__name__}", (_Masked, kind), facts)


def masked_images(images: str, kept: str, fill: str = "") -> str:
    """NAME/SPLIT as NAME+KEPT+FILL/SPLIT; the fill only where there is one, nothing if all is kept."""
    name, _, split = images.partition("/")
    parts = (name, kept, fill if kept in ("foreground", "background") else "")
    return f"{'+'.join(filter(None, parts))}/{split}"
