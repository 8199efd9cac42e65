"""A street: sky and lawn, a road, buildings, and things that stand in front of one another."""

from __future__ import annotations

from collections.abc import Mapping

from fcn_repro.data.scenes import textures
from fcn_repro.data.scenes.canvas import Canvas, Part
from fcn_repro.data.scenes.chance import Chance
from fcn_repro.data.scenes.colours import airy, any_colour, grey, leafy, near
from fcn_repro.data.scenes.outlines import UNIT, Disc, Outline, Polygon, rectangle
from fcn_repro.data.scenes.things import THINGS, Parts, flat

CLASSES = ("background", "road", *THINGS)
BACKGROUND, ROAD, BUILDING = range(3)

HEIGHTS: Mapping[str, tuple[int, int]] = {
    "building": (42, 76),
    "tree": (42, 60),
    "car": (18, 26),
    "person": (30, 42),
    "bicycle": (20, 28),
    "pole": (46, 66),
    "fence": (16, 23),
    "sign": (28, 42),
    "ball": (13, 22),
}
"""How tall things are halfway between the horizon and the viewer, in pixels."""

OFTEN = (
    *("tree", "tree", "car", "car", "person", "person", "person", "bicycle", "bicycle"),
    *("pole", "pole", "fence", "fence", "sign", "sign", "ball", "ball", "ball"),
)
"""What things are picked from: small ones more often than large ones."""


def street(chance: Chance) -> Canvas:
    """A scene of 88 to 104 by 120 to 136 pixels (H, W) with one to four buildings and 3 to 7 things."""
    height, width = chance.between(88, 104), chance.between(120, 136)
    canvas = Canvas(height, width)
    horizon = height * chance.between(32, 48) // 100
    land(canvas, chance, horizon)
    for _ in range(chance.between(1, 4)):
        _stand("building", canvas, chance, horizon, horizon + chance.between(1, 6))
    road(canvas, chance, horizon)
    for foot in sorted(chance.between(horizon + 6, height + 3) for _ in range(chance.between(3, 7))):
        _stand(chance.pick(OFTEN), canvas, chance, horizon, foot)
    return canvas


def land(canvas: Canvas, chance: Chance, horizon: int) -> None:
    """Sky with clouds, hills and a lawn: the background. The horizon is a row of pixels."""
    height, width = (UNIT * side for side in canvas.label.shape)
    ground, low, lawn = UNIT * horizon, airy(chance), leafy(chance)
    parts = [Part(rectangle(0, 0, ground, width), textures.DOWNWARDS, (airy(chance), low))]
    for _ in range(chance.below(4)):
        r = UNIT * chance.between(4, 9)
        cloud = Disc(chance.below(ground + 1), chance.below(width), r, r * chance.between(2, 4))
        parts.append(Part(cloud, textures.blotches(chance), (near(low, 15), near(low, 60))))
    for _ in range(chance.below(3)):
        hill = Disc(ground, chance.below(width), UNIT * chance.between(6, 18), UNIT * chance.between(25, 60))
        parts.append(Part(hill, textures.fade(chance), (leafy(chance), leafy(chance))))
    grass = chance.pick((textures.blotches, textures.grain))(chance)
    parts.append(Part(rectangle(ground, 0, height, width), grass, (lawn, near(lawn, 35))))
    canvas.add(parts, BACKGROUND, border=False)


def road(canvas: Canvas, chance: Chance, horizon: int) -> None:
    """Asphalt with a broken line: across the scene, or towards the horizon."""
    asphalt, line = grey(chance), near(any_colour(chance), 60)
    height, width = (UNIT * side for side in canvas.label.shape)
    layout = chance.pick((_across, _ahead))
    outline, dashes = layout(chance, UNIT * horizon, height, width)
    surface = Part(outline, textures.grain(chance), (asphalt, near(asphalt, 30)))
    canvas.add((surface, *(flat(dash, line) for dash in dashes)), ROAD, border=False)


def _across(chance: Chance, ground: int, height: int, width: int) -> tuple[Outline, list[Outline]]:
    top = ground + (height - ground) * chance.between(15, 55) // 100
    bottom = top + (height - ground) * chance.between(40, 65) // 100
    middle, step = (top + bottom) // 2, UNIT * chance.between(12, 20)
    dashes = [rectangle(middle, x, middle + 2 * UNIT, x + step // 2) for x in range(0, width, step)]
    return rectangle(top, 0, bottom, width), [*dashes]


def _ahead(chance: Chance, ground: int, height: int, width: int) -> tuple[Outline, list[Outline]]:
    far, near_by, half = chance.below(width), chance.below(width), width * chance.between(22, 40) // 100

    def strip(begin: int, end: int, narrow: int, wide: int) -> Polygon:
        """The road's middle between two percentages of its length, with these half-widths at either end."""
        y0, y1 = (ground + (height - ground) * percent // 100 for percent in (begin, end))
        x0, x1 = (far + (near_by - far) * percent // 100 for percent in (begin, end))
        return Polygon(((y0, x0 - narrow), (y0, x0 + narrow), (y1, x1 + wide), (y1, x1 - wide)))

    widths = [UNIT // 2 + UNIT * percent // 60 for percent in range(10, 100, 18)]
    dashes = [strip(at, at + 9, wide, wide) for at, wide in zip(range(10, 100, 18), widths, strict=True)]
    return strip(0, 100, 6 * UNIT, half), [*dashes]


def _stand(name: str, canvas: Canvas, chance: Chance, horizon: int, foot: int) -> None:
    """Puts a thing on a row of pixels, larger when nearer, at any column."""
    height, width = canvas.label.shape
    percent = 65 + 70 * (foot - horizon) // (height - horizon)
    tall = UNIT * chance.between(*HEIGHTS[name]) * percent // 100
    x = UNIT * chance.between(-4, width + 4)
    parts: Parts = THINGS[name](chance, UNIT * foot, x, tall)
    canvas.add(parts, CLASSES.index(name), border=name != "building")
