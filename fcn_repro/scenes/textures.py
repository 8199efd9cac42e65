"""Textures: how much of a second colour is mixed into a first one, 0 to 256, pixel by pixel.

A texture is drawn once (its period, its direction) and then asked for any box of pixels.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from fcn_repro.scenes.chance import Chance
from fcn_repro.scenes.outlines import Integers

Texture = Callable[[Integers, Integers], Integers]
"""From pixels y (h, 1) and x (1, w) to the mixture (h, w)."""

FULL = 256


def plain(chance: Chance) -> Texture:
    """The first colour alone."""
    return lambda y, x: np.zeros((y.size, x.size), np.int64)


def stripes(chance: Chance) -> Texture:
    """Bands of two colours, in one of several directions."""
    down, right = chance.pick(((0, 2), (2, 0), (1, 2), (2, 1), (2, -1), (1, -2)))
    period = chance.between(4, 9)
    return lambda y, x: ((down * y + right * x) // period & 1) * FULL


def checks(chance: Chance) -> Texture:
    """A chessboard."""
    period = chance.between(2, 5)
    return lambda y, x: ((y // period + x // period) & 1) * FULL


def fade(chance: Chance) -> Texture:
    """From one colour to the other, downwards or to the right."""
    downwards = chance.happens(50)

    def texture(y: Integers, x: Integers) -> Integers:
        along = y - y.min() if downwards else x - x.min()
        return np.broadcast_to(along * FULL // (along.max() + 1), (y.size, x.size))

    return texture


def grain(chance: Chance) -> Texture:
    """Each pixel a mixture of its own."""
    return lambda y, x: chance.bytes(y.size, x.size).astype(np.int64)


def blotches(chance: Chance) -> Texture:
    """Soft spots a few pixels across: random values on a grid, and straight lines between them."""
    period = chance.between(3, 6)

    def texture(y: Integers, x: Integers) -> Integers:
        down, right = y - y.min(), x - x.min()
        grid = chance.bytes(y.size // period + 2, x.size // period + 2).astype(np.int64)
        rows = grid[down[:, 0] // period] * (period - down % period)
        rows += grid[down[:, 0] // period + 1] * (down % period)
        left = rows[:, right[0] // period] * (period - right % period)
        return (left + rows[:, right[0] // period + 1] * (right % period)) // (period * period)

    return texture


def dots(chance: Chance) -> Texture:
    """Round spots on a slanted grid."""
    period = chance.between(5, 7)

    def texture(y: Integers, x: Integers) -> Integers:
        dy, dx = y % period - period // 2, (x + y // period * 2) % period - period // 2
        return (dy * dy + dx * dx <= 3) * FULL

    return texture


def windows(chance: Chance) -> Texture:
    """Rows of upright rectangles, as on a facade; some are lit, the rest are dark."""
    high, wide = chance.between(7, 11), chance.between(6, 10)
    window_high, window_wide = high * chance.between(4, 6) // 10, wide * chance.between(4, 6) // 10

    def texture(y: Integers, x: Integers) -> Integers:
        below, beside = y - y.min() + high - 2, x - x.min() + wide - 2
        pane = (below % high < window_high) & (beside % wide < window_wide)
        return pane * FULL

    return texture
