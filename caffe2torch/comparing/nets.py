"""Two nets -> a Difference: layers, their parameters, the shapes and values of their blobs, their outputs.

The two deploy nets are compared layer by layer, by name. Blobs are compared piece by piece where they are,
without torch; outputs, which need it, are B's for A's inputs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from os import PathLike
from typing import TYPE_CHECKING, Any

import numpy as np

from caffe2torch.blob import Array, Blob, dense
from caffe2torch.comparing.difference import BlobRow, Change, Difference
from caffe2torch.errors import NetError, WeightsError
from caffe2torch.modules.report import Report, compare_blob, deltas
from caffe2torch.net import Layer, Net
from caffe2torch.net.fields import Fields
from caffe2torch.net.text import shape_text
from caffe2torch.plan import Plan, Step
from caffe2torch.untrusted.npz import stored_inputs
from caffe2torch.writing.checking import as_function
from caffe2torch.writing.format import Run
from caffe2torch.writing.model import Model, model_of
from caffe2torch.writing.trial import Trial

if TYPE_CHECKING:
    from torch import nn

TOLERANCE = 1e-5
PIECE = 1 << 18
"""Values compared at a time; bounds the memory used."""

Answers = Iterator[tuple[str, Trial]]
"""Inputs and A's outputs for them, each with a name."""

_SIZES = ("kernel", "stride", "pad", "dilation")
"""Sizes that can be written in several ways in Caffe; the converters know them."""


def diff(
    a: nn.Module | Plan | Net,
    b: nn.Module | Plan | Net,
    tolerance: float = TOLERANCE,
    *,
    run: bool = False,
    on: str | PathLike[str] | None = None,
) -> Difference:
    """Compares two models, each anything that `export` takes.

    Blobs are equal when max |delta| is at most `tolerance` times the largest |value| of A's. With `run`, B's
    outputs are compared with A's for seeded random inputs, of two sizes if A takes them, or for those in
    `on`, an .npz with arrays in.<blob>; there ‖delta‖ / ‖A's‖ may be up to `tolerance`. A dense deconvolution
    equals its channel diagonal. Raises what planning the nets raises, and MissingData or ReadError for `on`.
    """
    first, second = model_of(a), model_of(b)
    found = compare(first, second, tolerance)
    return with_outputs(found, first, second, on) if run or on is not None else found


def with_outputs(found: Difference, a: Model, b: Model, on: str | PathLike[str] | None) -> Difference:
    """The comparison, with B's outputs against A's for random inputs or those in the file `on`."""
    for side in (a, b):
        parameters = list(side.plan.parameters())
        if parameters and all(parameter.blob is None for parameter in parameters):
            raise WeightsError(f"{_name(side)}: defines a net but holds no values to run it with")
    wanted = answers(a, on)
    return replace(found, outputs=compare_outputs(_name(a), wanted, as_function(b.module), found.tolerance))


def compare(a: Model, b: Model, tolerance: float = TOLERANCE) -> Difference:
    """The layers and the blobs of two nets; no torch."""
    first, second = _layers(a), _layers(b)
    both = [key for key in first if key in second]
    pairs = [_both_dense(first[key], second[key]) for key in both]
    changes = [change for pair in pairs for change in _changes(*pair, first, second)]
    blobs = ((ours.layer.name, ours.layer.blobs, theirs.layer.blobs) for ours, theirs in pairs)
    return Difference(
        _name(a),
        _name(b),
        tolerance,
        len(both),
        tuple(f"{key} ({x.layer.type})" for key, x in first.items() if key not in second),
        tuple(f"{key} ({x.layer.type})" for key, x in second.items() if key not in first),
        (*changes, *_means(a, b), *_classes(a, b)),
        blob_rows(blobs, tolerance),
    )


def compare_outputs(a: str, wanted: Answers, run: Run, tolerance: float = TOLERANCE) -> Report:
    """The outputs of `run` against the answers of A."""
    rows = []
    for name, trial in wanted:
        try:
            found, problem = run(trial.inputs), ""
        except Exception as error:  # whichever library runs it
            line = str(error).split("\n", 1)[0]  # empty if the error has no message
            found, problem = {}, f"B does not run: {line}"
        for blob, output in trial.outputs.items():
            row = compare_blob(name, blob, output, found.get(blob), tolerance)
            labels = _equal_labels(output, found.get(blob))
            rows.append(replace(row, problem=problem or row.problem, labels=labels))
    return Report(a, tolerance, tuple(rows))


