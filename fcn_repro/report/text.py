"""A compared table for the terminal: one line per printed cell, with reasons and commands in notes below."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import NamedTuple

from fcn_repro.tables.compare import BASELINE, Compared, Finding, Measured, cited
from fcn_repro.tables.papers import Cell, Paper

UNVERIFIED, OUTSIDE = "?", "!"
LEGEND = {
    UNVERIFIED: "not verified: quoted from memory, not seen in the paper",
    OUTSIDE: "outside the tolerance",
}


class _Line(NamedTuple):
    name: str
    metric: str
    on: str
    ours: str
    published: str
    difference: str
    how: str


_HEAD = _Line("", *_Line._fields[1:])
_RIGHT = ("ours", "published", "difference")


def as_text(paper: Paper, number: str, compared: Sequence[Compared], notes: Sequence[str] = ()) -> str:
    """The table with its notes, marks and sources explained; `notes` are ours on how it was measured."""
    table = paper.tables[number]
    footnotes = list(dict.fromkeys(said for cell in compared if (said := footnote(cell.finding))))
    lines = [_HEAD]
    for _, cells in groupby(compared, key=lambda cell: cell.row.name):
        lines += [_line(cell, footnotes, named=not i) for i, cell in enumerate(cells)]
    marks = {mark(cell.cell) for cell in compared} | {OUTSIDE for cell in compared if cell.within is False}
    legend = [f"{sign}: {meaning}" for sign, meaning in LEGEND.items() if sign in marks]
    legend += [f"{code}: {meaning}" for code, meaning in cited(paper, table).items()]
    parts = [
        f"{paper.venue}, Table {number}: {table.title}",
        table.note,
        _aligned(lines),
        "\n".join(f"[{i}] {said}" for i, said in enumerate(footnotes, start=1)),
        "\n".join(notes),
        "\n".join(f"{row.name}: {row.note}" for row in table.rows if row.note),
        "\n".join(legend),
    ]
    return "\n\n".join(part for part in parts if part)


def footnote(finding: Finding) -> str:
    """The note on a number, or on its absence."""
    if isinstance(finding, Measured):
        return finding.about
    if finding is BASELINE:
        return ""
    return f"{finding.reason}\n      {finding.command}" if finding.command else finding.reason


def mark(cell: Cell) -> str:
    """The sign next to a published value."""
    return "" if cell.verified else UNVERIFIED


def ours_text(compared: Compared) -> str:
    """Our number, or "-": scores have one digit more than the papers print."""
    if compared.ours is None:
        return "-"
    return f"{compared.ours:.2f}" if compared.column.unit == "%" else f"{round(compared.ours, 1):g}"


def difference_text(compared: Compared) -> str:
    """The difference with its sign, and a mark if it is outside the tolerance."""
    if compared.difference is None:
        return "-"
    if not compared.difference:
        return "0"
    outside, percent = OUTSIDE if compared.within is False else "", compared.column.unit == "%"
    number = f"{compared.difference:+.2f}" if percent else f"{round(compared.difference, 1):+g}"
    return f"{outside}{number}"


def how_text(compared: Compared) -> str:
    """Where our number comes from, or why there is none."""
    found = compared.finding
    if found is BASELINE:
        return "baseline"
    if not isinstance(found, Measured):
        return "not asked for" if found.optional else "not measured"
    return found.source.value if found.whole else f"{found.source.value}, in part"


def _line(compared: Compared, footnotes: list[str], named: bool) -> _Line:
    said = footnote(compared.finding)
    number = f" [{footnotes.index(said) + 1}]" if said else ""
    return _Line(
        name=compared.row.name if named else "",
        metric=f"{compared.column.metric}, {compared.column.unit}",
        on=compared.column.split,
        ours=ours_text(compared),
        published=f"{compared.cell} {mark(compared.cell) or ' '}",
        difference=difference_text(compared),
        how=how_text(compared) + number,
    )


def _aligned(lines: list[_Line]) -> str:
    """The lines in columns, numbers right-aligned and all else left-aligned."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    justify = [str.rjust if field in _RIGHT else str.ljust for field in _Line._fields]
    return "\n".join(
        "  ".join(just(text, width) for just, text, width in zip(justify, line, widths, strict=True)).rstrip()
        for line in lines
    )
