"""What a model knows about its inputs and outputs, as it travels with a model: as JSON."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from caffe2torch.errors import ReadError
from caffe2torch.net.labelling import Labelling
from caffe2torch.net.preprocessing import ORDERS, Preprocessing


@dataclass(frozen=True)
class Knowledge:
    """For each input, by blob, how an image was prepared; for each output, by blob, its classes.

    What a mapping lacks is unknown.
    """

    preprocessing: Mapping[str, Preprocessing] = field(default_factory=dict)
    labellings: Mapping[str, Labelling] = field(default_factory=dict)

    def of(self, inputs: Collection[str], outputs: Collection[str]) -> Knowledge:
        """What is known of these blobs."""
        prepared = {blob: known for blob, known in self.preprocessing.items() if blob in inputs}
        return Knowledge(
            prepared, {blob: known for blob, known in self.labellings.items() if blob in outputs}
        )

    def as_data(self) -> dict[str, Any]:
        """For JSON: {"preprocessing": {blob: ...}, "labellings": {blob: ...}}."""
        return {
            "preprocessing": {blob: asdict(known) for blob, known in self.preprocessing.items()},
            "labellings": {blob: asdict(known) for blob, known in self.labellings.items()},
        }

    @staticmethod
    def from_data(preprocessing: object, labellings: object) -> Knowledge:
        """The same from JSON that a stranger may have written. Raises ReadError for anything else."""
        return Knowledge(
            {blob: _preprocessing(blob, x) for blob, x in _items(preprocessing, "preprocessing")},
            {blob: _labelling(blob, x) for blob, x in _items(labellings, "labellings")},
        )


MAX_BLOBS = 1000
MAX_CLASSES = 10_000
MAX_NAME = 1000
"""Characters of a name of a class or of a file."""
MAX_VALUE = 1e6
"""Of a mean, a scale, a size."""


def _items(table: object, what: str) -> Iterator[tuple[str, object]]:
    if not isinstance(table, dict) or len(table) > MAX_BLOBS:
        raise ReadError(f"its {what!r} is no table of at most {MAX_BLOBS} blobs")
    yield from table.items()


def _preprocessing(blob: str, known: Any) -> Preprocessing:
    names = [each.name for each in fields(Preprocessing)]
    if isinstance(known, dict) and "channels" not in known:
        known = {**known, "channels": "BGR"}  # as files said of every mean before they told the order
    if not isinstance(known, dict) or known.keys() != {*names}:
        raise ReadError(f"its preprocessing of {blob!r} must give {', '.join(names)}")
    mean = known["mean"]
    allowed = {
        "mean": isinstance(mean, list) and len(mean) <= MAX_BLOBS and all(map(_is_number, mean)),
        "scale": _is_number(known["scale"]),
        "crop_size": type(known["crop_size"]) is int and 0 <= known["crop_size"] <= MAX_VALUE,
        "mirror": isinstance(known["mirror"], bool),
        "mean_file": _is_name(known["mean_file"]) or known["mean_file"] == "",
        "channels": known["channels"] in ORDERS,
    }
    for name in names:
        if not allowed[name]:
            raise ReadError(f"its preprocessing of {blob!r} has the {name} {_shown(known[name])}")
    return Preprocessing(**{**known, "mean": tuple(map(float, mean)), "scale": float(known["scale"])})


def _labelling(blob: str, known: Any) -> Labelling:
    if not isinstance(known, dict) or known.keys() != {"classes", "colours"}:
        raise ReadError(f"its labelling of {blob!r} must give classes and colours")
    for name, values in known.items():
        if not isinstance(values, list) or len(values) > MAX_CLASSES:
            raise ReadError(f"its labelling of {blob!r}: {name} must be a list of at most {MAX_CLASSES}")
    if odd := [name for name in known["classes"] if not _is_name(name)]:
        raise ReadError(f"its labelling of {blob!r}: no class can be called {_shown(odd[0])}")
    if odd := [colour for colour in known["colours"] if not isinstance(colour, list) or len(colour) != 3]:
        raise ReadError(f"its labelling of {blob!r}: {_shown(odd[0])} is no colour, three integers")
    try:
        return Labelling(tuple(known["classes"]), tuple(map(tuple, known["colours"])))
    except ValueError as error:
        raise ReadError(f"its labelling of {blob!r}: {error}") from None


def _is_number(value: object) -> bool:
    return type(value) in (int, float) and abs(value) <= MAX_VALUE  # type: ignore[arg-type]  # and no NaN


def _is_name(value: object) -> bool:
    """Whether a value is a text for one line of a screen."""
    return isinstance(value, str) and 0 < len(value) <= MAX_NAME and value.isprintable()


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}…"
