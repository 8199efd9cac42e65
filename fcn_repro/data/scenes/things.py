"""What stands in a scene: each thing as parts, built up from the point where it touches the ground.

A function takes that point (y, x) and the thing's height, in eighths of a pixel. Colours are drawn anew each
time, and only leaves and metal have usual ones: classes share them, so only shape and texture can tell.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from fcn_repro.data.scenes import textures
from fcn_repro.data.scenes.canvas import Part
from fcn_repro.data.scenes.chance import Chance
from fcn_repro.data.scenes.colours import Colour, any_colour, grey, leafy, near, skin
from fcn_repro.data.scenes.outlines import UNIT, Bar, Disc, Outline, Polygon, Ring, rectangle

Parts = tuple[Part, ...]
Thing = Callable[[Chance, int, int, int], Parts]

THINNEST = 2 * UNIT
"""The width of the thinnest lines: two pixels."""

CLOTHS = (textures.plain, textures.fade, textures.stripes, textures.checks, textures.grain)


def flat(outline: Outline, colour: Colour) -> Part:
    """A part of one colour."""
    return Part(outline, textures.PLAIN, (colour, colour))


def building(chance: Chance, y: int, x: int, height: int) -> Parts:
    """A facade with windows; half of them have a gable."""
    of = _percent_of(height)
    half, wall = of(chance.between(35, 70)), chance.pick((grey, any_colour))(chance)
    pane = near(wall, chance.pick((-90, -60, 60, 90)))
    front = Part(rectangle(y - height, x - half, y, x + half), textures.windows(chance), (wall, pane))
    if chance.happens(50):
        return (front,)
    ridge = y - of(chance.between(115, 140)), x
    gable = Polygon(((y - height, x - half), ridge, (y - height, x + half)))
    return front, Part(gable, textures.stripes(chance), (near(wall, -50), near(wall, -30)))


def tree(chance: Chance, y: int, x: int, height: int) -> Parts:
    """A trunk and a crown of three to six blobs."""
    of = _percent_of(height)
    leaf, bark, half = leafy(chance), grey(chance), of(chance.between(3, 7)) + UNIT // 2
    texture, colours = textures.blotches(chance), (near(leaf, -40), near(leaf, 40))
    trunk = Part(rectangle(y - of(60), x - half, y, x + half), textures.grain(chance), (bark, near(bark, 30)))
    crown = []
    for _ in range(chance.between(3, 6)):
        middle = y - of(chance.between(58, 78)), x + of(chance.between(-18, 18))
        r = of(chance.between(16, 26))
        crown.append(Part(Disc(*middle, r, r * chance.between(90, 130) // 100), texture, colours))
    return trunk, *crown


def car(chance: Chance, y: int, x: int, height: int) -> Parts:
    """A body, a cabin with two windows, two wheels."""
    of = _percent_of(height)
    half, r = of(chance.between(95, 125)), of(chance.between(20, 25))
    roof, waist, sill = y - height, y - of(60), y - r
    front, back = x - half * chance.between(30, 75) // 100, x + half * chance.between(40, 90) // 100
    colour, glass = any_colour(chance), near(grey(chance), chance.pick((-60, 60)))
    paint = chance.pick((textures.plain, textures.fade, textures.stripes))(chance)
    cabin = Polygon(((roof, front), (roof, back), (waist, back + of(12)), (waist, front - of(25))))
    top, post = roof + of(10), (front + back) // 2
    windscreen = Polygon(((top, front), (top, post - UNIT), (waist, post - UNIT), (waist, front - of(12))))
    window = rectangle(top, post + UNIT, waist, back - UNIT)
    body = Part(rectangle(waist, x - half, sill, x + half), paint, (colour, near(colour, -40)))
    wheels = [(y - r, x - half * 60 // 100), (y - r, x + half * 60 // 100)]
    tyre = near(grey(chance), -100)
    return (
        flat(cabin, colour),
        *(flat(pane, glass) for pane in (windscreen, window)),
        body,
        *(flat(Disc(*hub, r, r), tyre) for hub in wheels),
        *(flat(Disc(*hub, r * 45 // 100, r * 45 // 100), near(tyre, 130)) for hub in wheels),
    )


def person(chance: Chance, y: int, x: int, height: int) -> Parts:
    """A head, a trunk, two arms and two legs, in mid-stride."""
    of = _percent_of(height)
    shirt, trousers, limb = any_colour(chance), any_colour(chance), max(of(9), THINNEST)
    neck, hip, hand = y - of(80), y - of(45), y - of(48)
    stride, swing = of(chance.between(4, 16)), of(chance.between(8, 24))
    trunk = Polygon(((neck, x - of(11)), (neck, x + of(11)), (hip, x + of(9)), (hip, x - of(9))))
    shoulder = neck + limb // 2
    return (
        flat(Bar((hip, x - of(5)), (y, x - stride), limb), trousers),
        flat(Bar((hip, x + of(5)), (y, x + stride), limb), trousers),
        flat(Bar((shoulder, x - of(11)), (hand, x - swing), limb * 80 // 100), shirt),
        flat(Bar((shoulder, x + of(11)), (hand, x + swing), limb * 80 // 100), shirt),
        Part(trunk, chance.pick(CLOTHS)(chance), (shirt, near(shirt, 60))),
        flat(Disc(y - of(91), x, of(9), of(9)), skin(chance)),
    )


def bicycle(chance: Chance, y: int, x: int, height: int) -> Parts:
    """Two wheels drawn with a thin line, and a frame of bars."""
    of = _percent_of(height)
    colour, tyre = any_colour(chance), near(grey(chance), chance.pick((-90, 60)))
    line, r = max(of(9), THINNEST), of(34)
    rear, front, crank = (y - r, x - of(50)), (y - r, x + of(50)), (y - r, x - of(5))
    saddle, head, stem = (y - of(85), x - of(15)), (y - of(80), x + of(32)), (y - height, x + of(32))
    frame = ((rear, crank), (crank, saddle), (crank, head), (saddle, head), (rear, saddle), (front, head))
    return (
        *(flat(Ring(*hub, r, line), tyre) for hub in (rear, front)),
        *(flat(Bar(a, b, line * 85 // 100), colour) for a, b in frame),
        flat(Bar(head, stem, line), tyre),
        flat(Bar((y - height, x + of(22)), (y - height, x + of(38)), line), tyre),
        flat(Bar((y - of(88), x - of(30)), (y - of(88), x), line), tyre),
    )


def pole(chance: Chance, y: int, x: int, height: int) -> Parts:
    """Tall, two to five pixels wide, not quite upright; half of them carry a lamp."""
    of = _percent_of(height)
    width, lean = max(of(6), THINNEST) + chance.below(2 * UNIT), of(chance.between(-3, 3))
    colour, top = chance.pick((grey, grey, any_colour))(chance), (y - height, x + lean)
    post = Part(Bar((y, x), top, width), chance.pick(CLOTHS)(chance), (colour, near(colour, 60)))
    if chance.happens(50):
        return (post,)
    arm, lamp = (y - of(97), x + lean), (y - of(97), x + lean + of(chance.pick((-18, 18))))
    return (
        post,
        flat(Bar(arm, lamp, width), colour),
        flat(Disc(*lamp, width, width * 3 // 2), near(colour, 90)),
    )


def fence(chance: Chance, y: int, x: int, height: int) -> Parts:
    """Two rails and four to eight pickets, upright or slanted."""
    of = _percent_of(height)
    colour, line = chance.pick((grey, any_colour))(chance), max(of(15), THINNEST)
    gap, count = of(chance.between(45, 70)), chance.between(4, 8)
    slant, left = of(chance.pick((0, 0, 20, -20))), x - gap * (count - 1) // 2
    start, end = left - gap // 2, left + gap * count - gap // 2
    pickets = [left + gap * number for number in range(count)]
    return (
        *(flat(Bar((y - of(up), start), (y - of(up), end), line), near(colour, -25)) for up in (22, 78)),
        *(flat(Bar((y, foot - slant), (y - height, foot + slant), line), colour) for foot in pickets),
    )


def sign(chance: Chance, y: int, x: int, height: int) -> Parts:
    """A triangle, a disc, a diamond or a square with a rim, on a thin post."""
    of = _percent_of(height)
    r, half = of(chance.between(24, 30)), max(of(6), THINNEST) // 2
    middle, plate = y - height + r, chance.pick((_triangle, _disc, _diamond, _square))
    return (
        flat(rectangle(middle, x - half, y, x + half), grey(chance)),
        flat(plate(middle, x, r), any_colour(chance)),
        flat(plate(middle, x, r * 60 // 100), any_colour(chance)),
    )


def ball(chance: Chance, y: int, x: int, height: int) -> Parts:
    """A disc in two colours with a highlight."""
    r, colour = height // 2, any_colour(chance)
    cover = chance.pick((textures.stripes, textures.checks, textures.dots))(chance)
    return (
        Part(Disc(y - r, x, r, r), cover, (colour, any_colour(chance))),
        flat(Disc(y - r * 140 // 100, x - r * 40 // 100, r // 4, r // 4), near(colour, 110)),
    )


THINGS: Mapping[str, Thing] = {
    "building": building,
    "tree": tree,
    "car": car,
    "person": person,
    "bicycle": bicycle,
    "pole": pole,
    "fence": fence,
    "sign": sign,
    "ball": ball,
}
"""By class."""


def _percent_of(height: int) -> Callable[[int], int]:
    return lambda percent: height * percent // 100


def _triangle(y: int, x: int, r: int) -> Outline:
    base = y + r * 70 // 100
    return Polygon(((y - r, x), (base, x + r), (base, x - r)))


def _disc(y: int, x: int, r: int) -> Outline:
    return Disc(y, x, r, r)


def _diamond(y: int, x: int, r: int) -> Outline:
    return Polygon(((y - r, x), (y, x + r), (y + r, x), (y, x - r)))


def _square(y: int, x: int, r: int) -> Outline:
    half = r * 85 // 100
    return rectangle(y - half, x - half, y + half, x + half)
