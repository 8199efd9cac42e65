"""The picture that a scene is painted on, and the label of each pixel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fcn_repro.data.labels import IGNORE_LABEL
from fcn_repro.data.scenes.chance import Chance
from fcn_repro.data.scenes.colours import Colour
from fcn_repro.data.scenes.outlines import UNIT, Mask, Outline
from fcn_repro.data.scenes.textures import FULL, Texture


@dataclass(frozen=True)
class Part:
    """A piece with one texture, which mixes two colours."""

    outline: Outline
    texture: Texture
    colours: tuple[Colour, Colour]


class Canvas:
    """An image, RGB, int32 (H, W, 3), and the label of each pixel, uint8 (H, W); both are 0 at first."""

    def __init__(self, height: int, width: int) -> None:
        self.image_hwc = np.zeros((height, width, 3), np.int32)
        self.label = np.zeros((height, width), np.uint8)
        self._y = np.arange(height, dtype=np.int64)[:, np.newaxis]
        self._x = np.arange(width, dtype=np.int64)[np.newaxis]

    def add(self, parts: Sequence[Part], label: int, *, border: bool) -> None:
        """Paints the parts over what is there, later ones over earlier ones, and labels what they cover.

        With a border, the pixels that touch them, even at a corner, become void.
        """
        covered = np.zeros(self.label.shape, bool)
        for part in parts:
            self._paint(part, covered)
        if border:
            self.label[_grown(covered)] = IGNORE_LABEL
        self.label[covered] = label

    def photograph(self, chance: Chance) -> npt.NDArray[np.uint8]:
        """The image (H, W, 3) as a camera sees it: unevenly lit, a little out of focus, and noisy."""
        image = _blurred(self.image_hwc * self._light(chance)[:, :, np.newaxis] // FULL)
        noise = chance.bytes(2, *image.shape).astype(np.int32)
        image += (noise[0] - noise[1]) * chance.between(6, 30) // FULL
        return image.clip(0, 255).astype(np.uint8)

    def _paint(self, part: Part, covered: Mask) -> None:
        rows, columns = self._around(part.outline)
        y, x = self._y[rows], self._x[:, columns]
        if not (y.size and x.size):
            return
        mask = part.outline.covers(UNIT * y + UNIT // 2, UNIT * x + UNIT // 2)
        mixture = part.texture(y, x)[mask].astype(np.int32)[:, np.newaxis]  # (pixels, 1)
        first, second = np.array(part.colours, np.int32)
        self.image_hwc[rows, columns][mask] = first + (second - first) * mixture // FULL
        covered[rows, columns] |= mask

    def _around(self, outline: Outline) -> tuple[slice, slice]:
        """The rows and columns of an outline that are on the canvas."""
        top, left, bottom, right = (max(edge // UNIT, 0) for edge in outline.box)
        return slice(top, bottom + 1), slice(left, right + 1)

    def _light(self, chance: Chance) -> npt.NDArray[np.int32]:
        """The brightness (H, W), a slope in some direction; FULL changes nothing."""
        height, width = self.label.shape
        corner, down, right = chance.between(190, 290), chance.between(-60, 60), chance.between(-60, 60)
        return (corner + down * self._y // height + right * self._x // width).astype(np.int32)


def _grown(mask: Mask) -> Mask:
    """The mask, with the eight neighbours of each pixel."""
    tall: Mask = mask.copy()
    tall[1:] |= mask[:-1]
    tall[:-1] |= mask[1:]
    grown: Mask = tall.copy()
    grown[:, 1:] |= tall[:, :-1]
    grown[:, :-1] |= tall[:, 1:]
    return grown


def _blurred(image: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
    """Half of each pixel, and an eighth of its upper, lower, left and right neighbours; edges repeat."""
    padded = np.pad(image, ((1, 1), (1, 1), (0, 0)), "edge")
    around = padded[:-2, 1:-1] + padded[2:, 1:-1] + padded[1:-1, :-2] + padded[1:-1, 2:]
    return (4 * image + around) // 8
