"""Images next to their labels and predictions, in the data set's colours, with a legend."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from fcn_repro.data import reading
from fcn_repro.data.datasets import IGNORE_LABEL, Dataset
from fcn_repro.data.png import VOID_COLOUR, encoded, from_hexadecimal, hexadecimal, label_png
from fcn_repro.report.charts import swatch
from fcn_repro.report.html import Markup, element, joined
from fcn_repro.scoring.predict import PredictionFolder
from fcn_repro.scoring.result import HeadScores

MAX_SIDE = 640
"""Pixels; larger images are shrunk."""

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Panel:
    """An image (H, W, 3), RGB, its labels (H, W) unless they are secret, and what was predicted (H, W)."""

    id: str
    image_hwc: Pixels
    truth: Pixels | None
    prediction: Pixels


def read_panels(dataset: Dataset, folder: PredictionFolder, head: str, count: int) -> list[Panel]:
    """Images evenly spread over a split, with their saved predictions. Raises MissingData, ReadError."""
    spread = np.linspace(0, len(dataset) - 1, min(count, len(dataset)))
    found = []
    for sample in (dataset[index] for index in spread.round().astype(int).tolist()):
        prediction = reading.read_label(folder.paths(sample.id)[head])
        found.append(Panel(sample.id, sample.image_hwc, sample.labels.get(head), prediction))
    return found


def panels_view(panels: Sequence[Panel], head: HeadScores) -> Markup:
    """A row of image, truth and prediction for each, and what the colours mean."""
    titles = [element("span", title) for title in ("image", "truth", "prediction")]
    palette = from_hexadecimal(head.colours)
    return joined(
        element("h3", "Images"),
        element("div", titles, class_="columns"),
        [_panel(panel, palette) for panel in panels],
        _legend(panels, head),
    )


def _panel(panel: Panel, palette: Pixels) -> Markup:
    photo = encoded(_shrunk(panel.image_hwc, Image.Resampling.BILINEAR), "JPEG")
    return element(
        "figure",
        _image("jpeg", photo, f"{panel.id}, image"),
        _painted(panel.truth, palette, f"{panel.id}, truth"),
        _painted(panel.prediction, palette, f"{panel.id}, prediction"),
        element("figcaption", panel.id),
        class_="panel",
    )


def _painted(label: Pixels | None, palette: Pixels, text: str) -> Markup:
    if label is None:
        return element("span", "the labels are secret", class_="soft")
    small = np.asarray(_shrunk(label, Image.Resampling.NEAREST))
    return _image("png", label_png(small, palette), text)


def _image(kind: str, content: bytes, text: str) -> Markup:
    return element("img", src=f"data:image/{kind};base64,{base64.b64encode(content).decode()}", alt=text)


def _shrunk(pixels: Pixels, resampling: Image.Resampling) -> Image.Image:
    image = Image.fromarray(np.ascontiguousarray(pixels))
    image.thumbnail((MAX_SIDE, MAX_SIDE), resampling)
    return image


def _legend(panels: Sequence[Panel], head: HeadScores) -> Markup:
    """The colours that the panels show."""
    maps = [label for panel in panels for label in (panel.truth, panel.prediction) if label is not None]
    present = {int(k) for label in maps for k in np.unique(label)}
    named = zip(head.classes, head.colours, strict=True)
    entries = [entry for index, entry in enumerate(named) if index in present]
    if IGNORE_LABEL in present:
        (void,) = hexadecimal(np.array([VOID_COLOUR], np.uint8))
        entries += [("void, not scored", void)]
    return element("ul", [_entry(name, colour) for name, colour in entries], class_="legend")


def _entry(name: str, colour: str) -> Markup:
    square = swatch(colour, x=0.5, y=0.5, size=13)
    return element("li", element("svg", square, viewBox="0 0 14 14", aria_hidden="true"), name)
