"""Two files -> a Difference, whatever of a model each holds: its net, values alone, or what only runs."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import replace
from os import PathLike
from pathlib import Path

from caffe2torch.blob import ABSENT, Blob
from caffe2torch.comparing.difference import Difference
from caffe2torch.comparing.nets import (
    TOLERANCE,
    answers,
    blob_rows,
    compare,
    compare_outputs,
    stored_answers,
    with_outputs,
)
from caffe2torch.errors import ReadError
from caffe2torch.formats.pt import read_pt
from caffe2torch.net.reading import with_weights
from caffe2torch.opening import without_net
from caffe2torch.plan.warnings import warnings_of
from caffe2torch.untrusted.binary import read_caffemodel
from caffe2torch.untrusted.kinds import File, Kind
from caffe2torch.untrusted.pickles import read_state_dict
from caffe2torch.writing.format import Format, Run
from caffe2torch.writing.model import Model, model_of

_INSTEAD = {
    "py": ", or compare the .safetensors beside it",
    "pt2": ", or leave out --run and --on to compare its weights alone",
}
"""What does without trust, by the name of a format."""


def between(
    a: File,
    b: File,
    read: Callable[[File], Model | None],
    tolerance: float = TOLERANCE,
    *,
    run: bool = False,
    on: str | PathLike[str] | None = None,
    trust: bool = False,
) -> Difference:
    """Compares two files as `diff` does; `read` gives the net in one, None for one that defines none.

    Such a one is compared by the other's net: values, of a state dict or Caffe's HDF5, are its blobs; of what
    only runs, such as ONNX, outputs are compared alone. Where neither defines a net, values are compared by
    their keys, and what runs by its outputs for the inputs in `on`.

    A pt2 or a Python file runs what its author chose, and so only with `trust`. Without it, a pt2 is compared
    by the weights in it, as far as it keeps them unpickled, and a note says so; a Python file is refused.

    Raises ReadError for two that cannot be compared, and what `read` and the formats' readers raise.
    """
    nets = {path: net for path in dict.fromkeys((a, b)) if (net := read(path)) is not None}
    if not nets:
        return _without_net(a, b, tolerance, run, on, trust)
    known, base = next(iter(nets.items()))
    running = run or on is not None
    sides = [(path, nets.get(path) or _opened(path, base, running, trust)) for path in (a, b)]
    for path, side in sides:
        if not isinstance(side, Model):
            outputs = compare_outputs(str(known), answers(base, on), side, tolerance)
            notes = tuple(_notes({known: base}, ()))
            return Difference(str(known), str(path), tolerance, outputs=outputs, notes=notes)
    first, second = (side for _, side in sides if isinstance(side, Model))
    found = replace(compare(first, second, tolerance), a=str(a), b=str(b))
    unrun = [path for path in (a, b) if path not in nets and (its := without_net(path)) and its.runner]
    if unrun:  # the layers are those of one net, lent to the other's weights
        found = replace(found, layers=0)
    found = replace(found, notes=tuple(_notes({a: first, b: second}, unrun)))
    return with_outputs(found, first, second, on) if running else found


def _notes(sides: Mapping[File, Model], unrun: Collection[File]) -> Iterator[str]:
    """What to know of each side."""
    for path, side in sides.items():
        if path in unrun:
            yield f"{path}: its graph was not run, only its weights are compared; --trust runs it"
        yield from (f"{path}: {warning}" for warning in warnings_of(side.plan))


def _opened(path: File, base: Model, running: bool, trust: bool) -> Model | Run:
    """A file without a net of its own, by the other's."""
    if path.kind is Kind.STATE_DICT:
        return model_of(read_pt(Path(path), base))
    if path.kind is Kind.HDF5:
        return model_of(with_weights(base.net, path))
    known = without_net(path)
    if known is None or not (known.runner or known.values):
        raise ReadError(f"{path}: defines no net, holds no values and does not run")
    if known.values is not None and (known.runner is None or not (running or trust)):
        return model_of(known.values(Path(path), base))
    assert known.runner is not None  # noqa: S101 (else it has values)
    _check_trust(path, known, trust)
    return known.runner(Path(path), base)


def _check_trust(path: File, known: Format, trust: bool) -> None:
    """Refuses to run what a stranger wrote."""
    if known.runs_code and not trust:
        problem = f"{path}: running a {known.name} runs whatever its author wrote"
        raise ReadError(f"{problem}; give --trust if you trust them{_INSTEAD.get(known.name, '')}")


def _without_net(
    a: File, b: File, tolerance: float, run: bool, on: str | PathLike[str] | None, trust: bool
) -> Difference:
    neither = f"neither {a} nor {b} defines a net"
    opens = [known for path in (a, b) if (known := without_net(path)) and known.open]
    if len(opens) == 2 and on is not None:
        first, second = (_run_alone(path, known, trust) for path, known in zip((a, b), opens, strict=True))
        outputs = compare_outputs(str(a), stored_answers(str(a), first, on), second, tolerance)
        return Difference(str(a), str(b), tolerance, outputs=outputs)
    if a.kind is not b.kind or a.kind not in (Kind.STATE_DICT, Kind.HDF5):
        own = "; two of ONNX or pt2 also run on the inputs of --on" if len(opens) == 2 else ""
        raise ReadError(f"{neither}; compare each with the file that it came from{own}")
    if run or on is not None:
        raise ReadError(f"{neither} to run; leave out --run and --on to compare their values")
    return _by_key(a, b, tolerance)


def _run_alone(path: File, known: Format, trust: bool) -> Run:
    _check_trust(path, known, trust)
    assert known.open is not None  # noqa: S101 (the caller looked)
    return known.open(Path(path))


def _by_key(a: File, b: File, tolerance: float) -> Difference:
    """The values of two files that have no more."""
    first, second = _values(a), _values(b)
    pairs = ((key, [blob], [second[key]]) for key, blob in first.items() if key in second)
    return Difference(
        str(a),
        str(b),
        tolerance,
        only_a=tuple(key for key in first if key not in second),
        only_b=tuple(key for key in second if key not in first),
        blobs=blob_rows(pairs, tolerance),
    )


def _values(path: File) -> Mapping[str, Blob]:
    """The tensors of a state dict by key, or the blobs of an HDF5 file by layer and place."""
    if path.kind is Kind.STATE_DICT:
        return read_state_dict(path)
    stored = read_caffemodel(path)
    blobs = {
        f"{layer.name}/{i}": stored.blobs[blob.index]
        for layer in stored.message.layer
        for i, blob in enumerate(layer.blobs)
    }
    return {place: blob for place, blob in blobs.items() if blob is not ABSENT}
