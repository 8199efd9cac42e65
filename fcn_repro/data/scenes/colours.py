"""Colours, RGB, drawn from those usual for a material."""

from __future__ import annotations

from fcn_repro.data.scenes.chance import Chance

Colour = tuple[int, int, int]

ODD_PERCENT = 20
"""How often leaves and skies have any colour at all: colour must not give the class away."""

SKINS = ((225, 180, 150), (190, 135, 100), (120, 80, 55), (80, 55, 40))


def any_colour(chance: Chance) -> Colour:
    """Of any kind."""
    return chance.between(20, 240), chance.between(20, 240), chance.between(20, 240)


def grey(chance: Chance) -> Colour:
    """Stone, metal, bark: nearly grey."""
    value = chance.between(50, 200)
    return value + chance.between(-18, 18), value + chance.between(-18, 18), value + chance.between(-18, 18)


def leafy(chance: Chance) -> Colour:
    """Green as in summer, yellow or brown as in autumn."""
    if chance.happens(ODD_PERCENT):
        return any_colour(chance)
    return chance.between(30, 160), chance.between(70, 180), chance.between(15, 80)


def airy(chance: Chance) -> Colour:
    """Blue, grey or red, as the sky is."""
    if chance.happens(ODD_PERCENT):
        return any_colour(chance)
    return chance.between(90, 220), chance.between(120, 220), chance.between(150, 250)


def skin(chance: Chance) -> Colour:
    """A person's."""
    return chance.pick(SKINS)


def near(colour: Colour, step: int) -> Colour:
    """A colour lighter by a step, or darker if the step is negative."""
    red, green, blue = (min(255, max(0, value + step)) for value in colour)
    return red, green, blue
