"""The classes that a net tells apart, with their names and colours."""

from __future__ import annotations

from dataclasses import dataclass

Colour = tuple[int, int, int]
"""RGB, each from 0 to 255."""


@dataclass(frozen=True)
class Labelling:
    """One labelling of the pixels: the classes by index, and the colours that they are painted with.

    Raises ValueError for names that are empty or not unique, and for colours that are not one for each class.
    """

    classes: tuple[str, ...]
    colours: tuple[Colour, ...]

    def __post_init__(self) -> None:
        if len(self.classes) != len(self.colours):
            raise ValueError(f"{len(self.classes)} classes, but {len(self.colours)} colours")
        for label, name in enumerate(self.classes):
            if not name:
                raise ValueError(f"class {label} has no name")
            if (first := self.classes.index(name)) != label:
                raise ValueError(f"classes {first} and {label} are both called {name!r}")
        for name, colour in zip(self.classes, self.colours, strict=True):
            if len(colour) != 3 or not all(type(value) is int and 0 <= value <= 255 for value in colour):
                raise ValueError(f"the colour of {name!r} is {colour}, not three integers from 0 to 255")
