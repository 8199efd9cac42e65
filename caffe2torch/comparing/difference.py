"""What differs between two models, as data, and as text with the largest differences first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np

from caffe2torch.modules.report import Report, share_text
from caffe2torch.net.text import aligned, shape_text

MAX_LINES = 20
"""Lines of one table in the text; `as_dict` has them all."""


@dataclass(frozen=True)
class Change:
    """Something that a layer has in both nets but that is not the same, as text."""

    layer: str
    what: str
    """A parameter such as `convolution_param.stride`, or "type", "reads", "shape", "mean", "blobs"."""
    a: str
    b: str


@dataclass(frozen=True)
class BlobRow:
    """One blob of both nets."""

    layer: str
    blob: int
    shape: tuple[int, ...]
    other: tuple[int, ...]
    """Its shape in B."""
    max_delta: float | None
    """max |delta|; None if the two cannot be compared."""
    where: tuple[int, ...]
    relative: float | None
    """max |delta| over the largest |value| in A: it shows one changed weight among millions."""
    ok: bool
    problem: str = ""


@dataclass(frozen=True)
class Difference:
    """The comparison of two models; its text begins with the largest differences and ends in a summary."""

    a: str
    b: str
    tolerance: float
    layers: int = 0
    """How many layers both have, by name; 0 if only outputs were compared."""
    only_a: tuple[str, ...] = ()
    """Layers, with their types."""
    only_b: tuple[str, ...] = ()
    changes: tuple[Change, ...] = ()
    blobs: tuple[BlobRow, ...] = ()
    """Every blob of the layers that both have, the largest relative difference first."""
    outputs: Report | None = None
    """None if they were not asked for."""
    notes: tuple[str, ...] = ()
    """What was not compared, or is odd in one of the two."""

    @cached_property
    def same(self) -> bool:
        """Whether nothing differs except values within the tolerance."""
        differ = self.only_a or self.only_b or self.changes or not all(row.ok for row in self.blobs)
        return not differ and (self.outputs is None or self.outputs.ok)

    def as_dict(self) -> dict[str, Any]:
        """The comparison for JSON; numbers that JSON lacks are null."""
        blobs = [
            {name: None if value in (np.inf, -np.inf) else value for name, value in asdict(row).items()}
            for row in self.blobs
        ]
        outputs = None if self.outputs is None else self.outputs.as_dict()
        rest = {name: getattr(self, name) for name in ("a", "b", "same", "tolerance", "layers")}
        more = {"only_a": self.only_a, "only_b": self.only_b, "changes": list(map(asdict, self.changes))}
        return {**rest, **more, "blobs": blobs, "outputs": outputs, "notes": self.notes}

    def __str__(self) -> str:
        parts = [f"A  {self.a}\nB  {self.b}", *self._parts(), self.summary()]
        return "\n\n".join(part for part in parts if part)

    def _parts(self) -> Iterator[str]:
        for side, layers in (("A", self.only_a), ("B", self.only_b)):
            yield _table([(f"only in {side}", layer) for layer in layers])
        changes = [(change.layer, change.what, change.a, change.b) for change in self.changes]
        yield _table(changes, ("layer", "what", "A", "B"))
        differing = [row for row in self.blobs if row.max_delta != 0]
        head = ("layer", "blob", "shape", "max |delta|", "at", "relative", "")
        yield _table([_cells(row) for row in differing], head, right=(3, 5))
        yield f"outputs of B against those of A\n{self.outputs}" if self.outputs is not None else ""
        yield "\n".join(self.notes)

    def summary(self) -> str:
        """One line: what differs, and where most."""
        failed = [row for row in self.blobs if not row.ok]
        outputs = () if self.outputs is None else self.outputs.rows
        wrong = [row for row in outputs if not row.ok]
        if self.same:
            exact = sum(row.max_delta == 0 for row in self.blobs)
            shown = [f"{self.layers} layers"] if self.layers else []
            shown += [f"{exact} of {len(self.blobs)} blobs equal"] if self.blobs else []
            shown += [f"{len(outputs)} outputs"] if outputs else []
            return f"the same within {self.tolerance:g}: {', '.join(shown)}"
        counts = {
            "layers only in A": str(len(self.only_a) or ""),
            "layers only in B": str(len(self.only_b) or ""),
            "parameters": str(len(self.changes) or ""),
            "blobs": f"{len(failed)} of {len(self.blobs)}, most in {failed[0].layer}" if failed else "",
            "outputs": f"{len(wrong)} of {len(outputs)}{self._labels()}" if wrong else "",
        }
        return f"B differs from A; {'; '.join(f'{what}: {n}' for what, n in counts.items() if n)}"

    def _labels(self) -> str:
        share = None if self.outputs is None else self.outputs.labels
        return "" if share is None else f", {share_text(share)} of labels equal"


def _cells(row: BlobRow) -> tuple[str, ...]:
    numbers = ["" if x is None else f"{x:.1e}" for x in (row.max_delta, row.relative)]
    where = str(row.where) if row.where else ""
    verdict = ("" if row.ok else "differs") + (f": {row.problem}" if row.problem else "")
    return row.layer, str(row.blob), shape_text(row.shape), numbers[0], where, numbers[1], verdict


def _table(rows: Sequence[Sequence[str]], head: Sequence[str] = (), right: Sequence[int] = ()) -> str:
    """The first rows, under their heads; empty without any."""
    left = len(rows) - MAX_LINES
    more = [f"... and {left} more"] if left > 0 else []
    return "\n".join([*aligned([*[head] * bool(head), *rows[:MAX_LINES]], right), *more]) if rows else ""
