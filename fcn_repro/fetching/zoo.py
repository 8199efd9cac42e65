"""The published weights: weights/zoo.toml as records. Nothing here downloads."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from fcn_repro.toml_records import load

UNKNOWN = "unknown"


@dataclass(frozen=True)
class Score:
    """A score that somebody stated or measured: percent, on which images, and who says so."""

    metric: str
    percent: float
    split: str
    source: str


@dataclass(frozen=True)
class ZooModel:
    """Published weights. `address`, hashes and `licence` are "unknown" if no source gives them.

    `dataset` is the one that an FCN was trained on, whose mean it subtracts and whose classes it tells apart.
    `about` is the file's size in bytes, from its number of parameters; 0 if that is not known.
    """

    title: str
    family: str
    address: str
    sha1: str
    licence: str
    source: tuple[str, ...]
    scores: tuple[Score, ...] = ()
    gist: str = ""
    note: str = ""
    sha256: str = UNKNOWN
    dataset: str = ""
    about: int = 0

    def __post_init__(self) -> None:
        if self.address != UNKNOWN and not re.fullmatch(r"https?://\S+/\S+", self.address):
            raise ValueError(f"address {self.address!r} is neither http(s) nor {UNKNOWN!r}")
        for kind, value, digits in (("sha1", self.sha1, 40), ("sha256", self.sha256, 64)):
            if value != UNKNOWN and not re.fullmatch(rf"[0-9a-f]{{{digits}}}", value):
                raise ValueError(f"{kind} {value!r} is neither {digits} hexadecimal digits nor {UNKNOWN!r}")


@dataclass(frozen=True)
class Zoo:
    """Every published model by its name, in families, and what each source code means."""

    sources: Mapping[str, str]
    families: Mapping[str, str]
    models: Mapping[str, ZooModel]

    def __post_init__(self) -> None:
        for name, model in self.models.items():
            if model.family not in self.families:
                raise ValueError(f"models.{name} is of an unknown family {model.family!r}")
            cited = {*model.source, *(score.source for score in model.scores)}
            if unknown := sorted(cited - self.sources.keys()):
                raise ValueError(f"models.{name} cites {unknown[0]!r}, which is not among the sources")


def folder() -> Path:
    """weights/, where it was installed or, in a checkout, next to the packages."""
    package = Path(__file__).parents[1]
    installed = package / "weights"
    return installed if installed.is_dir() else package.parent / "weights"


@cache
def zoo() -> Zoo:
    """The model zoo. Raises ReadError or MissingData (see toml_records.py)."""
    return load(folder() / "zoo.toml", Zoo)
