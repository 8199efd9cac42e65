"""A written file, loaded afresh, compared with what it was written from.

- read back: the definition is equal, and so is every blob, bit for bit or up to rounding; no torch
- run: the outputs for random inputs of two sizes (trial.py) are those of our model
"""

from __future__ import annotations

import ctypes
import dataclasses
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from caffe2torch._torch import torch
from caffe2torch.blob import Array, Blob
from caffe2torch.errors import MissingData, VerificationFailed
from caffe2torch.modules.report import BlobError, Report, compare_blob
from caffe2torch.net import Layer, Net
from caffe2torch.plan import plan
from caffe2torch.writing.model import Model

if TYPE_CHECKING:
    from torch import Tensor

    from caffe2torch.writing.format import Format, Run
    from caffe2torch.writing.trial import Blobs

TOLERANCES = {"float32": 1e-5, "float16": 1e-2, "bfloat16": 1e-1}
"""Relative error allowed in outputs, by the dtype of the parameters."""
ELSEWHERE = 1e-4
"""Relative error allowed in engines that are to check a file in; some compute with other algorithms."""
_ROUNDING = {"float16": (2.0**-11, 2.0**-25), "bfloat16": (2.0**-8, 2.0**-134)}
"""Half a unit in the last place: relative, and absolute for the smallest values."""

PIECE = 1 << 18
"""Values compared at a time; bounds the memory used."""


@dataclass(frozen=True)
class Check:
    """The result for a written file that passed."""

    format: str
    dtype: str
    blobs: int | None = None
    """How many blobs were read back; None where the file was only run."""
    values: int = 0
    sizes: tuple[str, ...] = ()
    """The inputs that it was run on."""
    report: Report | None = None
    """The outputs: a row for each output and size."""
    engines: Mapping[str, Report] = dataclasses.field(default_factory=dict)
    """The outputs in further engines, by their names."""

    def __str__(self) -> str:
        parts = [] if self.blobs is None else [self._read()]
        return ", ".join([self.format, *parts, *self._ran(), *self._ran_elsewhere()])

    def _read(self) -> str:
        same = "bit for bit" if self.dtype == "float32" else f"up to the rounding of {self.dtype}"
        blobs = f"{self.blobs} blobs of {self.values:,} values equal {same}" if self.blobs else "equal"
        return f"read back: {blobs}"

    def _ran(self) -> Iterator[str]:
        if self.report is not None:
            delta = max((row.max_delta or 0 for row in self.report.rows), default=0)
            allowed = f"(allowed {self.report.tolerance:g})"
            yield f"run on {' and '.join(self.sizes)}"
            yield f"max |delta| {delta:.1e}, relative {self.report.worst:.1e} {allowed}"

    def _ran_elsewhere(self) -> Iterator[str]:
        for engine, report in self.engines.items():
            yield f"in {engine} {report.worst:.1e} (allowed {report.tolerance:g})"

    def facts(self) -> dict[str, Any]:
        """The check for JSON."""
        read = None if self.blobs is None else {"blobs": self.blobs, "values": self.values}
        ran = None if self.report is None else {"sizes": self.sizes, **self.report.as_dict()}
        engines = {engine: report.as_dict() for engine, report in self.engines.items()}
        return {"format": self.format, "dtype": self.dtype, "read": read, "run": ran, "engines": engines}


def check(model: Model, written: Format, path: Path, dtype: str, run: bool = False) -> Check:
    """Loads the file at `path` afresh and compares it with the model.

    It is read back if the format can be, and run if it cannot, or with `run`; and run in the engines that the
    model's `engine` says to check in. Raises VerificationFailed for a file that differs or does not load;
    NetError for a net that does not run on random inputs; MissingData if a package that loads it is not
    installed.
    """
    done = Check(written.name, dtype)
    if run or written.read is None:
        sizes = tuple(map(str, model.trials.trials))
        with _loading(path):
            runner = loaded(written, path, model)
        done = replace(done, sizes=sizes, report=_ran(model, runner, path.name, TOLERANCES[dtype]))
    engines = {name: _ran_in(name, model, written, path) for name in model.engine.check_in}
    if written.read is not None:
        with _loading(path):
            found = written.read(path, model)
        blobs, values = compare(written.holds(model), found, dtype, path.name)
        done = replace(done, blobs=blobs, values=values)
    return replace(done, engines=engines)


def _ran_in(engine: str, model: Model, written: Format, path: Path) -> Report:
    """The outputs of a written file in another engine, compared with those of our model."""
    name = f"{path.name} in {engine}"
    with _printing_to_stderr():
        with _loading(path, name, "" if model.engine.size else "; it may need a --size HxW"):
            run = written.check_in[engine].open(path, tuple(model.plan.inputs), tuple(model.plan.outputs))
        return _ran(model, run, name, ELSEWHERE)


@contextmanager
def _printing_to_stderr() -> Iterator[None]:
    """Has libraries print there what they print, also those in C++: our own output may be JSON."""
    flush = ctypes.CDLL(None).fflush
    sys.stdout.flush()
    flush(None)
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        yield
    finally:
        flush(None)
        os.dup2(kept, 1)
        os.close(kept)


