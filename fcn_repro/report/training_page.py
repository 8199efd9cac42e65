"""A training as a page: how far it is, its curves, a few images at each validation, the last scores."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

from caffe2torch.command_line import clock
from fcn_repro.files import write
from fcn_repro.report.charts import class_bars
from fcn_repro.report.curves import curve
from fcn_repro.report.html import Markup, element
from fcn_repro.report.page import document, scores_view
from fcn_repro.report.panels import growth_view, read_growth
from fcn_repro.training.log import TRAIN, VAL, read_rows

if TYPE_CHECKING:
    from fcn_repro.scoring.result import Evaluation
    from fcn_repro.training.loop import Training

EVERY_S = 10.0
"""Seconds between writes, at least; each validation is shown at once."""
SHARE = 0.01
"""The share of the time, at most, that writing may take between validations."""
PACE_ROWS = 50
"""The rows of the log over which the speed is taken."""

Row = Mapping[str, float]


@dataclass(eq=False)
class TrainingPage:
    """NAME.html in a training's folder, kept up to date: call it whenever there may be something new."""

    _due: float = -math.inf
    _shown: Evaluation | None = None

    def __call__(self, training: Training) -> None:
        """Writes the page if a validation or some time has passed. Raises WriteError, ReadError."""
        begin = time.monotonic()
        if training.evaluation is not self._shown or begin >= self._due:
            write(page_path(training), training_page(training))
            now = time.monotonic()
            self._due, self._shown = now + max(EVERY_S, (now - begin) / SHARE), training.evaluation


def page_path(training: Training) -> Path:
    """Where a training's page is."""
    return training.folder / f"{training.name}.html"


def training_page(training: Training) -> str:
    """A training's page, from its logs and pictures. Its size does not grow with the training's length."""
    losses = read_rows(training.folder / "train.csv", TRAIN)
    scores = read_rows(training.folder / "val.csv", VAL)
    until = max((row["iteration"] for row in (*losses, *scores)), default=0)
    curves = [_curve(losses, "smoothed_loss", "training loss, smoothed", until)]
    if training.val is not None:
        curves.append(_curve(scores, "mean_iu", "mean IU, %, validation", until))
    return document(
        training.recipe.title,
        element("div", f"{training.name} · seed {training.recipe.seed}", class_="venue"),
        element("h1", training.recipe.title),
        element("p", training.recipe.note, class_="soft") if training.recipe.note else "",
        element(
            "section",
            _standing(training, losses, scores),
            element("div", [element("figure", drawn) for drawn in curves], class_="charts"),
        ),
        _pictured(training),
        _scored(training.evaluation) if training.evaluation else "",
        element("footer", f"Written by fcn-repro, {datetime.now(timezone.utc):%Y-%m-%d %H:%M} UTC."),
    )


def _curve(rows: Sequence[Row], column: str, title: str, until: float) -> Markup:
    return curve([(row["iteration"], row[column]) for row in rows], title, until=until)


def _standing(training: Training, losses: Sequence[Row], scores: Sequence[Row]) -> Markup:
    """How far the training is, large: iteration, loss, score, speed and the time left."""
    facts = {}
    iteration, last = training.solver.iter, training.solver.fields.max_iter
    facts[f"of {last:,} iterations"] = f"{iteration:,}"
    if losses:
        facts["training loss, smoothed"] = f"{losses[-1]['smoothed_loss']:.4g}"
    if scores:
        facts["mean IU, %, validation"] = f"{scores[-1]['mean_iu']:.2f}"
    if losses:
        speed = images_per_s(losses, training.solver.iter_size)
        facts["images/s, with validation"] = f"{speed:.3g}"
        if iteration < last:
            facts["left, about"] = clock((last - iteration) * training.solver.iter_size / speed)
    cells = [
        element("div", element("b", fact), element("span", name, class_="soft"))
        for name, fact in facts.items()
    ]
    return element("div", cells, class_="scores")


def images_per_s(rows: Sequence[Row], iter_size: int) -> float:
    """The speed over the last rows of a log, whose own is that since the row before."""
    begins = [0.0, *(row["iteration"] for row in rows)]
    seconds = images = 0.0
    for row, begin in [*zip(rows, begins, strict=False)][-PACE_ROWS:]:
        images += (row["iteration"] - begin) * iter_size
        seconds += (row["iteration"] - begin) * iter_size / row["images_per_s"]
    return images / seconds


def _pictured(training: Training) -> list[Markup]:
    """A section for each labelling that the net predicts, once there are predictions."""
    pictures = training.pictures
    if pictures is None or not pictures.iterations():
        return []
    title = f"Images of {pictures.val.name} {pictures.val.split}"
    return [
        element(
            "section",
            element("h2", f"{title}, {head}" if len(pictures.heads) > 1 else title),
            growth_view(read_growth(pictures, head), pictures.val.heads[head]),
        )
        for head in pictures.heads
    ]


def _scored(final: Evaluation) -> list[Markup]:
    title, by_class = f"Scores on {final.dataset} {final.split}", "IU of each class, in %"
    return [
        element("section", element("h2", title), scores_view(head), element("h3", by_class), class_bars(head))
        for head in final.heads.values()
    ]
