"""One page of photos and what a model sees in them, to look at; it loads nothing from anywhere.

The labels are in the page as bytes, which page.js unpacks and paints: class by class, up to a slider.
"""

from __future__ import annotations

import base64
import os
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import numpy as np
from PIL import Image

import caffe2torch as c2t
from fcn_repro.data.png import encoded, hexadecimal
from fcn_repro.report.html import Markup, element, joined
from fcn_repro.report.page import document
from fcn_repro.segmenting.photos import Photo
from fcn_repro.segmenting.told import Outcome, Shares, named, percent

PAGE = "index.html"
MAX_SIDE = 1024
"""Pixels; larger photos are shrunk."""
MAX_FIGURES = 200
"""Photos that are shown; a browser cannot hold any number of them."""
UNPAINTED = "background"

_HERE = Path(__file__).parent


@dataclass(frozen=True)
class Head:
    """One labelling that the model predicts."""

    name: str
    labelling: c2t.Labelling


@dataclass(frozen=True)
class Figure:
    """A photo as the page holds it.

    `photo` is a JPEG; `maps` has for each head labels and certainty, width times height bytes each,
    compressed; `links` are names of files beside the page.
    """

    name: str
    size: tuple[int, int]
    """Width and height, as shown."""
    photo: bytes
    maps: tuple[bytes, ...]
    shares: tuple[Shares, ...]
    links: tuple[tuple[str, str], ...]


def figure_of(
    photo: Photo,
    read: c2t.Photo,
    found: Sequence[c2t.Segmentation],
    files: Mapping[str, Mapping[str, Path]],
) -> Figure:
    """A photo with what was found in it, small enough for the page."""
    image = Image.fromarray(np.ascontiguousarray(read.image_hwc))
    image.thumbnail((MAX_SIDE, MAX_SIDE), Image.Resampling.LANCZOS)
    links = [
        (f"{kind}, {head}" if len(files) > 1 else kind, file.name)
        for head, of_head in files.items()
        for kind, file in of_head.items()
    ]
    return Figure(
        _text(photo.path),
        image.size,
        encoded(image, "JPEG"),
        tuple(_packed(segmentation, image.size) for segmentation in found),
        tuple(segmentation.shares() for segmentation in found),
        tuple(links),
    )


def page(model: str, heads: Sequence[Head], figures: Sequence[Figure], outcome: Outcome) -> str:
    """The whole page of the figures, MAX_FIGURES at most. The same photos give the same bytes."""
    count = len(outcome.pictured)
    title = f"{count} photo{'s' * (count != 1)}, segmented by {_text(model)}"
    return document(
        title,
        element("div", "fcn-segment", class_="venue"),
        element("h1", title),
        element("noscript", element("p", "This page needs JavaScript; the pictures beside it do not.")),
        _said(outcome),
        element(
            "div",
            element("aside", _heads(heads), [_classes(heads, index, outcome) for index in range(len(heads))]),
            element("div", [_figure(figure, heads) for figure in figures], class_="photos"),
            class_="segmented",
        ),
        element("footer", "Written by fcn-segment."),
        style=(_HERE / "page.css").read_text(encoding="utf-8"),
        script=(_HERE / "page.js").read_text(encoding="utf-8"),
    )


def _said(outcome: Outcome) -> Markup:
    """What the page does not show."""
    only = f"The first {MAX_FIGURES} are shown; the others are files beside this page."
    lines = [only] * (len(outcome.pictured) > MAX_FIGURES)
    if outcome.failed:
        lines.append(f"{len(outcome.failed)} could not be segmented:")
        lines += [_text(error) for error in outcome.failed.values()]
    return joined(element("p", line, class_="soft") for line in lines)


def _heads(heads: Sequence[Head]) -> Markup:
    """The choice between several labellings."""
    if len(heads) < 2:
        return joined()
    choices = [
        element(
            "label",
            element("input", type="radio", name="head", value=index, checked="" if index == 0 else None),
            head.name,
        )
        for index, head in enumerate(heads)
    ]
    return element("fieldset", element("legend", "Labelling"), choices)


def _classes(heads: Sequence[Head], index: int, outcome: Outcome) -> Markup:
    """The classes of a head that occur anywhere, each to switch on and off."""
    head = heads[index]
    colours = hexadecimal(head.labelling.palette)
    lines = []
    for label, share in outcome.shares(head.name).items():
        name = named(label, head.labelling)
        on = "" if name != UNPAINTED else None
        box = element("input", type="checkbox", value=label, checked=on, data_colour=colours[label])
        swatch = element("span", style=f"background: {colours[label]}", class_="dot", aria_hidden="true")
        text = element("span", name, class_="name")
        lines.append(element("label", box, swatch, text, element("span", percent(share), class_="soft")))
    both = [element("button", text, type="button", value=text) for text in ("All", "None")]
    return element(
        "fieldset",
        element("legend", "Classes"),
        element("div", both, class_="all"),
        lines,
        data_head=index,
        hidden="" if index else None,
    )


def _figure(figure: Figure, heads: Sequence[Head]) -> Markup:
    width, height = figure.size
    source = f"data:image/jpeg;base64,{base64.b64encode(figure.photo).decode()}"
    stage = element(
        "div",
        element("img", src=source, alt=figure.name, width=width, height=height),
        element("canvas", width=width, height=height, aria_hidden="true"),
        element("span", class_="divider"),
        element("span", class_="cross", hidden=""),
        class_="stage",
        tabindex=0,
        role="group",
        aria_label=f"{figure.name}: arrow keys move a cursor",
        data_maps=" ".join(base64.b64encode(packed).decode() for packed in figure.maps),
    )
    what = f"{figure.name}: the photo up to here, then its classes"
    slider = element("input", type="range", min=0, max=100, value=50, aria_label=what)
    links = [element("a", text, href=f"./{quote(os.fsencode(name))}") for text, name in figure.links]
    return element(
        "section",
        element("h2", figure.name),
        element("div", stage, slider, class_="compared", style=f"--aspect: {width / height:.4f}"),
        element("output", aria_live="polite"),
        [_most(figure, heads, index) for index in range(len(heads))],
        element("p", links, class_="links"),
    )


def _most(figure: Figure, heads: Sequence[Head], index: int) -> Markup:
    """The classes of one head, the largest first."""
    labelling, shares = heads[index].labelling, figure.shares[index].items()
    each = (f"{named(label, labelling)} {percent(share)}" for label, share in shares)
    said = " · ".join(text.replace(" ", "\N{NO-BREAK SPACE}") for text in each)
    return element("p", said, class_="soft", data_head=index, hidden="" if index else None)


def _packed(found: c2t.Segmentation, size: tuple[int, int]) -> bytes:
    """Labels, then certainty, in the size of the photo as shown."""
    maps = [
        Image.fromarray(np.ascontiguousarray(map_)).resize(size, Image.Resampling.NEAREST).tobytes()
        for map_ in (found.labels, found.certainty)
    ]
    return zlib.compress(b"".join(maps), 9)


def _text(name: str | Path) -> str:
    """A name as text, also one whose bytes are none."""
    return os.fsencode(str(name)).decode("utf-8", "replace")