@contextmanager
def _loading(path: Path, name: str = "", hint: str = "") -> Iterator[None]:
    """Turns whatever keeps a file from loading, in any library, into a failed verification of `name`."""
    try:
        yield
    except MissingData:
        raise
    except Exception as error:
        problem = str(error).replace(str(path), path.name).removeprefix(f"{path.name}: ").split("\n", 1)[0]
        raise _failed(name or path.name, f"what was written does not load: {problem}{hint}") from error


def _failed(name: str, problem: str) -> VerificationFailed:
    return VerificationFailed(f"{name}: {problem}; nothing was written")


def compare(wanted: Net, found: Net, dtype: str, name: str) -> tuple[int, int]:
    """How many blobs and values two equal nets have. Raises VerificationFailed if they differ."""
    names = [[layer.name for layer in net.layers] for net in (wanted, found)]
    if names[0] != names[1] or wanted.name != found.name:
        raise _failed(name, f"holds net {found.name!r} of {names[1]}, not {wanted.name!r} of {names[0]}")
    blobs = values = 0
    for layer, twin in zip(wanted.layers, found.layers, strict=True):
        if problem := _difference(layer, twin, dtype):
            raise _failed(name, f"layer {layer.name!r} {problem}")
        blobs, values = blobs + len(layer.blobs), values + sum(blob.count for blob in layer.blobs)
    return blobs, values


def loaded(written: Format, path: Path, model: Model) -> Run:
    """A written file as a function, loaded afresh."""
    from caffe2torch.modules.caffe_net import CaffeNet

    if written.runner is not None:
        return written.runner(path, model)
    assert written.read is not None  # noqa: S101 (a format has one of the two)
    return as_function(CaffeNet(plan(written.read(path, model))))


def as_function(model: Callable[..., Mapping[str, Tensor]]) -> Run:
    """A torch function from inputs to outputs, both by blob name, as one that takes and returns arrays."""

    def run(inputs: Blobs) -> Blobs:
        with torch.no_grad():
            outputs = model(**{blob: torch.from_numpy(np.array(array)) for blob, array in inputs.items()})
        return {blob: tensor.numpy() for blob, tensor in outputs.items()}

    return run


def _difference(layer: Layer, twin: Layer, dtype: str) -> str:
    """What differs between two layers; empty when nothing does."""
    for field in ("type", "bottoms", "tops", "fields"):
        wanted, found = getattr(layer, field), getattr(twin, field)
        if wanted != found:
            return f"has {field} {found}, not {wanted}"
    if [blob.shape for blob in layer.blobs] != [blob.shape for blob in twin.blobs]:
        return f"has blobs of {[b.shape for b in twin.blobs]}, not {[b.shape for b in layer.blobs]}"
    for position, (blob, other) in enumerate(zip(layer.blobs, twin.blobs, strict=True)):
        if problem := _blob_difference(blob, other, dtype):
            return f"blob {position} {problem}"
    return ""


def _blob_difference(wanted: Blob, found: Blob, dtype: str) -> str:
    if wanted.values is None or found.values is None:
        return "" if wanted.has_data == found.has_data else "has values in only one of the two"
    ours, theirs = wanted.values(), found.values()
    if ours.size != theirs.size:
        return f"holds {theirs.size} values, not {ours.size}"
    for start in range(0, ours.size, PIECE):
        a, b = ours[start : start + PIECE], theirs[start : start + PIECE]
        if not _same(a, b, dtype):
            with np.errstate(invalid="ignore"):
                delta = np.nan_to_num(np.abs(b.astype(float) - a), nan=np.inf).max()
            return f"differs by up to {delta:.1e} from what should have been written"
    return ""


def _same(wanted: Array, found: Array, dtype: str) -> bool:
    """Whether values are equal bit for bit, or up to the rounding of a shorter dtype."""
    if dtype == "float32":
        ours, theirs = (np.ascontiguousarray(values, "<f4").view("<u4") for values in (wanted, found))
        return np.array_equal(ours, theirs)
    relative, absolute = _ROUNDING[dtype]
    with np.errstate(invalid="ignore"):  # infinity minus infinity
        near = np.abs(found.astype(float) - wanted) <= np.maximum(np.abs(wanted) * relative, absolute)
    return bool((near | (found == wanted) | (np.isnan(found) & np.isnan(wanted))).all())


def _ran(model: Model, run: Run, name: str, tolerance: float) -> Report:
    """The outputs of a written file compared with those of our model."""
    rows: list[BlobError] = []
    for trial in model.trials.trials:
        try:
            found = run(trial.inputs)
        except Exception as error:  # whichever library runs it
            line = str(error).split("\n", 1)[0]
            raise _failed(name, f"does not run on {trial}: {line}") from error
        rows += (
            compare_blob(str(trial), blob, wanted, found.get(blob), tolerance)
            for blob, wanted in trial.outputs.items()
        )
    for row in rows:
        if not row.ok:
            relative = "" if row.relative is None else f", relative {row.relative:.1e}, allowed {tolerance:g}"
            problem = f"output {row.blob!r} for {row.set} is not the model's: {row.problem}{relative}"
            raise _failed(name, problem)
    return Report(name, tolerance, tuple(rows))
