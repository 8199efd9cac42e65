"""What an evaluation found, as a JSON file: results/NAME.json."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np

from caffe2torch.errors import MissingData, ReadError
from fcn_repro.files import write_json
from fcn_repro.scoring.metrics import Confusion, Over, Scores

FORMAT = "fcn-repro evaluation, 1"
MAX_BYTES, MAX_TABLES = 1 << 25, 1 << 18
"""Of a file: its bytes, and the lists and objects in it, each of which takes many times its two brackets."""


@dataclass(frozen=True)
class HeadScores:
    """One labelling that was scored: its classes, their colours, and which of them mean IU is taken over."""

    classes: tuple[str, ...]
    colours: tuple[str, ...]
    """#rrggbb, as the data set paints its classes."""
    confusion: Confusion
    over: Over = Over.SEEN

    @property
    def scores(self) -> Scores:
        """The four scores."""
        return self.confusion.scores(self.over)

    @property
    def per_class_iu(self) -> tuple[float, ...]:
        """IU of each class, from 0 to 1; NaN for the classes that are left out."""
        return tuple(self.confusion.per_class_iu(self.over).tolist())

    @property
    def object_iu(self) -> float:
        """Mean IU over all classes but the first, the background, from 0 to 1; NaN if none is there."""
        present = [iu for iu in self.per_class_iu[1:] if not math.isnan(iu)]
        return sum(present) / len(present) if present else math.nan

    def as_data(self) -> dict[str, Any]:
        """For JSON; the scores are for the reader, and recomputed from the counts when loaded."""
        return {
            "classes": self.classes,
            "colours": self.colours,
            "over": self.over.value,
            "scores_percent": {name: _or_null(score) for name, score in self.scores.percent().items()},
            "mean_iu_percent": {
                over.value: _or_null(100 * self.confusion.scores(over).mean_iu) for over in Over
            },
            "iu_percent": [_or_null(100 * iu) for iu in self.per_class_iu],
            "confusion": self.confusion.counts.tolist(),
        }


@dataclass(frozen=True)
class Evaluation:
    """The scores of a model on a split, and how they came about. `heads` is empty if the labels are secret.

    `seconds` is summed over processes and over the runs of an evaluation that was resumed; `date` is UTC.
    """

    model: str
    model_sha256: str
    dataset: str
    split: str
    images: int
    precision: str
    device: str
    processes: int
    seconds: float
    date: str
    command: str
    heads: Mapping[str, HeadScores] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    predictions: str = ""
    """The folder that the predictions were saved to, if they were."""

    @property
    def head(self) -> HeadScores:
        """The first head. Raises MissingData if there is none."""
        if not self.heads:
            raise MissingData(f"{self.dataset} {self.split}: its labels are secret, so nothing was scored")
        return next(iter(self.heads.values()))

    @property
    def scores(self) -> Scores:
        """The four scores of the first head."""
        return self.head.scores

    def as_data(self) -> dict[str, Any]:
        """For JSON."""
        facts = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "heads"}
        return {
            "format": FORMAT,
            **facts,
            "heads": {name: head.as_data() for name, head in self.heads.items()},
        }

    def save(self, path: Path) -> None:
        """As a file. Raises WriteError."""
        write_json(path, self.as_data())

    @classmethod
    def load(cls, path: Path) -> Evaluation:
        """What `save` wrote. Raises MissingData without the file, ReadError for anything else."""
        data = read_json(path)
        if data.pop("format", None) != FORMAT:
            raise ReadError(f"{path}: not an evaluation that fcn-repro stored (format {FORMAT!r})")
        try:
            heads = {name: _head(**head) for name, head in data.pop("heads").items()}
            return cls(**{**data, "heads": heads, "notes": tuple(data["notes"])})
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise ReadError(f"{path}: a damaged evaluation: {type(error).__name__}: {error}") from error

    def __post_init__(self) -> None:
        for f in fields(self):
            kinds = {"str": str, "int": int, "float": (int, float)}.get(str(f.type))
            if kinds and not isinstance(getattr(self, f.name), kinds):  # type: ignore[arg-type]
                raise TypeError(f"{f.name} is {getattr(self, f.name)!r}, expected {f.type}")


def stored_evaluations(folder: Path) -> tuple[Evaluation, ...]:
    """Every evaluation stored in a folder, the latest first. Raises ReadError for a broken one."""
    found = (Evaluation.load(path) for path in sorted(folder.glob("*.json")))
    return tuple(sorted(found, key=lambda evaluation: evaluation.date, reverse=True))


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file. Raises MissingData without the file, ReadError for anything else."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ReadError(f"{path}: {path.stat().st_size} bytes; at most {MAX_BYTES} are read")
        text = path.read_text(encoding="utf-8")
        if text.count("[") + text.count("{") > MAX_TABLES:
            raise ReadError(f"{path}: over {MAX_TABLES} lists and objects")
        content = json.loads(text)
    except FileNotFoundError as error:
        raise MissingData(f"{path}: no such file") from error
    except (OSError, ValueError, RecursionError) as error:
        raise ReadError(f"{path}: not readable as JSON: {error}") from error
    if not isinstance(content, dict):
        raise ReadError(f"{path}: expected a JSON object, found {type(content).__name__}")
    return content


def counts_of(rows: Any, classes: int) -> Confusion:
    """A confusion matrix from the lists in JSON. Raises ValueError for anything else."""
    counts = np.array(rows)
    if counts.dtype.kind not in "iu":
        raise ValueError("a confusion matrix holds something other than integers")
    return Confusion(classes).with_counts(counts)


def _head(classes: list[str], colours: list[str], over: str, confusion: Any, **_derived: Any) -> HeadScores:
    if len(classes) != len(colours) or not all(re.fullmatch("#[0-9a-f]{6}", colour) for colour in colours):
        raise ValueError(f"the colours of {len(classes)} classes are {colours}")
    names = tuple(str(name) for name in classes)
    return HeadScores(names, tuple(colours), counts_of(confusion, len(names)), Over(over))


def _or_null(value: float) -> float | None:
    return None if math.isnan(value) else value
