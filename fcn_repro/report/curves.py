"""A curve by iteration as SVG, with round numbers on its axes."""

from __future__ import annotations

import math
from collections.abc import Sequence

from fcn_repro.report.charts import sized
from fcn_repro.report.html import Markup, element, joined

WIDTH, HEIGHT, LEFT, BELOW = 480, 200, 64, 24
POINTS = 400
"""A longer curve is drawn as its means over this many pieces."""
MARKED = 40
"""A curve of at most so many points has a dot at each: one alone has no line."""
_STEPS = (1, 2, 2.5, 5, 10)

Points = Sequence[tuple[float, float]]


def curve(points: Points, title: str, *, until: float = 0) -> Markup:
    """A line through (iteration, value), with its axes; values that are not finite are left out.

    The axis of iterations goes from 0 to the last one, or to `until` if that is later.
    """
    seen = _thinned([point for point in points if math.isfinite(point[1])])
    if not seen:
        return element("figcaption", f"{title}: nothing yet")
    xs, ys = zip(*seen, strict=True)
    right, levels = max(until, *xs), ticks(min(ys), max(ys))
    places = [(_x(x, right), _y(y, levels)) for x, y in seen]
    drawn = element(
        "svg",
        [_level(value, _y(value, levels)) for value in levels],
        [_iteration(x, _x(x, right)) for x in ticks(0, right) if x <= right and x == int(x)],
        element("polyline", points=" ".join(f"{x:.1f},{y:.1f}" for x, y in places), class_="curve"),
        [_dot(x, y) for x, y in places] if len(places) <= MARKED else "",
        **sized(WIDTH + 16, HEIGHT + BELOW),
        role="img",
        aria_label=title,
        class_="bars",
    )
    return joined(drawn, element("figcaption", f"{title}, by iteration"))


def ticks(low: float, high: float) -> list[float]:
    """About four round numbers, evenly spaced: the first is at most `low`, the last at least `high`."""
    rough = ((high - low) or abs(high) or 1) / 4
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(step * power for step in _STEPS if step * power >= rough * (1 - 1e-9))
    first = math.floor(low / step)
    last = max(math.ceil(high / step), first + 1)
    return [step * number for number in range(first, last + 1)]


def _thinned(points: Points) -> Points:
    size = max(1, math.ceil(len(points) / POINTS))
    pieces = [points[at : at + size] for at in range(0, len(points), size)]
    return [(piece[-1][0], sum(y for _, y in piece) / len(piece)) for piece in pieces]


def _x(iteration: float, right: float) -> float:
    return LEFT + (WIDTH - LEFT) * iteration / (right or 1)


def _y(value: float, levels: Sequence[float]) -> float:
    return 8 + (HEIGHT - 16) * (levels[-1] - value) / (levels[-1] - levels[0])


def _dot(x: float, y: float) -> Markup:
    return element("circle", cx=f"{x:.1f}", cy=f"{y:.1f}", r=3, class_="dot")


def _level(value: float, y: float) -> Markup:
    return joined(
        element("line", x1=LEFT, x2=WIDTH, y1=f"{y:.1f}", y2=f"{y:.1f}", class_="grid"),
        element("text", f"{value:.4g}", x=LEFT - 8, y=f"{y + 4:.1f}", text_anchor="end", class_="axis"),
    )


def _iteration(iteration: float, x: float) -> Markup:
    return element(
        "text", f"{iteration:.0f}", x=f"{x:.1f}", y=HEIGHT + 16, text_anchor="middle", class_="axis"
    )
