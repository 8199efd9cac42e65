"""The picture that a scene is painted on, and the label of each of its pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fcn_repro.scenes.chance import Chance
from fcn_repro.scenes.outlines import UNIT, Mask, Outline
from fcn_repro.scenes.textures import FULL, Texture

VOID = 255

Colour = tuple[int, int, int]


@dataclass(frozen=True)
class Part:
    """A piece of one texture, which mixes two colours, RGB."""

    outline: Outline
    texture: Texture
    colours: tuple[Colour, Colour]


class Canvas:
    """An image, RGB (H, W, 3), not yet rounded to 8 bits, and its label, uint8 (H, W)."""

    def __init__(self, height: int, width: int) -> None:
        self.image_hwc = np.zeros((height, width, 3), np.int64)
        self.label = np.zeros((height, width), np.uint8)
        self._y = np.arange(height)[:, np.newaxis]
        self._x = np.arange(width)[np.newaxis]

    def add(self, parts: Sequence[Part], label: int, *, border: bool) -> None:
        """Paints the parts over what is there, later ones over earlier ones, and labels what they cover.

        With a border, what lies around them and touches them, also by a corner, becomes void.
        """
        covered = np.zeros(self.label.shape, bool)
        for part in parts:
            self._paint(part, covered)
        if border:
            self.label[_grown(covered)] = VOID
        self.label[covered] = label

    def _paint(self, part: Part, covered: Mask) -> None:
        rows, columns = self._slices(part.outline)
        y, x = self._y[rows], self._x[:, columns]
        if not (y.size and x.size):
            return
        mask = part.outline.covers(UNIT * y + UNIT // 2, UNIT * x + UNIT // 2)
        mixture = part.texture(y, x)[:, :, np.newaxis]
        first, second = np.array(part.colours)
        colours = (first * (FULL - mixture) + second * mixture) // FULL
        np.copyto(self.image_hwc[rows, columns], colours, where=mask[:, :, np.newaxis])
        covered[rows, columns] |= mask

    def _slices(self, outline: Outline) -> tuple[slice, slice]:
        """The pixels that an outline may cover."""
        top, left, bottom, right = (edge // UNIT for edge in outline.box)
        return slice(max(top, 0), max(bottom + 1, 0)), slice(max(left, 0), max(right + 1, 0))

    def photograph(self, chance: Chance) -> npt.NDArray[np.uint8]:
        """The image as a camera sees it: unevenly lit, a little out of focus, and noisy."""
        image = self.image_hwc * self._light(chance)[:, :, np.newaxis] // FULL
        image = _blurred(image)
        strength = chance.between(6, 30)
        noise = chance.bytes(2, *image.shape).astype(np.int64)
        image += (noise[0] - noise[1]) * strength // FULL
        return np.clip(image, 0, 255).astype(np.uint8)

    def _light(self, chance: Chance) -> npt.NDArray[np.int64]:
        """The brightness of each pixel, a straight slope: 256 leaves it as it is."""
        height, width = self.label.shape
        corner, down, right = chance.between(190, 290), chance.between(-60, 60), chance.between(-60, 60)
        return corner + down * self._y // height + right * self._x // width


def _grown(mask: Mask) -> Mask:
    """The mask and the eight neighbours of each of its pixels."""
    down = mask.copy()
    down[1:] |= mask[:-1]
    down[:-1] |= mask[1:]
    grown = down.copy()
    grown[:, 1:] |= down[:, :-1]
    grown[:, :-1] |= down[:, 1:]
    return grown


def _blurred(image: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Each pixel with an eighth of each of its upper, lower, left and right neighbours."""
    padded = np.pad(image, ((1, 1), (1, 1), (0, 0)), "edge")
    around = padded[:-2, 1:-1] + padded[2:, 1:-1] + padded[1:-1, :-2] + padded[1:-1, 2:]
    return (4 * image + around) // 8
