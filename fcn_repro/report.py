"""A paper's table as ours | published | difference, cell by cell, for the terminal and as plain data."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from typing import Any, NamedTuple

from fcn_repro.papers import Cell, Column, Paper, Row, Table

NOT_MEASURED = "not measured"
WHY = "this version of fcn-repro evaluates no model yet"
UNVERIFIED, CORROBORATED = "?", "~"
LEGEND = {
    UNVERIFIED: "not verified: quoted from memory, not seen in the paper",
    CORROBORATED: "from memory, matched by independent numbers",
}


class _Line(NamedTuple):
    name: str
    metric: str
    on: str
    ours: str
    published: str
    difference: str
    source: str


_HEAD = _Line("", *_Line._fields[1:])


def as_text(paper: Paper, number: str) -> str:
    """The table, one line per published cell, with its notes, marks and sources explained."""
    table = paper.tables[number]
    lines = [_HEAD]
    for _, places in groupby(_places(table), key=lambda place: place[0].name):
        lines += [_line(*place)._replace(**({"name": ""} if i else {})) for i, place in enumerate(places)]
    notes = [f"{row.name}: {row.note}" for row in table.rows if row.note]
    marks = {_mark(cell) for cell in table.cells}
    legend = [f"{mark}: {meaning}" for mark, meaning in LEGEND.items() if mark in marks]
    sources = [f"{code}: {meaning}" for code, meaning in _cited(paper, table).items()]
    title = f"{paper.venue}, Table {number}: {table.title}"
    parts = [title, table.note, _aligned(lines), "\n".join(notes), "\n".join(legend + sources)]
    return "\n\n".join(part for part in parts if part)


def as_data(paper: Paper, number: str) -> dict[str, Any]:
    """The table for JSON, one entry per published cell; `ours` is None, and `why` says why."""
    table = paper.tables[number]
    return {
        "paper": paper.title,
        "venue": paper.venue,
        "table": number,
        "title": table.title,
        "note": table.note,
        "cells": [_entry(*place) for place in _places(table)],
        "sources": _cited(paper, table),
    }


def summary(table: Table) -> str:
    """How much of the table was measured, in one line."""
    return f"0 of {len(table.cells)} cells measured: {WHY}"


def _places(table: Table) -> Iterator[tuple[Row, Column, Cell]]:
    for row in table.rows:
        for key, column in table.columns.items():
            if cell := row.cells[key]:
                yield row, column, cell


def _line(row: Row, column: Column, cell: Cell) -> _Line:
    return _Line(
        name=f"{row.name} (baseline)" if row.baseline else row.name,
        metric=f"{column.metric}, {column.unit}",
        on=column.split,
        ours=NOT_MEASURED,
        published=f"{cell} {_mark(cell) or ' '}",
        difference="-",
        source=", ".join(cell.source + cell.corroborated),
    )


def _entry(row: Row, column: Column, cell: Cell) -> dict[str, Any]:
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
        "corroborated": cell.corroborated,
        "ours": None,
        "difference": None,
        "why": f"{NOT_MEASURED}: {WHY}",
    }


def _mark(cell: Cell) -> str:
    if not cell.verified:
        return UNVERIFIED
    return CORROBORATED if cell.corroborated else ""


def _cited(paper: Paper, table: Table) -> dict[str, str]:
    """The sources of the table's cells, in the paper's order."""
    cited = {code for cell in table.cells for code in (*cell.source, *cell.corroborated)}
    return {code: meaning for code, meaning in paper.sources.items() if code in cited}


def _aligned(lines: list[_Line]) -> str:
    """The lines in columns, `published` to the right and all others to the left."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    justify = [str.rjust if field == "published" else str.ljust for field in _Line._fields]
    return "\n".join(
        "  ".join(just(text, width) for just, text, width in zip(justify, line, widths, strict=True)).rstrip()
        for line in lines
    )
