"""A compared table as Markdown, in the paper's own shape."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from fcn_repro.report.report import Section, TableReport
from fcn_repro.report.scores import SCORES, averaged_over
from fcn_repro.report.text import LEGEND, difference_text, mark, ours_text
from fcn_repro.tables.compare import BASELINE, Compared, cited, summary


def as_markdown(report: TableReport) -> str:
    """The table with its notes, and the scores by class of each result."""
    table = report.paper.tables[report.number]
    parts = [
        f"# {_plain(table.title)}",
        *(_comparison(report) if table.rows else [_plain(table.note)]),
        _listed(report.remarks),
        *_legend(report),
        *(_section(section, titled=section.title != table.title) for section in report.sections),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _comparison(report: TableReport) -> list[str]:
    """What was measured, and the table with its footnotes."""
    table = report.paper.tables[report.number]
    titles = [_plain(f"{c.metric}, {c.unit}; {c.split}".removesuffix("; -")) for c in table.columns.values()]
    rows = [
        [_plain(row.name), *(_cell(report, cell) for cell in cells)]
        for row, cells in zip(table.rows, report.rows(), strict=True)
    ]
    return [
        f"{_plain(report.paper.title)}, {_plain(report.paper.venue)}, Table {report.number}: "
        f"{summary(report.compared)}. Each cell: **ours** \\| published \\| difference.",
        _plain(table.note),
        _table(["", *titles], rows),
        "\n".join(f"{i}. {_note(said)}" for i, said in enumerate(report.footnotes, start=1)),
    ]


def _legend(report: TableReport) -> list[str]:
    """The signs and sources that the table's cells have."""
    signs = {mark(cell.cell) for cell in report.compared}
    sources = cited(report.paper, report.paper.tables[report.number])
    return [
        _listed([f"{sign}: {meaning}" for sign, meaning in LEGEND.items() if sign in signs]),
        _listed([f"{code}: {meaning}" for code, meaning in sources.items()]),
    ]


def _cell(report: TableReport, cell: Compared | None) -> str:
    if cell is None:
        return ""
    published, number = _plain(f"{cell.cell}{mark(cell.cell)}"), report.note_number(cell)
    if cell.finding is BASELINE:
        return published
    ours = "–" if cell.ours is None else f"**{ours_text(cell)}**"
    difference = "–" if cell.ours is None else difference_text(cell)
    return f"{ours} \\| {published} \\| {difference}" + (f" [{number}]" if number else "")


def _section(section: Section, *, titled: bool) -> str:
    head, percent = section.head, section.head.scores.percent()
    scores = [[score.name, _number(percent[score.key]), score.meaning] for score in SCORES]
    by_class = [
        [_plain(name), _number(100 * iu)] for name, iu in zip(head.classes, head.per_class_iu, strict=True)
    ]
    parts = [
        f"## {_plain(section.title)}" if titled else "",
        _plain(section.about),
        _table(["", "%", "what it is"], scores, ("---", "---:", "---")),
        _plain(averaged_over(head)),
        _table(["class", "IU"], by_class),
    ]
    return "\n\n".join(part for part in parts if part)


def _table(titles: Sequence[str], rows: Sequence[Sequence[str]], aligned: Sequence[str] = ()) -> str:
    """By default the first column is aligned left, the others right."""
    lines = [titles, aligned or ["---"] + ["---:"] * (len(titles) - 1), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _number(percent: float) -> str:
    return "–" if math.isnan(percent) else f"{percent:.2f}"


def _note(said: str) -> str:
    reason, *commands = said.splitlines()
    return " ".join([_plain(reason), *(f"`{command.strip()}`" for command in commands)])


def _listed(lines: Sequence[str]) -> str:
    return "\n".join(f"- {_plain(line)}" for line in lines)


def _plain(text: str) -> str:
    """Text that no Markdown reader takes for markup."""
    return re.sub(r"([\\`*_<\[\]|#])", r"\\\1", text)