def _equal_labels(ours: Array, theirs: Array | None) -> float | None:
    """The share of pixels with the same label; None if these are not scores (N, classes, H, W) of both."""
    if theirs is None or ours.shape != theirs.shape or ours.ndim != 4 or not ours.size:
        return None
    if ours.shape[1] < 2 or ours.shape[2:] == (1, 1):
        return None
    return float((ours.argmax(1) == theirs.argmax(1)).mean())


def answers(a: Model, on: str | PathLike[str] | None) -> Answers:
    """A net's outputs for random inputs, or for those in the file `on`."""
    if on is None:
        return ((str(trial), trial) for trial in a.trials.trials)
    return stored_answers(_name(a), as_function(a.module), on)


def stored_answers(a: str, run: Run, on: str | PathLike[str]) -> Answers:
    """The outputs of `run`, the net `a`, for inputs in the file `on`. Raises NetError if it does not run."""
    for name, inputs in stored_inputs(on):
        try:
            yield name, Trial(inputs, run(inputs))
        except Exception as error:  # whichever library runs it
            line = str(error).split("\n", 1)[0]
            raise NetError(f"{a}: does not run on {on}: {line}") from None


def _name(side: Model) -> str:
    return side.net.weights or side.net.read_from or side.net.name


@dataclass(frozen=True)
class _Placed:
    """A layer with its blobs in the shapes that it needs, its step, and the layers whose tops it reads."""

    layer: Layer
    step: Step
    reads: tuple[str, ...]


def _layers(side: Model) -> dict[str, _Placed]:
    makers: dict[str, str] = {}
    placed = {}
    for step, layer in zip(side.plan.steps, side.deployed.layers, strict=True):
        placed[step.key] = _Placed(layer, step, tuple(makers[bottom] for bottom in layer.bottoms))
        makers |= dict.fromkeys(layer.tops, step.key)
    return placed


def _both_dense(a: _Placed, b: _Placed) -> tuple[_Placed, _Placed]:
    """The two as they are; a dense deconvolution and one with a group per channel, both as dense ones."""
    return _dense_as(a, b), _dense_as(b, a)


def _dense_as(placed: _Placed, other: _Placed) -> _Placed:
    layer, p = placed.layer, placed.layer.fields.convolution_param
    shapes = [x.blobs[0].shape if x.blobs else () for x in (layer, other.layer)]
    channels, *kernel = (shapes[0][0], *shapes[0][2:]) if len(shapes[0]) == 4 else (0,)
    if (
        layer.type != "Deconvolution"
        or p.group != p.num_output
        or shapes != [(channels, 1, *kernel), (channels, channels, *kernel)]
        or layer.blobs[0].values is None
    ):
        return placed
    fields = layer.fields.replace(convolution_param=p.replace(group=None))
    blobs = (dense(shapes[0], layer.blobs[0].values, layer.blobs[0].dtype), *layer.blobs[1:])
    return replace(placed, layer=replace(layer, fields=fields, blobs=blobs))


def _changes(
    a: _Placed, b: _Placed, first: Mapping[str, _Placed], second: Mapping[str, _Placed]
) -> Iterator[Change]:
    """How two layers of the same name differ, apart from the values of their blobs."""
    key = a.step.key
    if a.layer.type != b.layer.type:
        yield Change(key, "type", a.layer.type, b.layer.type)
        return
    # A layer that one net lacks is reported already; that its neighbours read another follows.
    if a.reads != b.reads and all(x in second for x in a.reads) and all(x in first for x in b.reads):
        yield Change(key, "reads", ", ".join(a.reads), ", ".join(b.reads))
    if len(a.layer.blobs) != len(b.layer.blobs):
        yield Change(key, "blobs", str(len(a.layer.blobs)), str(len(b.layer.blobs)))
    if a.layer.type == "Input":
        yield from _inputs(a.step, b.step)
        return
    spelled = {name for name in _SIZES if _size(a, name) is not None and _size(a, name) == _size(b, name)}
    for path, ours, theirs in _fields(a.layer.fields, b.layer.fields):
        # Caffe writes its phase into each layer; here both are in TEST.
        if path != "phase" and path.rpartition(".")[2].partition("_")[0] not in spelled:
            yield Change(key, path, _text(ours), _text(theirs))


def _size(placed: _Placed, name: str) -> object:
    return getattr(placed.step.converter, name, None)


def _inputs(a: Step, b: Step) -> Iterator[Change]:
    """The shapes of inputs, where both files state them."""
    for ours, theirs in zip(a.tops, b.tops, strict=False):
        if ours is not None and theirs is not None:
            pairs = zip(ours, theirs, strict=False)
            if len(ours) != len(theirs) or any(None not in pair and pair[0] != pair[1] for pair in pairs):
                yield Change(a.key, "shape", shape_text(ours), shape_text(theirs))


