"""What a model knows about its inputs and outputs, in the form in which it travels with the model: JSON."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from caffe2torch.errors import ReadError
from caffe2torch.net.labelling import Labelling
from caffe2torch.net.preprocessing import ORDERS, Preprocessing

Shape = tuple["int | None", ...]
MAX_BLOBS = 1000
MAX_CLASSES = 10_000
MAX_NAME = 1000
"""Characters of the name of a class or of a file."""
MAX_NUMBER = 1e6
"""Of a mean, a scale or a size."""


@dataclass(frozen=True)
class Knowledge:
    """For each input, by blob, how an image was prepared; for each output, by blob, its classes.

    What a mapping lacks is unknown.
    """

    preprocessing: Mapping[str, Preprocessing] = field(default_factory=dict)
    labellings: Mapping[str, Labelling] = field(default_factory=dict)

    def of(self, inputs: Mapping[str, Shape | None], outputs: Collection[str]) -> Knowledge:
        """What is known of these blobs; only three channels have an order."""
        prepared = {
            blob: replace(known, channels="") if _is_grey(inputs[blob]) else known
            for blob, known in self.preprocessing.items()
            if blob in inputs
        }
        return Knowledge(prepared, {blob: x for blob, x in self.labellings.items() if blob in outputs})

    def as_data(self) -> dict[str, dict[str, Any]]:
        """For JSON: {"preprocessing": {blob: ...}, "labellings": {blob: ...}}."""
        return {
            "preprocessing": {blob: asdict(known) for blob, known in self.preprocessing.items()},
            "labellings": {blob: asdict(known) for blob, known in self.labellings.items()},
        }

    @staticmethod
    def from_data(preprocessing: object, labellings: object) -> Knowledge:
        """The same from JSON that a stranger may have written. Raises ReadError."""
        return Knowledge(
            {blob: _preprocessing(blob, known) for blob, known in _items(preprocessing, "preprocessing")},
            {blob: _labelling(blob, known) for blob, known in _items(labellings, "labellings")},
        )


def _is_grey(shape: Shape | None) -> bool:
    return shape is not None and len(shape) == 4 and shape[1] not in (None, 3)


def _items(table: object, what: str) -> Iterator[tuple[str, object]]:
    if not isinstance(table, dict) or len(table) > MAX_BLOBS:
        raise ReadError(f"its {what!r} is not a JSON object of at most {MAX_BLOBS} blobs")
    yield from table.items()


def _preprocessing(blob: str, known: Any) -> Preprocessing:
    names = [each.name for each in fields(Preprocessing)]
    if isinstance(known, dict) and "channels" not in known:
        known = {**known, "channels": "BGR"}  # the order of every mean before files told it
    if not isinstance(known, dict) or known.keys() != {*names}:
        raise ReadError(f"its 'preprocessing' of {blob!r} must give {', '.join(names)}")
    mean, crop_size = known["mean"], known["crop_size"]
    possible = {
        "mean": isinstance(mean, list) and len(mean) <= MAX_BLOBS and all(map(_is_number, mean)),
        "scale": _is_number(known["scale"]),
        "crop_size": type(crop_size) is int and 0 <= crop_size <= MAX_NUMBER,
        "mirror": isinstance(known["mirror"], bool),
        "mean_file": known["mean_file"] == "" or _is_name(known["mean_file"]),
        "channels": known["channels"] in ORDERS,
    }
    if odd := next((name for name in names if not possible[name]), None):
        raise ReadError(f"its 'preprocessing' of {blob!r} has an impossible {odd}: {_shown(known[odd])}")
    return Preprocessing(**{**known, "mean": tuple(map(float, mean)), "scale": float(known["scale"])})


def _labelling(blob: str, known: Any) -> Labelling:
    of = f"its labelling of {blob!r}"
    if not isinstance(known, dict) or known.keys() != {"classes", "colours"}:
        raise ReadError(f"{of} must give classes and colours")
    for name, values in known.items():
        if not isinstance(values, list) or not 0 < len(values) <= MAX_CLASSES:
            raise ReadError(f"{of} has {name} that are not a list of 1 to {MAX_CLASSES}")
    for name in known["classes"]:
        if not _is_name(name):
            raise ReadError(f"{of} has a class {_shown(name)}, which is no name")
    for colour in known["colours"]:
        if not isinstance(colour, list):
            raise ReadError(f"{of} has a colour {_shown(colour)}, not three integers")
    try:
        return Labelling(tuple(known["classes"]), tuple(map(tuple, known["colours"])))
    except ValueError as error:
        raise ReadError(f"{of}: {error}") from None


def _is_number(value: object) -> bool:
    """Whether a value is a number of a reasonable size, and neither NaN nor True."""
    return type(value) in (int, float) and abs(value) <= MAX_NUMBER  # type: ignore[arg-type]


def _is_name(value: object) -> bool:
    """Whether a value is a text that fits on a line."""
    return isinstance(value, str) and 0 < len(value) <= MAX_NAME and value.isprintable()


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}…"
