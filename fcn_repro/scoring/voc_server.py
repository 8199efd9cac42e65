"""The VOC test sets, whose labels only the evaluation server has: packing predictions, reading its answer.

    results/VOC2012/Segmentation/comp6_test_cls/ID.png    a palette PNG for each image of test.txt, in a .tgz

comp5 is for nets trained only on VOC's own labels, comp6 for all others; the papers' nets also saw SBD's.
"""

from __future__ import annotations

import gzip
import io
import re
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
from PIL import Image

from caffe2torch.errors import MissingData, ReadError, WriteError
from fcn_repro.data import reading
from fcn_repro.data.datasets.pascal_voc import CLASSES, PascalVoc
from fcn_repro.data.images import read_image
from fcn_repro.data.palette import colormap
from fcn_repro.files import write

ADDRESS = "http://host.robots.ox.ac.uk:8080/"
MAX_PNG_BYTES = 1 << 24
MAX_ANSWER_BYTES = 1 << 20


def pack(predictions: Path, test: PascalVoc, archive: Path, competition: str = "comp6") -> str:
    """Packs `predictions`/ID.png for every image of a VOC test split; returns what to do with the archive.

    The same predictions always give the same bytes. Raises MissingData for a missing prediction,
    ReadError for one that the server would refuse, WriteError.
    """
    if not archive.name.endswith((".tgz", ".tar.gz")):
        raise WriteError(f"{archive}: the server takes a .tgz")
    paths = {name: predictions / f"{name}.png" for name in sorted(test.ids)}
    if missing := [path.name for path in paths.values() if not path.is_file()]:
        raise MissingData(
            f"{predictions}: {len(missing)} of {len(test)} predictions are missing, the first is {missing[0]}"
        )
    folder = f"results/VOC{test.year}/Segmentation/{competition}_test_cls"
    contents = {
        f"{folder}/{path.name}": _checked(path, test.image_path(name)) for name, path in paths.items()
    }
    write(archive, _tgz(contents))
    return (
        f"{archive}: {len(test)} predictions in {folder}. Upload it at {ADDRESS} (an account is needed) as "
        f"VOC{test.year}, Segmentation, {competition}; save the page it answers with for --server-result."
    )


def _tgz(contents: Mapping[str, bytes]) -> bytes:
    """The files by name, without dates or owners."""
    packed = io.BytesIO()
    with (
        gzip.GzipFile("", "wb", fileobj=packed, mtime=0) as compressed,
        tarfile.open(fileobj=compressed, mode="w", format=tarfile.USTAR_FORMAT) as tar,
    ):
        for name, content in contents.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return packed.getvalue()


def _checked(path: Path, image_path: Path) -> bytes:
    """A prediction's bytes, if the server would accept them."""
    if path.stat().st_size > MAX_PNG_BYTES:
        raise ReadError(f"{path}: {path.stat().st_size} bytes; a prediction has at most {MAX_PNG_BYTES}")
    label, image_hwc = reading.read_label(path), read_image(image_path)
    if label.shape != image_hwc.shape[:2]:
        raise ReadError(f"{path}: (H, W) is {label.shape}, of its image {image_hwc.shape[:2]}")
    with Image.open(path) as image:
        colours = (image.getpalette() or [])[: 3 * len(CLASSES)] if image.mode == "P" else []
    if colours != colormap(len(CLASSES)).ravel().tolist():
        raise ReadError(
            f"{path}: its colours are not VOC's; the server takes palette PNGs with VOC's colours"
        )
    if (label >= len(CLASSES)).any():
        raise ReadError(f"{path}: label {label.max()}; the server takes 0 to {len(CLASSES) - 1}")
    return path.read_bytes()


@dataclass(frozen=True)
class ServerResult:
    """What the server answered, in percent: mean IU over background and 20 classes, and those it listed."""

    mean_iu: float
    per_class_iu: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        values = (self.mean_iu, *self.per_class_iu.values())
        if wrong := [value for value in values if not 0 <= value <= 100]:
            raise ValueError(f"{wrong[0]} is not a percentage")
        mean = float(np.mean(list(self.per_class_iu.values()))) if self.per_class_iu else self.mean_iu
        if len(self.per_class_iu) == len(CLASSES) and abs(mean - self.mean_iu) > 0.1:
            raise ValueError(f"the classes' mean is {mean:.2f}, but it is given as {self.mean_iu}")


def read_answer(path: Path) -> ServerResult:
    """The server's answer: its page as saved, the devkit's listing "CLASS: 12.345%", or just the mean IU.

    Raises MissingData without the file, and ReadError if no mean IU is found, or an impossible one.
    """
    try:
        if path.stat().st_size > MAX_ANSWER_BYTES:
            raise ReadError(f"{path}: {path.stat().st_size} bytes; an answer has at most {MAX_ANSWER_BYTES}")
        text = path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError as error:
        raise MissingData(f"{path}: no such file") from error
    except OSError as error:
        raise ReadError(f"{path}: {error}") from error
    found = _bare_number(text) or _listing(text) or _page(text)
    if "mean" not in found:
        raise ReadError(
            f"{path}: no mean IU found; expected the server's page, CLASS: 12.345% lines or a number"
        )
    try:
        return ServerResult(found.pop("mean"), found)
    except ValueError as error:
        raise ReadError(f"{path}: {error}") from error


_TITLE = re.compile(r"[A-Za-z/ ]+")
_NAMES = {name: name for name in CLASSES} | {"mean": "mean", "average": "mean", "averageaccuracy": "mean"}


def _name(text: str) -> str | None:
    """The class that a title such as "tv/ monitor" is, or "mean"."""
    return _NAMES.get(re.sub(r"[^a-z]", "", text.lower()))


def _bare_number(text: str) -> dict[str, float]:
    number = _number(text)
    return {} if number is None else {"mean": number}


def _listing(text: str) -> dict[str, float]:
    lines = (line.replace("=", ":").partition(":") for line in text.splitlines())
    values = ((_name(title), _number(value)) for title, _, value in lines if _TITLE.fullmatch(title.strip()))
    return {name: value for name, value in values if name and value is not None}


def _page(text: str) -> dict[str, float]:
    """The first row of numbers below a row of titles, of which "mean" is one."""
    titles: list[str | None] = []
    for row in _Rows.of(text):
        names = [_name(cell) for cell in row]
        if "mean" in names and len(set(names)) > 2:
            titles = names
        elif titles and len(row) == len(titles):
            values = [(name, _number(cell)) for name, cell in zip(titles, row, strict=True) if name]
            if any(value is not None for _, value in values):
                return {name: value for name, value in values if value is not None}
    return {}


def _number(text: str) -> float | None:
    match = re.fullmatch(r"(\d{1,3}(?:\.\d+)?)\s*%?", text.strip())
    return float(match[1]) if match else None


class _Rows(HTMLParser):
    """The tables of a page, as rows of the text in their cells."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[list[list[str]]] = []
        """Each cell in the pieces that its tags cut it into."""

    @classmethod
    def of(cls, text: str) -> Iterator[list[str]]:
        """The rows in a page, without empty ones."""
        parser = cls()
        try:
            parser.feed(text)
        except AssertionError:  # of the parser, at a "<![" that no section follows
            return iter(())
        return (["".join(pieces) for pieces in row] for row in parser.rows if row)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th") and self.rows:
            self.rows[-1].append([])

    def handle_data(self, data: str) -> None:
        if self.rows and self.rows[-1]:
            self.rows[-1][-1].append(data)
