"""The report as one page of HTML: it loads nothing, runs nothing, and adapts to light and dark."""

from __future__ import annotations

import base64
import hashlib
import math
from collections.abc import Sequence

from fcn_repro.report.charts import class_bars, confusion_picture
from fcn_repro.report.html import Content, Markup, element, joined
from fcn_repro.report.panels import panels_view
from fcn_repro.report.report import Section, TableReport
from fcn_repro.report.scores import SCORES, Score, averaged_over
from fcn_repro.report.style import STYLE
from fcn_repro.report.text import LEGEND, difference_text, mark, ours_text
from fcn_repro.scoring.result import HeadScores
from fcn_repro.tables.compare import BASELINE, Compared, cited, summary
from fcn_repro.tables.papers import Column

GENERATOR = "fcn-repro"
"""What a page says that it was written by."""
_NOTHING_IS_FETCHED = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
"""The page's Content-Security-Policy: it holds whatever an untrusted file put into the page."""


def page(report: TableReport) -> str:
    """The whole page. The same report gives the same bytes."""
    table, name = report.paper.tables[report.number], f"{report.paper.venue}, Table {report.number}"
    if not table.rows:
        return _scores_page(report)
    return document(
        name,
        element("div", f"{report.paper.title} · {name}", class_="venue"),
        element("h1", table.title),
        element("p", f"{summary(report.compared)}. {table.note}", class_="soft"),
        _table_section(report),
        [_model_section(section) for section in report.sections],
        element("footer", "Written by fcn-repro. A difference is ours minus published."),
    )


def _scores_page(report: TableReport) -> str:
    """Scores that nothing was published to compare with."""
    table = report.paper.tables[report.number]
    notes = [element("p", note, class_="soft") for note in (table.note, *report.remarks) if note]
    return document(
        table.title,
        element("div", "Evaluation", class_="venue"),
        element("h1", table.title),
        notes,
        [_model_section(section, titled=section.title != table.title) for section in report.sections],
        element("footer", "Written by fcn-repro."),
    )


def document(title: str, *content: Content, style: str = "", script: str = "") -> str:
    """A page that loads nothing, in our style and `style`; the only code that it runs is `script`."""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    allowed = _NOTHING_IS_FETCHED + (f"; script-src 'sha256-{digest}'" if script else "")
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="generator", content=GENERATOR),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", http_equiv="Content-Security-Policy", content=allowed),
        element("title", title),
        element("style", Markup(STYLE + style)),
    )
    code = element("script", Markup(script)) if script else ""
    body = element("body", element("main", *content), code)
    return f"<!DOCTYPE html>\n{element('html', head, body, lang='en')}\n"


def _table_section(report: TableReport) -> Markup:
    table = report.paper.tables[report.number]
    titles = element("tr", element("td"), [_title(column) for column in table.columns.values()])
    rows = [
        element("tr", element("th", row.name, scope="row"), [_cell(report, cell) for cell in cells])
        for row, cells in zip(table.rows, report.rows(), strict=True)
    ]
    sources = cited(report.paper, table).items()
    return element(
        "section",
        element("div", element("table", element("thead", titles), element("tbody", rows)), class_="wide"),
        _key(report),
        _listed("ol", "How ours were measured, and what the others need", _footnotes(report)),
        _listed("ul", "Notes", [element("li", note) for note in report.remarks]),
        _listed(
            "dl",
            "Sources of what was published",
            [joined(element("dt", code), element("dd", said)) for code, said in sources],
        ),
    )


def _title(column: Column) -> Markup:
    split = element("span", column.split, class_="split") if column.split != "-" else ""
    return element("th", f"{column.metric},\N{NO-BREAK SPACE}{column.unit}", split, scope="col")


def _cell(report: TableReport, cell: Compared | None) -> Markup:
    """Ours and the difference above what was published; empty if the paper has a dash."""
    if cell is None:
        return element("td", "–", class_="none")
    number, sign = report.note_number(cell), mark(cell.cell)
    note = element("sup", element("a", str(number), href=f"#note-{number}")) if number else ""
    marked = element("sup", sign, class_="mark", title=LEGEND[sign]) if sign else ""
    published = element("span", str(cell.cell), marked, class_="published")
    state = None if cell.within is None else "within" if cell.within else "outside"
    return element("td", _ours(cell), note, published, class_=state)


def _ours(cell: Compared) -> Markup:
    if cell.ours is None:
        said = "baseline" if cell.finding is BASELINE else "not measured"
        return element("span", said, class_="none")
    difference = element("span", difference_text(cell).replace("-", "−"), class_="pill")
    return joined(difference, element("span", ours_text(cell), class_="ours"))


def _key(report: TableReport) -> Markup:
    """What the marks in the table mean."""
    states = {cell.within for cell in report.compared}
    signs = {mark(cell.cell) for cell in report.compared}
    pills = [
        element("span", element("span", "±", class_="pill"), meaning, class_=name)
        for state, name, meaning in (
            (True, "within", "difference within the tolerance"),
            (False, "outside", "difference outside the tolerance"),
        )
        if state in states
    ]
    marks = [
        element("span", element("sup", sign, class_="mark"), f" {meaning}")
        for sign, meaning in LEGEND.items()
        if sign in signs
    ]
    return element(
        "div",
        element("span", "Above: the difference, and ours. Below: published."),
        pills,
        marks,
        class_="key",
    )


def _listed(tag: str, title: str, items: Sequence[Markup]) -> Markup:
    return joined(element("h3", title), element(tag, items)) if items else joined()


def _footnotes(report: TableReport) -> list[Markup]:
    notes = []
    for number, said in enumerate(report.footnotes, start=1):
        reason, *commands = said.splitlines()
        code = [element("code", command.strip()) for command in commands]
        notes.append(element("li", reason, code, id=f"note-{number}"))
    return notes


def _model_section(section: Section, *, titled: bool = True) -> Markup:
    head = section.head
    return element(
        "section",
        element("h2", section.title) if titled else "",
        element("p", section.about, class_="soft"),
        scores_view(head),
        element("h3", "By class"),
        element(
            "div",
            _figure(class_bars(head), f"IU of each class, in %. Dashed: the mean, over {head.over.value}."),
            _figure(
                confusion_picture(head),
                "Where the pixels of each class went: a row for its labels, a column for each "
                "prediction; the stronger the colour, the more, by the square root of the share. Off the "
                "diagonal: errors.",
            ),
            class_="charts",
        ),
        panels_view(section.panels, head) if section.panels else "",
    )


def scores_view(head: HeadScores) -> Markup:
    """The four scores, large, with what each of them is, and over which classes the means go."""
    percent = head.scores.percent()
    return joined(
        element("div", [_score(score, percent[score.key]) for score in SCORES], class_="scores"),
        element("p", averaged_over(head), class_="soft"),
    )


def _score(score: Score, percent: float) -> Markup:
    number = "–" if math.isnan(percent) else f"{percent:.2f}"
    return element(
        "div", element("b", number), element("span", f"{score.name}, %"), element("p", score.meaning)
    )


def _figure(picture: Content, caption: str) -> Markup:
    return element("figure", picture, element("figcaption", caption))
