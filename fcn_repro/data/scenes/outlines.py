"""Outlines, and which pixels they cover: those whose centre is inside or on the edge.

All numbers are integers, in eighths of a pixel from the upper left corner, so the results are exact.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

UNIT = 8
"""Steps in a pixel; the centre of pixel i lies at UNIT * i + UNIT // 2."""

Integers = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]


class Outline(Protocol):
    """A shape in the plane."""

    @property
    def box(self) -> tuple[int, int, int, int]:
        """Top, left, bottom and right of an upright rectangle around it."""
        ...

    def covers(self, y: Integers, x: Integers) -> Mask:
        """Whether it has the points (y, x); these broadcast."""
        ...


@dataclass(frozen=True)
class Disc:
    """An ellipse, by its centre and its semi-axes; both are positive."""

    y: int
    x: int
    ry: int
    rx: int

    @property
    def box(self) -> tuple[int, int, int, int]:
        """The rectangle around it."""
        return self.y - self.ry, self.x - self.rx, self.y + self.ry, self.x + self.rx

    def covers(self, y: Integers, x: Integers) -> Mask:
        """Points in it."""
        dy, dx = (y - self.y) * self.rx, (x - self.x) * self.ry
        return dy * dy + dx * dx <= (self.ry * self.rx) ** 2


@dataclass(frozen=True)
class Ring:
    """A circle of radius r, drawn with a line that is `width` wide and inside it."""

    y: int
    x: int
    r: int
    width: int

    @property
    def box(self) -> tuple[int, int, int, int]:
        """The rectangle around it."""
        return self.y - self.r, self.x - self.r, self.y + self.r, self.x + self.r

    def covers(self, y: Integers, x: Integers) -> Mask:
        """Points in its line."""
        distance = (y - self.y) ** 2 + (x - self.x) ** 2
        return (distance <= self.r**2) & (distance >= (self.r - self.width) ** 2)


@dataclass(frozen=True)
class Polygon:
    """A convex polygon, by its corners (y, x), clockwise on the screen."""

    corners: tuple[tuple[int, int], ...]

    @property
    def box(self) -> tuple[int, int, int, int]:
        """The rectangle around it."""
        ys, xs = zip(*self.corners, strict=True)
        return min(ys), min(xs), max(ys), max(xs)

    def covers(self, y: Integers, x: Integers) -> Mask:
        """Points on the right-hand side of every edge."""
        inside = np.ones(np.broadcast_shapes(y.shape, x.shape), bool)
        for (ay, ax), (by, bx) in zip(self.corners, self.corners[1:] + self.corners[:1], strict=True):
            inside &= (bx - ax) * (y - ay) >= (by - ay) * (x - ax)
        return inside


@dataclass(frozen=True)
class Bar:
    """A straight line from a to b, each (y, x), `width` wide, with square ends."""

    a: tuple[int, int]
    b: tuple[int, int]
    width: int

    @property
    def box(self) -> tuple[int, int, int, int]:
        """A rectangle around it."""
        (ay, ax), (by, bx) = self.a, self.b
        half = self.width // 2 + 1
        return min(ay, by) - half, min(ax, bx) - half, max(ay, by) + half, max(ax, bx) + half

    def covers(self, y: Integers, x: Integers) -> Mask:
        """Points at most half the width from the line, and not beyond its ends."""
        (ay, ax), (by, bx) = self.a, self.b
        dy, dx = by - ay, bx - ax
        along, across = dy * (y - ay) + dx * (x - ax), dx * (y - ay) - dy * (x - ax)
        length2 = dy * dy + dx * dx
        return (along >= 0) & (along <= length2) & (4 * across**2 <= self.width**2 * length2)


def rectangle(top: int, left: int, bottom: int, right: int) -> Polygon:
    """An upright rectangle."""
    return Polygon(((top, left), (top, right), (bottom, right), (bottom, left)))
