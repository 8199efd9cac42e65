"""What a report shows: a paper's table with what we measured of it, and the models that were scored.

TableReport ─ page ─→ HTML     publish writes all three
       ─ as_markdown ─→ Markdown
       ─ as_data ─→ JSON
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fcn_repro.data.datasets import Dataset
from fcn_repro.report.panels import Panel, read_panels
from fcn_repro.report.text import footnote
from fcn_repro.scoring.predict import PredictionFolder
from fcn_repro.scoring.result import Evaluation, HeadScores
from fcn_repro.tables.compare import Compared
from fcn_repro.tables.compare import as_data as table_data
from fcn_repro.tables.papers import Paper

PANELS = 6
"""How many images of a split are shown."""


@dataclass(frozen=True, eq=False)
class Section:
    """A model on a split: how it was measured, its scores and some of the images."""

    title: str
    about: str
    head: HeadScores
    panels: Sequence[Panel] = ()


@dataclass(frozen=True, eq=False)
class TableReport:
    """A paper's table with what we measured of it, `notes` on how, and a section for each model scored."""

    paper: Paper
    number: str
    compared: Sequence[Compared]
    notes: Sequence[str] = ()
    sections: Sequence[Section] = ()

    @property
    def footnotes(self) -> list[str]:
        """The notes on cells; a cell's note number is its place here, from 1."""
        return list(dict.fromkeys(said for cell in self.compared if (said := footnote(cell.finding))))

    @property
    def remarks(self) -> list[str]:
        """Our notes, and the paper's on its rows."""
        rows = self.paper.tables[self.number].rows
        return [*self.notes, *(f"{row.name}: {row.note}" for row in rows if row.note)]

    def rows(self) -> list[list[Compared | None]]:
        """The cells in the paper's own shape; None if it prints a dash."""
        table = self.paper.tables[self.number]
        cells = {(cell.row.name, cell.column): cell for cell in self.compared}
        return [[cells.get((row.name, column)) for column in table.columns.values()] for row in table.rows]

    def note_number(self, cell: Compared) -> int:
        """The number of a cell's footnote, 0 without one."""
        said = footnote(cell.finding)
        return self.footnotes.index(said) + 1 if said else 0

    def as_data(self) -> dict[str, Any]:
        """For JSON, without the images."""
        shown = [{"title": r.title, "about": r.about, **r.head.as_data()} for r in self.sections]
        return {
            **table_data(self.paper, self.number, self.compared),
            "notes": [*self.notes],
            "results": shown,
        }


def sections_of(evaluation: Evaluation, dataset: Dataset | None = None) -> list[Section]:
    """The sections of an evaluation, head by head, with images of `dataset` if predictions were saved.

    Raises MissingData and ReadError for images and predictions.
    """
    return [
        Section(_title(evaluation, name), _about(evaluation), head, _panels(evaluation, dataset, name))
        for name, head in evaluation.heads.items()
    ]


def _title(evaluation: Evaluation, head: str) -> str:
    labelling = f", {head}" if len(evaluation.heads) > 1 else ""
    return f"{evaluation.model} on {evaluation.dataset} {evaluation.split}{labelling}"


def _about(evaluation: Evaluation) -> str:
    processes = f", {evaluation.processes} processes" if evaluation.processes > 1 else ""
    return (
        f"{evaluation.images} images in {evaluation.seconds:.0f} s, {evaluation.precision}, "
        f"{evaluation.device}{processes}, {evaluation.date}: {evaluation.command}"
    )


def _panels(evaluation: Evaluation, dataset: Dataset | None, head: str) -> list[Panel]:
    saved = Path(evaluation.predictions)
    if dataset is None or not evaluation.predictions or not saved.is_dir():
        return []
    return read_panels(dataset, PredictionFolder(saved, dataset, tuple(evaluation.heads)), head, PANELS)
