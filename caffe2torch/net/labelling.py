"""The classes that a net tells apart, with their names and colours."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

Colour = tuple[int, int, int]
"""RGB, each from 0 to 255."""


@dataclass(frozen=True)
class Labelling:
    """One labelling of the pixels: its classes, by index, and the colours that they are painted with.

    Raises ValueError for names that are empty or occur twice, and unless each class has a colour.
    """

    classes: tuple[str, ...]
    colours: tuple[Colour, ...]

    def __post_init__(self) -> None:
        if len(self.classes) != len(self.colours):
            raise ValueError(f"{len(self.classes)} classes, but {len(self.colours)} colours")
        first = {name: label for label, name in reversed([*enumerate(self.classes)])}
        for label, name in enumerate(self.classes):
            if not name:
                raise ValueError(f"class {label} has no name")
            if first[name] != label:
                raise ValueError(f"classes {first[name]} and {label} are both called {name!r}")
        for name, colour in zip(self.classes, self.colours, strict=True):
            if len(colour) != 3 or not all(type(value) is int and 0 <= value <= 255 for value in colour):
                raise ValueError(f"the colour of {name!r} is {colour}, not three integers from 0 to 255")

    @cached_property
    def palette(self) -> npt.NDArray[np.uint8]:
        """The colours as an array (N, 3)."""
        palette = np.array(self.colours, np.uint8).reshape(-1, 3)
        palette.setflags(write=False)
        return palette

    @staticmethod
    def numbered(count: int) -> Labelling:
        """Classes of which only the number is known, in PASCAL VOC's colours."""
        return Labelling(tuple(f"class {label}" for label in range(count)), voc_colours(count))


def voc_colours(count: int) -> tuple[Colour, ...]:
    """PASCAL VOC's colours for the labels 0 to count - 1; count at most 256.

    The devkit deals a label's bits out to red, green and blue, the lowest three to their highest bits: 0 is
    black, and neighbouring labels get distant colours.
    """
    return tuple((_dealt(label, 0), _dealt(label, 1), _dealt(label, 2)) for label in range(count))


def _dealt(label: int, channel: int) -> int:
    return sum((label >> (3 * place + channel) & 1) << (7 - place) for place in range(8))
