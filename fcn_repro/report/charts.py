"""Per-class IU and the confusion matrix as SVG, in the page's colours."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np

from fcn_repro.report.html import Markup, element, joined
from fcn_repro.scoring.metrics import Counts
from fcn_repro.scoring.result import HeadScores

LABELLED_UP_TO = 60
"""The most classes whose names are shown next to the confusion matrix."""

_ROW, _BAR_WIDTH = 20, 240


def class_bars(head: HeadScores) -> Markup:
    """A bar for the IU of each class, in percent, and a line at the mean."""
    left = _room(head.classes) + 24
    height, mean = _ROW * len(head.classes) + 34, head.scores.mean_iu
    rows = zip(head.classes, head.colours, head.per_class_iu, strict=True)
    return element(
        "svg",
        [_percent_line(tick, left + _BAR_WIDTH * tick / 100, height) for tick in range(0, 101, 25)],
        _mean_line(mean, left + _BAR_WIDTH * mean, height) if not math.isnan(mean) else "",
        [_bar(*row, left=left, top=24 + _ROW * index) for index, row in enumerate(rows)],
        **sized(left + _BAR_WIDTH + 40, height),
        role="img",
        aria_label=f"IU of each of {len(head.classes)} classes",
        class_="bars",
    )


def confusion_picture(head: HeadScores) -> Markup:
    """A square for each pair: its share of the labelled class's pixels, darker for more (square root).

    A row is what the pixels are, a column what they were predicted as. Shares below a thousandth are
    blank, or below a hundredth if there are too many classes to show their names.
    """
    classes, named = head.classes, len(head.classes) <= LABELLED_UP_TO
    size = max(4, min(20, 900 // len(classes)))
    margin = _room(classes) if named else 2
    side, end = size * len(classes), margin + size * len(classes)
    squares = _squares(classes, head.confusion.counts, size, threshold=0.001 if named else 0.01)
    return element(
        "svg",
        element("rect", width=side, height=side, x=margin, y=margin, class_="frame"),
        element("g", squares, transform=f"translate({margin} {margin})"),
        _names(classes, size, margin) if named else "",
        **sized(end + 2, end + 2),
        role="img",
        aria_label=f"Confusion matrix of {len(classes)} classes",
        class_="confusion",
    )


def _bar(name: str, colour: str, iu: float, *, left: int, top: int) -> Markup:
    length = 0.0 if math.isnan(iu) else _BAR_WIDTH * iu
    value = "not in this set" if math.isnan(iu) else f"{100 * iu:.1f}"
    style = "axis" if math.isnan(iu) else None
    return joined(
        element("text", name, x=left - 22, y=top + 13, text_anchor="end"),
        swatch(colour, x=left - 16, y=top + 4, size=11),
        element("rect", x=left, y=top + 3, width=_short(length), height=13, class_="bar"),
        element("text", value, x=_short(left + length + 6), y=top + 13, class_=style),
    )


def sized(width: float, height: float) -> dict[str, str]:
    """A picture as wide as its place, but little wider than drawn, so that its text is as large as others."""
    return {"viewBox": f"0 0 {width} {height}", "style": f"max-width: {round(1.2 * width)}px"}


def swatch(colour: str, *, x: float, y: float, size: int) -> Markup:
    """A square of a class's colour."""
    return element("rect", x=x, y=y, width=size, height=size, rx=2, fill=colour, class_="swatch")


def _percent_line(tick: int, x: float, height: int) -> Markup:
    return joined(
        element("line", x1=_short(x), x2=_short(x), y1=18, y2=height - 8, class_="grid"),
        element("text", str(tick), x=_short(x), y=12, text_anchor="middle", class_="axis"),
    )


def _mean_line(mean: float, x: float, height: int) -> Markup:
    title = element("title", f"mean IU {100 * mean:.2f}")
    return element("line", title, x1=_short(x), x2=_short(x), y1=18, y2=height - 8, class_="mean")


def _squares(classes: Sequence[str], counts: Counts, size: int, threshold: float) -> Iterator[Markup]:
    for i, row in enumerate(counts):
        total = int(row.sum())
        for j in np.flatnonzero(row >= max(1, threshold * total)).tolist():
            share = int(row[j]) / total
            said = f"{classes[i]} predicted as {classes[j]}: {100 * share:.1f} %, {int(row[j]):,} pixels"
            yield element(
                "rect",
                element("title", said),
                x=j * size,
                y=i * size,
                width=size,
                height=size,
                class_="hit" if i == j else "miss",
                fill_opacity=f"{math.sqrt(share):.2f}",
            )


def _names(classes: Sequence[str], size: int, margin: int) -> Iterator[Markup]:
    """Next to the rows, and above the columns."""
    for index, name in enumerate(classes):
        at = _short(margin + size * (index + 0.5) + 4)
        yield element("text", name, x=margin - 6, y=at, text_anchor="end")
        yield element("text", name, transform=f"translate({at} {margin - 6}) rotate(-90)")


def _room(names: Sequence[str]) -> int:
    """Pixels that the longest name takes, at 12 pixels a line."""
    return 7 * max(map(len, names)) + 14


def _short(number: float) -> str:
    return f"{number:.1f}".removesuffix(".0")
