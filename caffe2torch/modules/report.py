"""A model against what Caffe computed: a Report, blob by blob, with numbers."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict, dataclass
from os import PathLike
from typing import TYPE_CHECKING, Any

import numpy as np

from caffe2torch._torch import torch
from caffe2torch.blob import Array
from caffe2torch.errors import NetError, VerificationFailed
from caffe2torch.net.text import aligned
from caffe2torch.untrusted.npz import _Arrays

if TYPE_CHECKING:
    from torch import Tensor, nn

_SPLIT = re.compile(r"(.+)_\d+_split_\d+")  # insert_splits.cpp, SplitBlobName


@dataclass(frozen=True)
class BlobError:
    """One blob of one set: how far the model is from the reference."""

    set: str
    """The number in front of the array's name in the reference; empty if there is none."""
    blob: str
    shape: tuple[int, ...]
    max_delta: float | None
    """max |delta|; None if the two cannot be compared."""
    where: tuple[int, ...]
    relative: float | None
    """The norm of the difference divided by the norm of the reference."""
    ok: bool
    problem: str = ""
    labels: float | None = None
    """The share of pixels where both score the same class highest; None if that was not compared."""


@dataclass(frozen=True)
class Report:
    """The comparison of a model with a reference."""

    reference: str
    tolerance: float
    rows: tuple[BlobError, ...]

    @property
    def ok(self) -> bool:
        """Whether every blob is within the tolerance."""
        return all(row.ok for row in self.rows)

    @property
    def worst(self) -> float:
        """The largest relative error of all blobs, 0 without any; infinite if one cannot be compared."""
        errors = (math.inf if row.relative is None else row.relative for row in self.rows)
        return max(errors, default=0.0)

    @property
    def labels(self) -> float | None:
        """The least share of equal labels of all blobs that are scores; None if there is none."""
        return min((row.labels for row in self.rows if row.labels is not None), default=None)

    def to_json(self) -> str:
        """The report as a JSON object; infinities and NaN are null."""
        return json.dumps(self.as_dict())

    def as_dict(self) -> dict[str, Any]:
        """The report for JSON."""
        rows = [{name: _plain(value) for name, value in asdict(row).items()} for row in self.rows]
        return {"reference": self.reference, "tolerance": self.tolerance, "ok": self.ok, "rows": rows}

    def __str__(self) -> str:
        return side_by_side({"": self})


def verify(model: nn.Module, reference: str | PathLike[str], tolerance: float = 1e-5) -> Report:
    """Runs a model on the inputs of a reference and compares each blob stored in it.

    The reference is an .npz with arrays `in.<blob>`, `out.<blob>`, `blob.<blob>`, or several sets of them:
    `0.in.<blob>`, `1.in.<blob>`, ... A blob passes if ‖delta‖ / ‖reference‖ is at most `tolerance`, a
    blob of integers only if it is equal; NaN matches NaN. The model runs in eval mode; its mode is restored.

    Raises MissingData if there is no file, ReadError if it is damaged or has no inputs, VerificationFailed if
    the model cannot run on an input.
    """
    arrays = _Arrays(reference)
    rows = [row for key in arrays.sets for row in _compare_set(model, arrays, key, tolerance)]
    return Report(str(reference), tolerance, tuple(rows))


def _compare_set(model: nn.Module, arrays: _Arrays, key: str, tolerance: float) -> Iterator[BlobError]:
    inputs = dict(arrays.of(key, "in"))
    try:
        found = _run(model, inputs)
    except (NetError, RuntimeError) as error:
        if isinstance(error, NetError) and set(inputs) != set(getattr(model, "inputs", inputs)):
            raise  # the reference belongs to another net
        shapes = ", ".join(f"{blob} {array.shape}" for blob, array in inputs.items())
        raise VerificationFailed(
            f"{arrays.path}: the net does not run on {shapes}: {_first_line(error)}"
        ) from None
    roles = ("out", "blob") if hasattr(model, "every_blob") else ("out",)
    for blob, wanted in arrays.of(key, *roles):
        tensor = found.get(_own_name(blob, found))
        yield compare_blob(key, blob, wanted, None if tensor is None else tensor.cpu().numpy(), tolerance)


