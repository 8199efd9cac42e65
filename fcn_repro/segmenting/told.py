"""What fcn-segment says: tables for people, and the same as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import caffe2torch as c2t
from caffe2torch.command_line import Answer, listed

VOID = "void"
SHOWN = 3
"""Classes of each photo, where there are several photos."""

Shares = Mapping[int, float]
"""The labels that occur, each with its share of the pixels, the largest first."""


@dataclass(frozen=True)
class Pictured:
    """A photo that was segmented: its (height, width), and by head its classes and files."""

    path: Path
    size: tuple[int, ...]
    notes: tuple[str, ...]
    shares: Mapping[str, Shares]
    files: Mapping[str, Mapping[str, Path]]


@dataclass(frozen=True)
class Outcome:
    """All photos: those segmented, those that could not be with the reason, and what was no photo."""

    pictured: tuple[Pictured, ...]
    failed: Mapping[Path, str] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()
    replaced: int = 0
    """Files that were there before."""

    def shares(self, head: str) -> Shares:
        """Those of all photos together, each counted alike."""
        total: dict[int, float] = {}
        for picture in self.pictured:
            for label, share in picture.shares[head].items():
                total[label] = total.get(label, 0) + share / len(self.pictured)
        return dict(sorted(total.items(), key=lambda item: -item[1]))


def answer(model: str, outcome: Outcome, segmenter: c2t.Segmenter, page: Path | None) -> Answer:
    """What was done; the exit code is 1 if a photo could not be segmented."""
    return Answer(
        "\n".join(_lines(outcome, segmenter, page)),
        _data(model, outcome, segmenter, page),
        int(bool(outcome.failed) or not outcome.pictured),
        tuple(_warnings(model, outcome, segmenter)),
    )


def named(label: int, labelling: c2t.Labelling) -> str:
    """A label's class, or void."""
    return labelling.classes[label] if label < len(labelling.classes) else VOID


def percent(share: float) -> str:
    """A share as a person reads it."""
    return f"{100 * share:.1f} %" if share >= 0.0005 else "< 0.1 %"


def _lines(outcome: Outcome, segmenter: c2t.Segmenter, page: Path | None) -> Iterator[str]:
    several = len(outcome.pictured) > 1
    if several:
        yield from _each(outcome.pictured, segmenter)
    for head, labelling in segmenter.labellings.items():
        if not outcome.pictured:
            break
        what = f"{len(outcome.pictured)} photos" if several else _title(outcome.pictured[0])
        yield f"{what}, {head}" if len(segmenter.labellings) > 1 else what
        yield from _table(outcome.shares(head), labelling)
        yield ""
    if page is not None:
        yield f"{page} shows them; labels and pictures are beside it"
    elif outcome.pictured:
        heads = (head for picture in outcome.pictured for head in picture.files.values())
        yield f"wrote {listed([file for head in heads for file in head.values()])}"


def _title(picture: Pictured) -> str:
    height, width = picture.size
    name = " ".join(str(picture.path).splitlines())  # a stranger may have named it
    return f"{name}: {width}x{height} pixels"


def _table(shares: Shares, labelling: c2t.Labelling) -> Iterator[str]:
    width = max(len(named(label, labelling)) for label in shares)
    for label, share in shares.items():
        yield f"  {named(label, labelling):{width}}  {percent(share):>7}"


def _each(pictured: Sequence[Pictured], segmenter: c2t.Segmenter) -> Iterator[str]:
    """A line for each photo, with the classes that it shows most of."""
    width = max(len(_title(picture)) for picture in pictured)
    for picture in pictured:
        shown = []
        for head, labelling in segmenter.labellings.items():
            most = list(picture.shares[head].items())[:SHOWN]
            shown.append(", ".join(f"{named(label, labelling)} {percent(share)}" for label, share in most))
        yield f"{_title(picture):{width}}  {'; '.join(shown)}"
    yield ""


def _warnings(model: str, outcome: Outcome, segmenter: c2t.Segmenter) -> Iterator[str]:
    if not segmenter.named:
        yield f"{model} does not name its classes: they have numbers, and PASCAL VOC's colours"
    for picture in outcome.pictured:
        yield from (f"{picture.path}: {note}" for note in picture.notes)
    if outcome.replaced:
        yield f"replaced {outcome.replaced} file{'s' * (outcome.replaced != 1)} of an earlier run"
    if outcome.left_out:
        yield f"left out {len(outcome.left_out)}, no photos: {', '.join(outcome.left_out)}"
    yield from outcome.failed.values()
    if outcome.failed:
        count = len(outcome.failed) + len(outcome.pictured)
        yield f"{len(outcome.failed)} of {count} photos could not be segmented"


def _data(model: str, outcome: Outcome, segmenter: c2t.Segmenter, page: Path | None) -> dict[str, Any]:
    return {
        "model": model,
        "classes_known": segmenter.named,
        "photos": [_picture_data(picture, segmenter) for picture in outcome.pictured],
        "failed": [{"photo": str(path), "error": error} for path, error in outcome.failed.items()],
        "left_out": list(outcome.left_out),
        "page": None if page is None else str(page),
    }


def _picture_data(picture: Pictured, segmenter: c2t.Segmenter) -> dict[str, Any]:
    heads = {
        head: {
            **{kind: str(file) for kind, file in picture.files[head].items()},
            "shares": {named(label, labelling): share for label, share in picture.shares[head].items()},
        }
        for head, labelling in segmenter.labellings.items()
    }
    height, width = picture.size
    return {
        "photo": str(picture.path),
        "width": width,
        "height": height,
        "notes": list(picture.notes),
        "heads": heads,
    }
