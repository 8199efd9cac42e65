"""One thing that roughly fills the frame: training images for a classifier, before it becomes an FCN."""

from __future__ import annotations

from collections.abc import Mapping

from fcn_repro.data.scenes.canvas import Canvas
from fcn_repro.data.scenes.chance import Chance
from fcn_repro.data.scenes.outlines import UNIT
from fcn_repro.data.scenes.street import BACKGROUND, CLASSES, ROAD, land, road
from fcn_repro.data.scenes.things import THINGS

HEIGHTS: Mapping[str, tuple[int, int]] = {
    "building": (36, 56),
    "tree": (46, 58),
    "car": (22, 32),
    "person": (42, 56),
    "bicycle": (32, 44),
    "pole": (48, 64),
    "fence": (18, 28),
    "sign": (40, 54),
    "ball": (24, 50),
}
"""How tall things are, in pixels."""


def portrait(chance: Chance, label: int) -> Canvas:
    """A picture of 56 to 64 by 68 to 76 pixels (H, W) of one class, which is the label of every pixel.

    Road fills everything in front of a horizon, and background is a scene with nothing in it.
    """
    height, width = chance.between(56, 64), chance.between(68, 76)
    canvas = Canvas(height, width)
    horizon = height * chance.between(10, 70) // 100 if label != ROAD else height * chance.below(25) // 100
    land(canvas, chance, horizon)
    if label == ROAD:
        road(canvas, chance, horizon)
    elif label != BACKGROUND:
        name = CLASSES[label]
        tall = UNIT * chance.between(*HEIGHTS[name])
        foot = (UNIT * height + tall) // 2 + UNIT * chance.between(-3, 3)
        x = UNIT * (width // 2 + chance.between(-8, 8))
        canvas.add(THINGS[name](chance, foot, x, tall), label, border=False)
    canvas.label[:] = label
    return canvas
