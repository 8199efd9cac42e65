"""How a training went, as a page: the smoothed loss, the scores on the validation split, IU by class."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from fcn_repro.report.charts import class_bars
from fcn_repro.report.html import Markup, element, joined
from fcn_repro.report.page import document, scores_view
from fcn_repro.training.log import TRAIN, VAL, read_rows

if TYPE_CHECKING:
    from fcn_repro.scoring.result import Evaluation
    from fcn_repro.training.loop import Training

WIDTH, HEIGHT, LEFT, BELOW = 640, 220, 64, 24
POINTS = 400
"""A longer curve is drawn as its means over this many pieces."""

Points = Sequence[tuple[float, float]]


def training_page(training: Training) -> str:
    """A training's page, from its logs."""
    losses = read_rows(training.folder / "train.csv", TRAIN)
    scores = read_rows(training.folder / "val.csv", VAL)
    curves = [curve([(row["iteration"], row["smoothed_loss"]) for row in losses], "training loss, smoothed")]
    if scores:
        curves += [curve([(row["iteration"], row["mean_iu"]) for row in scores], "mean IU, %, validation")]
    return document(
        training.recipe.title,
        element("div", f"{training.name} · seed {training.recipe.seed}", class_="venue"),
        element("h1", training.recipe.title),
        element("p", training.recipe.note, class_="soft"),
        element("section", element("div", [element("figure", drawn) for drawn in curves], class_="charts")),
        _scored(training.evaluation) if training.evaluation else "",
    )


def _scored(final: Evaluation) -> list[Markup]:
    title = element("h2", f"{final.dataset} {final.split}")
    return [element("section", title, scores_view(head), class_bars(head)) for head in final.heads.values()]


def curve(points: Points, title: str) -> Markup:
    """A line through (iteration, value), with its axes; values that are not finite are left out."""
    seen = _thinned([point for point in points if math.isfinite(point[1])])
    if not seen:
        return element("figcaption", f"{title}: nothing yet")
    xs, ys = zip(*seen, strict=True)
    right, low, high = max(xs), min(ys), max(ys)
    span = (high - low) or 1.0
    path = " ".join(
        f"{LEFT + (WIDTH - LEFT) * x / right:.1f},{8 + (HEIGHT - 16) * (high - y) / span:.1f}"
        for x, y in seen
    )
    return joined(
        element(
            "svg",
            [_level(low + span * part / 4, 8 + (HEIGHT - 16) * (1 - part / 4)) for part in range(5)],
            [_mark(right * part / 4, LEFT + (WIDTH - LEFT) * part / 4) for part in range(5)],
            element("polyline", points=path, class_="curve"),
            viewBox=f"0 0 {WIDTH + 24} {HEIGHT + BELOW}",
            role="img",
            aria_label=title,
            class_="bars",
        ),
        element("figcaption", f"{title}, by iteration"),
    )


def _thinned(points: Points) -> Points:
    size = max(1, math.ceil(len(points) / POINTS))
    pieces = [points[at : at + size] for at in range(0, len(points), size)]
    return [(piece[-1][0], sum(y for _, y in piece) / len(piece)) for piece in pieces]


def _level(value: float, y: float) -> Markup:
    return joined(
        element("line", x1=LEFT, x2=WIDTH, y1=f"{y:.1f}", y2=f"{y:.1f}", class_="grid"),
        element("text", f"{value:.4g}", x=LEFT - 8, y=f"{y + 4:.1f}", text_anchor="end", class_="axis"),
    )


def _mark(iteration: float, x: float) -> Markup:
    return element(
        "text", f"{iteration:.0f}", x=f"{x:.1f}", y=HEIGHT + 16, text_anchor="middle", class_="axis"
    )