def _means(a: Model, b: Model) -> Iterator[Change]:
    """What is done to an image before the nets see it, where both files state it."""
    for blob, known in a.preprocessing.items():
        theirs = asdict(b.preprocessing.get(blob, known))
        for name, ours in asdict(known).items():
            unsaid = name == "channels" and "" in (ours, theirs[name])
            if ours != theirs[name] and not unsaid:
                yield Change(blob, name, _text(ours), _text(theirs[name]))


def _classes(a: Model, b: Model) -> Iterator[Change]:
    """What the labels of an output are called and painted, where both files state it."""
    for blob, known in a.labellings.items():
        other = b.labellings.get(blob, known)
        if len(known.classes) != len(other.classes):
            yield Change(blob, "classes", str(len(known.classes)), str(len(other.classes)))
            continue
        for label, names in enumerate(zip(known.classes, other.classes, strict=True)):
            if names[0] != names[1]:
                yield Change(blob, f"class {label}", *names)
        for label, colours in enumerate(zip(known.colours, other.colours, strict=True)):
            if colours[0] != colours[1]:
                yield Change(blob, f"colour of class {label}", *map(str, colours))


def _fields(a: Fields, b: Fields, place: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Path and two values of each field that differs; a default that is spelled out is not a difference."""
    for name in dict.fromkeys([name for fields in (a, b) for name, _ in fields.given()]):
        ours, theirs = getattr(a, name), getattr(b, name)
        if isinstance(ours, Fields):
            yield from _fields(ours, theirs, f"{place}{name}.")
        elif _are_messages(ours, theirs):
            for i, (one, other) in enumerate(zip(ours, theirs, strict=True)):
                yield from _fields(one, other, f"{place}{name}[{i}].")
        elif ours != theirs:
            yield f"{place}{name}", ours, theirs


def _are_messages(a: Any, b: Any) -> bool:
    return isinstance(a, tuple) and len(a) == len(b) > 0 and isinstance(a[0], Fields)


def blob_rows(
    pairs: Iterable[tuple[str, Sequence[Blob], Sequence[Blob]]], tolerance: float
) -> tuple[BlobRow, ...]:
    """The blobs of layers that both have, by their names; the largest relative difference comes first."""
    rows = [
        _row(name, i, ours, theirs, tolerance)
        for name, a, b in pairs
        for i, (ours, theirs) in enumerate(zip(a, b, strict=False))
        # Mere definitions have shapes to compare, but no values.
        if ours.has_data or theirs.has_data or ours.shape != theirs.shape
    ]
    return tuple(sorted(rows, key=lambda row: np.inf if row.relative is None else row.relative, reverse=True))


def _row(layer: str, i: int, a: Blob, b: Blob, tolerance: float) -> BlobRow:
    problem = "" if a.shape == b.shape else f"is {shape_text(b.shape)} in B"
    row = BlobRow(layer, i, a.shape, b.shape, None, (), None, False, problem)
    if a.has_data != b.has_data:
        return replace(row, problem=f"has values only in {'A' if a.has_data else 'B'}")
    if not a.has_data or a.count != b.count:
        return row
    largest, at = _largest(a, b)
    relative = largest and (largest / peak if (peak := _peak(a)) else np.inf)
    where = tuple(map(int, np.unravel_index(at, a.shape))) if largest else ()
    ok = relative <= tolerance and not problem
    return replace(row, max_delta=largest, where=where, relative=relative, ok=ok)


def _largest(a: Blob, b: Blob) -> tuple[float, int]:
    """The largest |delta| of two blobs with equally many values, and where it is."""
    ours, theirs = a.read().reshape(-1), b.read().reshape(-1)
    largest, at = 0.0, 0
    for start in range(0, a.count, PIECE):
        one, other = ours[start : start + PIECE], theirs[start : start + PIECE]
        if not np.array_equal(one, other):
            delta = deltas(other, one)
            if delta.max() > largest:
                largest, at = float(delta.max()), start + int(delta.argmax())
    return largest, at


def _peak(blob: Blob) -> float:
    """The largest finite |value|."""
    values = blob.read().reshape(-1)
    pieces = (values[start : start + PIECE] for start in range(0, blob.count, PIECE))
    return max(float(np.abs(piece[np.isfinite(piece)]).max(initial=0)) for piece in pieces)


def _text(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
