"""A street: sky and lawn, a road, buildings, and things in front of one another."""

from __future__ import annotations

from collections.abc import Mapping

from fcn_repro.scenes import textures
from fcn_repro.scenes.canvas import Canvas, Colour, Part
from fcn_repro.scenes.chance import Chance
from fcn_repro.scenes.outlines import UNIT, Disc, Polygon, rectangle
from fcn_repro.scenes.things import THINGS, any_colour, flat, grey, leafy, near

CLASSES = ("background", "road", *THINGS)
BACKGROUND, ROAD, BUILDING = range(3)

HEIGHTS: Mapping[str, tuple[int, int]] = {
    "tree": (42, 60),
    "car": (18, 26),
    "person": (30, 42),
    "bicycle": (20, 28),
    "pole": (46, 66),
    "fence": (15, 22),
    "sign": (28, 42),
    "ball": (13, 22),
}
"""How high things are half-way between the horizon and the viewer, in pixels."""

OFTEN = (
    *("tree", "car", "car", "person", "person", "person", "bicycle", "bicycle", "pole", "pole"),
    *("fence", "fence", "sign", "sign", "ball", "ball", "ball"),
)
"""What things are drawn from: small and thin ones more often than large ones."""


def street(chance: Chance) -> Canvas:
    """A scene of 88 to 104 by 120 to 136 pixels (H, W) with 3 to 7 things besides its buildings."""
    height, width = chance.between(88, 104), chance.between(120, 136)
    canvas = Canvas(height, width)
    horizon = height * chance.between(32, 48) // 100
    land(canvas, chance, horizon)
    for _ in range(chance.between(1, 4)):
        foot = (horizon + chance.between(1, 6)) * UNIT
        parts = THINGS["building"](chance, foot, chance.below(width) * UNIT, chance.between(28, 52) * UNIT)
        canvas.add(parts, BUILDING, border=False)
    road(canvas, chance, horizon)
    feet = sorted(chance.between(horizon + 6, height + 3) for _ in range(chance.between(3, 7)))
    for foot in feet:
        name = chance.pick(OFTEN)
        percent = 65 + 70 * (foot - horizon) // (height - horizon)
        tall = chance.between(*HEIGHTS[name]) * UNIT * percent // 100
        x = chance.between(-4, width + 4) * UNIT
        canvas.add(THINGS[name](chance, foot * UNIT, x, tall), CLASSES.index(name), border=True)
    return canvas


def land(canvas: Canvas, chance: Chance, horizon: int) -> None:
    """Sky with clouds, hills and a lawn: the background."""
    height, width = (UNIT * side for side in canvas.label.shape)
    ground = horizon * UNIT
    top, low = sky(chance), sky(chance)
    parts = [Part(rectangle(0, 0, ground, width), _DOWN, (top, low))]
    for _ in range(chance.below(4)):
        r = UNIT * chance.between(4, 9)
        cloud = Disc(chance.below(ground), chance.below(width), r, r * chance.between(2, 4))
        parts.append(Part(cloud, textures.blotches(chance), (near(low, 15), near(low, 60))))
    for _ in range(chance.below(3)):
        hill = Disc(ground, chance.below(width), UNIT * chance.between(6, 18), UNIT * chance.between(25, 60))
        parts.append(Part(hill, textures.fade(chance), (leafy(chance), leafy(chance))))
    lawn = leafy(chance)
    soft = chance.pick((textures.blotches, textures.grain))(chance)
    parts.append(Part(rectangle(ground, 0, height, width), soft, (lawn, near(lawn, 35))))
    canvas.add(parts, BACKGROUND, border=False)


def road(canvas: Canvas, chance: Chance, horizon: int) -> None:
    """Asphalt with a broken line: across the scene, or towards its horizon."""
    colour, line = grey(chance), near(any_colour(chance), 60)
    height, width = (UNIT * side for side in canvas.label.shape)
    ground = horizon * UNIT
    grain = textures.grain(chance)
    if chance.happens(50):
        top = ground + (height - ground) * chance.between(15, 55) // 100
        bottom = top + (height - ground) * chance.between(40, 65) // 100
        outline = rectangle(top, 0, bottom, width)
        middle, step = (top + bottom) // 2, chance.between(12, 20) * UNIT
        dashes = [rectangle(middle, x, middle + 2 * UNIT, x + step // 2) for x in range(0, width, step)]
    else:
        far, near_x = chance.below(width), chance.below(width)
        half = width * chance.between(22, 40) // 100
        outline = Polygon(
            (
                (ground, far - 6 * UNIT),
                (ground, far + 6 * UNIT),
                (height, near_x + half),
                (height, near_x - half),
            )
        )
        dashes = []
        for percent in range(10, 100, 18):
            y0, y1 = (ground + (height - ground) * p // 100 for p in (percent, percent + 9))
            x0, x1 = (far + (near_x - far) * p // 100 for p in (percent, percent + 9))
            w = UNIT // 2 + UNIT * percent // 60
            dashes.append(Polygon(((y0, x0 - w), (y0, x0 + w), (y1, x1 + w), (y1, x1 - w))))
    parts = [Part(outline, grain, (colour, near(colour, 30))), *(flat(dash, line) for dash in dashes)]
    canvas.add(parts, ROAD, border=False)


def sky(chance: Chance) -> Colour:
    """Blue, grey or red; every fifth of any kind."""
    if chance.happens(20):
        return any_colour(chance)
    return chance.between(90, 220), chance.between(120, 220), chance.between(150, 250)


_DOWN = textures.fade(Chance((0, 3)))
