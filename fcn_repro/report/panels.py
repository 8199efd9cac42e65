"""Images next to their labels and predictions, in the data set's colours, with a legend."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from fcn_repro.data import reading
from fcn_repro.data.datasets import IGNORE_LABEL, Dataset, Labelling
from fcn_repro.data.png import VOID_COLOUR, encoded, from_hexadecimal, hexadecimal, label_png
from fcn_repro.report.charts import swatch
from fcn_repro.report.html import Markup, element, joined
from fcn_repro.scoring.predict import PredictionFolder
from fcn_repro.scoring.result import HeadScores
from fcn_repro.training.pictures import Pictures

MAX_SIDE = 640
"""Pixels; larger images are shrunk."""
MAX_SIDE_OF_MANY = 320
"""The same where each image has many pictures."""

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Panel:
    """An image (H, W, 3), RGB, its labels (H, W) unless they are secret, and what was predicted (H, W)."""

    id: str
    image_hwc: Pixels
    truth: Pixels | None
    prediction: Pixels


@dataclass(frozen=True, eq=False)
class Growth:
    """An image (H, W, 3), RGB, its labels (H, W), and what a net in training predicted, by iteration."""

    id: str
    image_hwc: Pixels
    truth: Pixels
    predictions: Mapping[int, Pixels]


def read_growth(pictures: Pictures, head: str) -> list[Growth]:
    """A training's images with the predictions that are kept. Raises MissingData, ReadError."""
    found = []
    for sample in (pictures.val[index] for index in pictures.indices):
        paths = {at: pictures.at(at).paths(sample.id)[head] for at in pictures.iterations()}
        predictions = {at: reading.read_label(path) for at, path in paths.items() if path.is_file()}
        found.append(Growth(sample.id, sample.image_hwc, sample.labels[head], predictions))
    return found


def growth_view(rows: Sequence[Growth], labelling: Labelling) -> Markup:
    """A row for each image: photo, truth, and the predictions by iteration; and what the colours mean."""
    maps = [label for row in rows for label in (row.truth, *row.predictions.values())]
    return joined(
        [_growth(row, labelling.palette) for row in rows],
        _legend(maps, labelling.classes, hexadecimal(labelling.palette)),
    )


def _growth(row: Growth, palette: Pixels) -> Markup:
    side, name = MAX_SIDE_OF_MANY, row.id
    pictures = {
        "photo": _photo(row.image_hwc, f"{name}, photo", side),
        "truth": _painted(row.truth, palette, f"{name}, truth", side),
        **{
            f"iteration {at:,}": _painted(label, palette, f"{name}, iteration {at}", side)
            for at, label in row.predictions.items()
        },
    }
    return joined(
        element("h3", name),
        element(
            "div",
            [element("figure", shown, element("figcaption", said)) for said, shown in pictures.items()],
            class_="growth",
        ),
    )


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
        _legend(
            [label for panel in panels for label in (panel.truth, panel.prediction) if label is not None],
            head.classes,
            head.colours,
        ),
    )


def _panel(panel: Panel, palette: Pixels) -> Markup:
    return element(
        "figure",
        _photo(panel.image_hwc, f"{panel.id}, image"),
        _painted(panel.truth, palette, f"{panel.id}, truth"),
        _painted(panel.prediction, palette, f"{panel.id}, prediction"),
        element("figcaption", panel.id),
        class_="panel",
    )


def _photo(image_hwc: Pixels, text: str, side: int = MAX_SIDE) -> Markup:
    return _image("jpeg", encoded(_shrunk(image_hwc, Image.Resampling.BILINEAR, side), "JPEG"), text)


def _painted(label: Pixels | None, palette: Pixels, text: str, side: int = MAX_SIDE) -> Markup:
    if label is None:
        return element("span", "the labels are secret", class_="soft")
    small = np.asarray(_shrunk(label, Image.Resampling.NEAREST, side))
    return _image("png", label_png(small, palette), text)


def _image(kind: str, content: bytes, text: str) -> Markup:
    return element("img", src=f"data:image/{kind};base64,{base64.b64encode(content).decode()}", alt=text)


def _shrunk(pixels: Pixels, resampling: Image.Resampling, side: int) -> Image.Image:
    image = Image.fromarray(np.ascontiguousarray(pixels))
    image.thumbnail((side, side), resampling)
    return image


def _legend(maps: Iterable[Pixels], classes: Sequence[str], colours: Sequence[str]) -> Markup:
    """The colours that label maps show."""
    present = {int(k) for label in maps for k in np.unique(label)}
    named = zip(classes, colours, strict=True)
    entries = [entry for index, entry in enumerate(named) if index in present]
    if IGNORE_LABEL in present:
        (void,) = hexadecimal(np.array([VOID_COLOUR], np.uint8))
        entries += [("void, not scored", void)]
    return element("ul", [_entry(name, colour) for name, colour in entries], class_="legend")


def _entry(name: str, colour: str) -> Markup:
    square = swatch(colour, x=0.5, y=0.5, size=13)
    return element("li", element("svg", square, viewBox="0 0 14 14", aria_hidden="true"), name)