def _own_name(blob: str, found: Collection[str]) -> str:
    """The model's name for a blob; one that a Split made, such as pool4_pool4_0_split_1, is pool4 itself."""
    if blob in found:
        return blob
    split = _SPLIT.fullmatch(blob)
    sources = [name for name in found if split and f"{split[1]}_".startswith(f"{name}_")]
    # A module with a single output may return it without a name.
    return max(sources, key=len, default="")


def _run(model: nn.Module, inputs: Mapping[str, Array]) -> dict[str, Tensor]:
    """A model's blobs by name; its outputs if it has no `every_blob`."""
    device = next((parameter.device for parameter in model.parameters()), None)
    given = {blob: torch.from_numpy(array.astype(np.float32)).to(device) for blob, array in inputs.items()}
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            found = getattr(model, "every_blob", model)(**given)
    finally:
        model.train(was_training)
    return found if isinstance(found, dict) else {"": found}


def compare_blob(key: str, blob: str, wanted: Array, found: Array | None, tolerance: float) -> BlobError:
    """Compares a blob with what it should be."""

    def row(
        problem: str, delta: float | None = None, where: tuple[int, ...] = (), error: float | None = None
    ) -> BlobError:
        return BlobError(key, blob, wanted.shape, delta, where, error, not problem, problem)

    if found is None:
        return row("the model has no such blob")
    if found.shape != wanted.shape:
        return row(f"the model's is {found.shape}")
    if wanted.size == 0:
        return row("", 0.0, (), 0.0)
    delta = deltas(found, wanted)
    where = tuple(map(int, np.unravel_index(int(delta.argmax()), delta.shape)))
    largest = float(delta.max())
    error = _relative(delta, wanted)
    if largest if wanted.dtype.kind in "iub" else error > tolerance:
        return row(f"{largest:.1e} at {where}", largest, where, error)
    return row("", largest, where, error)


def deltas(found: Array, wanted: Array) -> Array:
    """|found - wanted| in float64: 0 where both are the same infinity or NaN, infinite where only one is."""
    a, b = found.astype(np.float64), wanted.astype(np.float64)
    with np.errstate(invalid="ignore"):
        delta = np.asarray(np.abs(a - b))
    delta[np.isnan(delta)] = np.inf
    delta[(a == b) | (np.isnan(a) & np.isnan(b))] = 0
    return delta


def _relative(delta: Array, wanted: Array) -> float:
    norm = float(np.linalg.norm(wanted[np.isfinite(wanted)].astype(np.float64)))
    error = float(np.linalg.norm(delta))
    return error / norm if norm else (0.0 if error == 0 else math.inf)


def side_by_side(reports: Mapping[str, Report]) -> str:
    """The reports of several models, by name, on one reference, as one table."""
    first = next(iter(reports.values()))
    numbers = [text for name in reports for text in (f"{name} max |delta|".strip(), "relative")]
    labels = ("equal labels",) * any(report.labels is not None for report in reports.values())
    lines = [("set", "blob", "shape", *numbers, *labels, "")]
    for rows in zip(*(report.rows for report in reports.values()), strict=True):
        shape = f"({', '.join(map(str, rows[0].shape))})"
        verdicts = [
            f"FAIL {name}".strip() + f": {row.problem}"
            for name, row in zip(reports, rows, strict=True)
            if not row.ok
        ]
        cells = [text for row in rows for text in (_number(row.max_delta), _number(row.relative))]
        cells += [share_text(rows[0].labels) for _ in labels]
        lines.append((rows[0].set, rows[0].blob, shape, *cells, "; ".join(verdicts) or "ok"))
    failed = len(lines) - 1 - sum(line[-1] == "ok" for line in lines)
    verdict = f"{failed} of {len(lines) - 1} blobs fail" if failed else f"all {len(lines) - 1} blobs pass"
    table = aligned(lines, right=range(3, len(lines[0]) - 1))
    return "\n".join((*table, f"{verdict}; relative error allowed: {first.tolerance:g}"))


def share_text(share: float | None) -> str:
    """A share in percent; only all of it is 100 %."""
    return "" if share is None else f"{math.floor(1e4 * share) / 100:.2f} %"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.1e}"


def _plain(value: object) -> object:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _first_line(error: Exception) -> str:
    return str(error).split("\n", 1)[0]
