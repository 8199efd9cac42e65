"""A paper's table -> its cells as ours | published | difference.

PaperTable ─ compare(measures) ─→ Compared, one per printed cell ─ exit_code ─→ 0, 1 or 3
        each measure: (Row, Column) -> Measured, or Missing with the command that would measure it
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from caffe2torch.errors import Caffe2TorchError, MissingData
from fcn_repro.tables.papers import Cell, Column, Paper, PaperTable, Row

TOLERANCES = {"published": 0.1, "trained": 0.6}
"""Points by which a score may differ: with published weights, half of the last printed digit and the
arithmetic; with newly trained weights, how far independent trainings differ (wkentaro/pytorch-fcn, #89)."""


class How(Enum):
    """Where our number comes from."""

    COMPUTED = "computed now"
    STORED = "stored run"


@dataclass(frozen=True)
class Measured:
    """Our number in the column's unit. `tolerance` is None if there is nothing to compare with.

    `whole` is False if some of the images are missing; `about` describes the circumstances.
    """

    value: float
    source: How
    about: str = ""
    tolerance: float | None = None
    whole: bool = True


@dataclass(frozen=True)
class Missing:
    """Why we have no number, and the command that would produce one, if any.

    `optional` marks what was not asked for, `never` what only others published.
    """

    reason: str
    command: str = ""
    optional: bool = False
    never: bool = False


Finding = Measured | Missing
Measure = Callable[[Row, Column], Finding]

BASELINE = Missing("published by others, not ours to measure", never=True)


@dataclass(frozen=True)
class Compared:
    """A printed cell with its row, its column, and what we found for it."""

    row: Row
    column: Column
    cell: Cell
    finding: Finding

    @property
    def ours(self) -> float | None:
        """Our number."""
        return self.finding.value if isinstance(self.finding, Measured) else None

    @property
    def difference(self) -> float | None:
        """Ours minus published; None if they are from different images."""
        return None if self.ours is None or self.column.elsewhere else round(self.ours - self.cell.value, 6)

    @property
    def within(self) -> bool | None:
        """Whether the difference is within the tolerance; None if that cannot be decided."""
        found = self.finding
        if not isinstance(found, Measured) or found.tolerance is None or not found.whole:
            return None
        if self.column.elsewhere:
            return None
        return abs(found.value - self.cell.value) <= found.tolerance + 1e-9


def compare(table: PaperTable, measures: Mapping[str, Measure]) -> tuple[Compared, ...]:
    """Every printed cell with what `measures`, by the column's measure, find for it.

    If a measure raises MissingData, the cell is Missing; other errors propagate.
    """
    return tuple(
        Compared(row, column, cell, _finding(row, column, measures))
        for row in table.rows
        for key, column in table.columns.items()
        if (cell := row.cells[key]) is not None
    )


def _finding(row: Row, column: Column, measures: Mapping[str, Measure]) -> Finding:
    if row.baseline:
        return BASELINE
    if column.measure is None or not row.measurable(column.measure):
        return Missing(f"not measurable here: {row.why}")
    try:
        return measures[column.measure](row, column)
    except MissingData as error:
        return Missing(str(error))


def exit_code(compared: Iterable[Compared]) -> int:
    """1 with a number outside its tolerance, 3 if data or weights are missing, else 0."""
    cells = [cell for cell in compared if cell.finding is not BASELINE]
    if any(cell.within is False for cell in cells):
        return Caffe2TorchError.exit_code
    missing = [c.finding for c in cells if isinstance(c.finding, Missing) and not c.finding.optional]
    partial = [c for c in cells if isinstance(c.finding, Measured) and not c.finding.whole]
    nothing = not any(isinstance(cell.finding, Measured) for cell in cells)
    return MissingData.exit_code if missing or partial or nothing else 0


def summary(compared: Iterable[Compared]) -> str:
    """How much was measured, in one line."""
    cells = [cell for cell in compared if cell.finding is not BASELINE]
    measured = [cell for cell in cells if cell.ours is not None]
    outside = sum(cell.within is False for cell in measured)
    partial = sum(isinstance(c.finding, Measured) and not c.finding.whole for c in measured)
    said = [f"{len(measured)} of {len(cells)} cells measured"]
    said += [f"{outside} outside the tolerance"] if outside else []
    said += [f"{partial} on some of the images"] if partial else []
    return ", ".join(said)


def as_data(paper: Paper, number: str, compared: Iterable[Compared]) -> dict[str, Any]:
    """The table for JSON, one entry per printed cell."""
    table = paper.tables[number]
    return {
        "paper": paper.title,
        "venue": paper.venue,
        "table": number,
        "title": table.title,
        "note": table.note,
        "cells": [_entry(cell) for cell in compared],
        "sources": cited(paper, table),
    }


def _entry(compared: Compared) -> dict[str, Any]:
    row, column, cell = compared.row, compared.column, compared.cell
    return {
        "row": row.name,
        "baseline": row.baseline,
        "note": row.note,
        "metric": column.metric,
        "unit": column.unit,
        "split": column.split,
        "published": cell.value,
        "printed": str(cell),
        "verified": cell.verified,
        "source": cell.source,
        "ours": compared.ours,
        "difference": compared.difference,
        "within": compared.within,
        **_said(compared.finding),
    }


def _said(finding: Finding) -> dict[str, Any]:
    if isinstance(finding, Measured):
        how, whole = finding.source.value, finding.whole
        return {
            "how": how,
            "whole": whole,
            "tolerance": finding.tolerance,
            "about": finding.about,
            "command": "",
        }
    return {
        "how": None,
        "whole": None,
        "tolerance": None,
        "about": finding.reason,
        "command": finding.command,
    }


def cited(paper: Paper, table: PaperTable) -> dict[str, str]:
    """The sources of the table's cells, in the paper's order."""
    codes = {code for cell in table.cells for code in cell.source}
    return {code: meaning for code, meaning in paper.sources.items() if code in codes}
