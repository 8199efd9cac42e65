"""Scores that others stated or measured for published weights, as a table to compare an evaluation with."""

from __future__ import annotations

from typing import NamedTuple

from fcn_repro.fetching.zoo import Score, zoo
from fcn_repro.scoring.result import Evaluation
from fcn_repro.tables.compare import TOLERANCES, Compared, Finding, How, Measured, compare
from fcn_repro.tables.papers import SCORES, Cell, Column, Paper, PaperTable, Row, papers
from fcn_repro.workspace import count

NUMBER = "of stated scores"


class Stated(NamedTuple):
    """The table as a paper's, its number there, and its cells; no rows if nothing is stated."""

    paper: Paper
    number: str
    compared: tuple[Compared, ...]


def stated(evaluation: Evaluation) -> Stated:
    """The scores that zoo.toml has for an evaluation's model on its split, with a row for each source."""
    model, images = zoo().models.get(evaluation.model), f"{evaluation.dataset}/{evaluation.split}"
    columns = {column.metric: column for column in _columns(images)}
    names = {column.split for column in columns.values()}
    scores = [s for s in model.scores if s.split in names and s.metric in columns] if model else []
    rows = tuple(_row(code, evaluation.model, columns, scores) for code in {s.source: None for s in scores})
    title = f"{evaluation.model} on {evaluation.dataset} {evaluation.split}"
    note = "No scores are stated for this model on these images." if model and not rows else ""
    table = PaperTable(title, columns if rows else {}, rows, note)
    paper = Paper(model.title if model else title, "the model zoo", zoo().sources, {NUMBER: table})

    def ours(row: Row, column: Column) -> Finding:
        assert column.measure is not None  # noqa: S101 (all columns are scores)
        value = evaluation.scores.percent()[column.measure]
        whole = count(images) in (None, evaluation.images)
        return Measured(value, How.COMPUTED, tolerance=TOLERANCES["published"], whole=whole)

    measures = {column.measure: ours for column in columns.values() if column.measure}
    return Stated(paper, NUMBER, compare(table, measures))


def _columns(images: str) -> list[Column]:
    """The four scores on NAME/SPLIT, as the papers call them."""
    tables = (table for paper in papers().values() for table in paper.tables.values())
    found = (column for table in tables for column in table.columns.values())
    return [column for column in found if column.on == images and column.measure in SCORES]


def _row(code: str, model: str, columns: dict[str, Column], scores: list[Score]) -> Row:
    said = {score.metric: score.percent for score in scores if score.source == code}
    cells = {key: Cell(said[key], (code,), verified=True) if key in said else None for key in columns}
    return Row(code, cells, model=model)
