"""What stands in a scene, each thing as parts around the point where it touches the ground.

A function takes the place (y, x) of that point and the thing's height, in eighths of a pixel. Colours are drawn
anew for each, mostly but not always from what is usual for the class, so that the classes share them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from fcn_repro.scenes import textures
from fcn_repro.scenes.canvas import Colour, Part
from fcn_repro.scenes.chance import Chance
from fcn_repro.scenes.outlines import UNIT, Bar, Disc, Outline, Polygon, Ring, rectangle

Parts = tuple[Part, ...]
Thing = Callable[[Chance, int, int, int], Parts]

TEXTURES = (textures.plain, textures.fade, textures.stripes, textures.checks, textures.grain)


def any_colour(chance: Chance) -> Colour:
    """Of any kind."""
    return chance.between(20, 240), chance.between(20, 240), chance.between(20, 240)


def grey(chance: Chance) -> Colour:
    """Nearly grey."""
    value = chance.between(50, 200)
    return tuple(value + chance.between(-18, 18) for _ in range(3))  # type: ignore[return-value]


def leafy(chance: Chance) -> Colour:
    """Green in summer, yellow or brown in autumn; every fifth of any kind."""
    if chance.happens(20):
        return any_colour(chance)
    return chance.between(30, 160), chance.between(70, 180), chance.between(15, 80)


def near(colour: Colour, step: int) -> Colour:
    """A colour a little lighter, or darker for a negative step."""
    red, green, blue = (min(255, max(0, value + step)) for value in colour)
    return red, green, blue


def flat(outline: Outline, colour: Colour) -> Part:
    """A part of one colour."""
    return Part(outline, _PLAIN, (colour, colour))


_PLAIN = textures.plain(Chance((0, 0)))


def building(chance: Chance, y: int, x: int, height: int) -> Parts:
    """A facade with windows; some have a gable."""
    half = height * chance.between(35, 70) // 100
    wall = chance.pick((grey, any_colour))(chance)
    pane = near(wall, chance.pick((-90, -60, 60, 90)))
    front = Part(rectangle(y - height, x - half, y, x + half), textures.windows(chance), (wall, pane))
    if chance.happens(50):
        return (front,)
    eaves, ridge = y - height, y - height * chance.between(115, 140) // 100
    roof = Polygon(((eaves, x - half), (ridge, x), (eaves, x + half)))
    return front, Part(roof, textures.stripes(chance), (near(wall, -50), near(wall, -30)))


def tree(chance: Chance, y: int, x: int, height: int) -> Parts:
    """A trunk and a crown of several blobs."""
    colour, half = leafy(chance), height * chance.between(3, 7) // 100 + UNIT // 2
    colours, texture = (near(colour, -40), near(colour, 40)), textures.blotches(chance)
    trunk = Part(
        rectangle(y - height * 60 // 100, x - half, y, x + half), textures.grain(chance), (grey(chance),) * 2
    )
    crown = []
    for _ in range(chance.between(3, 6)):
        r = height * chance.between(16, 26) // 100
        down, right = chance.between(-22, 22), chance.between(-18, 18)
        middle = y - height * (68 + down * 45 // 100) // 100, x + height * right // 100
        crown.append(Part(Disc(*middle, r, r * chance.between(90, 130) // 100), texture, colours))
    return trunk, *crown


def car(chance: Chance, y: int, x: int, height: int) -> Parts:
    """A body, a cabin with windows, two wheels."""
    half = height * chance.between(95, 125) // 100
    r = height * chance.between(20, 25) // 100
    waist, roof, sill = y - height * 60 // 100, y - height, y - r
    front, back = x - half * chance.between(30, 75) // 100, x + half * chance.between(40, 90) // 100
    colour, glass = any_colour(chance), near(grey(chance), chance.pick((-60, 60)))
    body = rectangle(waist, x - half, sill, x + half)
    slope = height * 25 // 100
    cabin = Polygon(((roof, front), (roof, back), (waist, back + slope // 2), (waist, front - slope)))
    pane, edge, middle = height // 10, UNIT, (front + back) // 2
    panes = [
        Polygon(
            (
                (roof + pane, front),
                (roof + pane, middle - edge),
                (waist, middle - edge),
                (waist, front - slope // 2),
            )
        ),
        rectangle(roof + pane, middle + edge, waist, back - edge),
    ]
    wheels = [(y - r, x - half * 60 // 100), (y - r, x + half * 60 // 100)]
    dark = near(grey(chance), -100)
    return (
        Part(cabin, _PLAIN, (colour, colour)),
        *(flat(outline, glass) for outline in panes),
        Part(
            body,
            chance.pick((textures.plain, textures.fade, textures.stripes))(chance),
            (colour, near(colour, -40)),
        ),
        *(flat(Disc(*wheel, r, r), dark) for wheel in wheels),
        *(flat(Disc(*wheel, r * 45 // 100, r * 45 // 100), near(dark, 130)) for wheel in wheels),
    )


def person(chance: Chance, y: int, x: int, height: int) -> Parts:
    """A head, a trunk, two arms and two legs, mid-stride."""
    skin = chance.pick(((225, 180, 150), (190, 135, 100), (120, 80, 55), (80, 55, 40)))
    shirt, trousers = any_colour(chance), any_colour(chance)
    limb = max(height * 9 // 100, 2 * UNIT)
    neck, hip, half = y - height * 80 // 100, y - height * 45 // 100, height * 11 // 100
    r = height * 9 // 100
    stride, swing = height * chance.between(4, 16) // 100, height * chance.between(8, 24) // 100
    hand = neck + height * 32 // 100
    trunk = Polygon(
        ((neck, x - half), (neck, x + half), (hip, x + half * 80 // 100), (hip, x - half * 80 // 100))
    )
    return (
        flat(Bar((hip, x - half // 2), (y, x - stride), limb), trousers),
        flat(Bar((hip, x + half // 2), (y, x + stride), limb), trousers),
        flat(Bar((neck + limb // 2, x - half), (hand, x - swing), limb * 80 // 100), shirt),
        flat(Bar((neck + limb // 2, x + half), (hand, x + swing), limb * 80 // 100), shirt),
        Part(trunk, chance.pick(TEXTURES)(chance), (shirt, near(shirt, 60))),
        flat(Disc(y - height + r, x, r * 110 // 100, r), skin),
    )


def bicycle(chance: Chance, y: int, x: int, height: int) -> Parts:
    """Two wheels of thin lines, and a frame."""
    colour, tyre = any_colour(chance), near(grey(chance), chance.pick((-90, 60)))
    r, line = height * 34 // 100, max(height * 9 // 100, 2 * UNIT)
    hub, left, right = y - r, x - height * 50 // 100, x + height * 50 // 100
    crank = hub, x - height * 5 // 100
    saddle, head = (
        (y - height * 85 // 100, x - height * 15 // 100),
        (y - height * 80 // 100, x + height * 32 // 100),
    )
    frame = [
        ((hub, left), crank),
        (crank, saddle),
        (crank, head),
        (saddle, head),
        ((hub, left), saddle),
        ((hub, right), head),
    ]
    bar = (y - height, head[1] - height * 10 // 100), (y - height, head[1] + height * 6 // 100)
    return (
        flat(Ring(hub, left, r, line), tyre),
        flat(Ring(hub, right, r, line), tyre),
        *(flat(Bar(a, b, line * 85 // 100), colour) for a, b in frame),
        flat(Bar(head, (y - height, head[1]), line), tyre),
        flat(Bar(*bar, line), tyre),
        flat(rectangle(saddle[0] - line, saddle[1] - line * 2, saddle[0], saddle[1] + line * 2), tyre),
    )


def pole(chance: Chance, y: int, x: int, height: int) -> Parts:
    """Thin and tall; some carry a lamp."""
    half, lean = max(height * 3 // 100, UNIT) + chance.below(UNIT), height * chance.between(-3, 3) // 100
    colour = chance.pick((grey, grey, any_colour))(chance)
    top = y - height, x + lean
    post = Part(Bar((y, x), top, 2 * half), chance.pick(TEXTURES)(chance), (colour, near(colour, 60)))
    if chance.happens(50):
        return (post,)
    reach = height * chance.pick((-18, 18)) // 100
    lamp = top[0] + half, top[1] + reach
    return (
        post,
        flat(Bar((top[0] + half, top[1]), lamp, 2 * half), colour),
        flat(Disc(*lamp, half * 2, half * 3), near(colour, 90)),
    )


def fence(chance: Chance, y: int, x: int, height: int) -> Parts:
    """Pickets and two rails; some are slanted, some cross."""
    colour = chance.pick((grey, any_colour))(chance)
    line, gap = max(height * 14 // 100, 2 * UNIT), max(height * chance.between(35, 50) // 100, 6 * UNIT)
    count, slant = chance.between(5, 9), gap * chance.pick((0, 0, 60, -60)) // 100
    left = x - gap * (count - 1) // 2
    feet = [left + gap * i for i in range(count)]
    rails = [y - height * 25 // 100, y - height * 75 // 100]
    return (
        *(
            flat(Bar((rail, left - gap // 2), (rail, feet[-1] + gap // 2), line), near(colour, -25))
            for rail in rails
        ),
        *(flat(Bar((y, foot - slant // 2), (y - height, foot + slant // 2), line), colour) for foot in feet),
    )


def sign(chance: Chance, y: int, x: int, height: int) -> Parts:
    """A triangle, a disc, a diamond or a square with a rim, on a thin post."""
    r, half = height * chance.between(24, 30) // 100, max(height * 3 // 100, UNIT)
    rim, face, middle = any_colour(chance), any_colour(chance), y - height + r
    plate = chance.pick((_triangle, _disc, _diamond, _square))
    return (
        flat(rectangle(middle, x - half, y, x + half), grey(chance)),
        flat(plate(middle, x, r), rim),
        flat(plate(middle, x, r * 60 // 100), face),
    )


def _triangle(y: int, x: int, r: int) -> Outline:
    return Polygon(((y - r, x), (y + r * 70 // 100, x + r), (y + r * 70 // 100, x - r)))


def _disc(y: int, x: int, r: int) -> Outline:
    return Disc(y, x, r, r)


def _diamond(y: int, x: int, r: int) -> Outline:
    return Polygon(((y - r, x), (y, x + r), (y + r, x), (y, x - r)))


def _square(y: int, x: int, r: int) -> Outline:
    return rectangle(y - r * 85 // 100, x - r * 85 // 100, y + r * 85 // 100, x + r * 85 // 100)


def ball(chance: Chance, y: int, x: int, height: int) -> Parts:
    """A disc of two colours with a light spot."""
    r, colour = height // 2, any_colour(chance)
    texture = chance.pick((textures.stripes, textures.checks, textures.dots))(chance)
    return (
        Part(Disc(y - r, x, r, r), texture, (colour, any_colour(chance))),
        flat(Disc(y - r * 140 // 100, x - r * 40 // 100, r // 4 + 1, r // 4 + 1), near(colour, 110)),
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
