"""Textures: how much of a second colour is mixed into a first, pixel by pixel.

A texture draws its period and direction once, and then fills boxes of pixels.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from fcn_repro.data.scenes.chance import Chance
from fcn_repro.data.scenes.outlines import Integers

Texture = Callable[[Integers, Integers], Integers]
"""From rows y (h, 1) and columns x (1, w) of pixels to the mixture (h, w), FULL for the second colour."""

FULL = 256


def plain(chance: Chance) -> Texture:
    """Only the first colour."""
    return PLAIN


def fade(chance: Chance) -> Texture:
    """From one colour to the other, downwards or to the right."""
    return DOWNWARDS if chance.happens(50) else _rightwards


def stripes(chance: Chance) -> Texture:
    """Bands of both colours, in one of several directions."""
    down, right = chance.pick(((0, 2), (2, 0), (1, 2), (2, 1), (2, -1), (1, -2)))
    period = chance.between(4, 9)
    return lambda y, x: ((down * y + right * x) // period & 1) * FULL


def checks(chance: Chance) -> Texture:
    """A chessboard."""
    period = chance.between(2, 5)
    return lambda y, x: ((y // period + x // period) & 1) * FULL


def dots(chance: Chance) -> Texture:
    """Round spots on a slanted grid."""
    period = chance.between(5, 7)

    def texture(y: Integers, x: Integers) -> Integers:
        dy, dx = y % period - period // 2, (x + y // period * 2) % period - period // 2
        return np.where(dy * dy + dx * dx <= 3, FULL, 0)

    return texture


def windows(chance: Chance) -> Texture:
    """Upright rectangles of the second colour in rows, as on a facade."""
    high, wide = chance.between(7, 11), chance.between(6, 10)
    pane_high, pane_wide = high * chance.between(4, 6) // 10, wide * chance.between(4, 6) // 10

    def texture(y: Integers, x: Integers) -> Integers:
        below, beside = (y - y.min() - 2) % high, (x - x.min() - 2) % wide
        return np.where((below < pane_high) & (beside < pane_wide), FULL, 0)

    return texture


def grain(chance: Chance) -> Texture:
    """A random mixture for each pixel."""
    return lambda y, x: chance.bytes(y.size, x.size).astype(np.int64)


def blotches(chance: Chance) -> Texture:
    """Soft spots a few pixels across: a coarse grid of random values, interpolated linearly."""
    period = chance.between(3, 6)

    def texture(y: Integers, x: Integers) -> Integers:
        down, right = y - y.min(), x[0] - x.min()
        grid = chance.bytes(y.size // period + 2, x.size // period + 2).astype(np.int64)
        upper, lower = grid[down[:, 0] // period], grid[down[:, 0] // period + 1]
        rows = upper * (period - down % period) + lower * (down % period)
        left, beside = rows[:, right // period], rows[:, right // period + 1]
        mixture: Integers = left * (period - right % period) + beside * (right % period)
        return mixture // (period * period)

    return texture


def _plain(y: Integers, x: Integers) -> Integers:
    return np.zeros((y.size, x.size), np.int64)


def _downwards(y: Integers, x: Integers) -> Integers:
    return np.repeat((y - y.min()) * FULL // y.size, x.size, axis=1)


def _rightwards(y: Integers, x: Integers) -> Integers:
    return np.repeat((x - x.min()) * FULL // x.size, y.size, axis=0)


PLAIN: Texture = _plain
DOWNWARDS: Texture = _downwards
