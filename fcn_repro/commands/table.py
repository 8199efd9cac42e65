"""--table: ours, published, difference."""

from __future__ import annotations

import argparse
import shlex
from dataclasses import replace

from caffe2torch.command_line import UsageError, Verb, show, show_json
from fcn_repro.commands.asked import program, tell, workspace
from fcn_repro.commands.reporting import publish, report_folder
from fcn_repro.data.datasets import dataset, names
from fcn_repro.report import text
from fcn_repro.tables import compare
from fcn_repro.tables.measure import Measurements
from fcn_repro.tables.on_rendered import carried_over
from fcn_repro.tables.papers import STRUCTURE, Paper, PaperTable, papers
from fcn_repro.tables.structure import COUNTED
from fcn_repro.workspace import named


def table(args: argparse.Namespace) -> int:
    """One table: ours, published, difference."""
    paper, number = _asked(args)
    name = f"{args.paper}-table-{number}"
    folder = report_folder(args, name)
    found = Measurements(
        workspace(args),
        program(args),
        _again(args, number),
        run=not args.stored,
        time=args.time,
        device=args.device,
        precision=args.precision or "fp32",
        protocol=args.protocol,
        fill=args.fill or "",
    )
    compared = compare.compare(paper.tables[number], found.measures)
    notes = _notes(paper.tables[number])
    if args.json:
        show_json(compare.as_data(paper, number, compared))
    else:
        show(text.as_text(paper, number, compared, notes))
    tell(compare.summary(compared))
    if folder:
        from fcn_repro.report.report import TableReport, sections_of

        shown = [section for run in found.used for section in sections_of(run, found.images_of(run))]
        publish(TableReport(paper, number, compared, notes, shown), folder, name)
    return compare.exit_code(compared)


def _asked(args: argparse.Namespace) -> tuple[Paper, str]:
    """The paper and the table's number, on rendered images where --data names a rendered data set."""
    known = papers()
    if args.paper not in known:
        raise UsageError(f"no paper {args.paper!r}; known are {', '.join(known)}")
    paper, number = known[args.paper], args.table.upper()
    if number not in paper.tables:
        tables = ", ".join(paper.tables)
        raise UsageError(f"{args.paper} has no table {args.table!r}; its tables are {tables}")
    images = str(args.data)
    is_rendered = images in names() and dataset(images).rendered  # which needs no folder
    if is_rendered:
        return carried_over(paper, number, images), number
    return _on(paper, number, args), number


def _on(paper: Paper, number: str, args: argparse.Namespace) -> Paper:
    """The paper with the images that --on names where it states none. Raises UsageError where it does."""
    table = paper.tables[number]
    if not (args.on or args.fill):
        return paper
    if not any(column.open for column in table.columns.values()):
        raise UsageError(
            f"{args.paper} states the images of table {number}; --on and --fill are for table 8 of pami2017"
        )
    on = named(args.on) if args.on else ""
    columns = {
        key: replace(column, on=on or column.on, split=on or column.split)
        for key, column in table.columns.items()
    }
    return replace(paper, tables={**paper.tables, number: replace(table, columns=columns)})


def _again(args: argparse.Namespace, number: str) -> str:
    """The command that prints this table again, for hints on what to type next."""
    words = ["--table", number]
    words += ["--paper", args.paper] if args.paper != "cvpr2015" else []
    words += ["--on", args.on] if args.on else []
    words += ["--fill", args.fill] if args.fill else []
    words += ["--data", str(args.data)] if args.data else []
    return f"{program(args)} {shlex.join(words)}"


def _notes(shown: PaperTable) -> list[str]:
    measures = {column.measure for column in shown.columns.values()}
    return [COUNTED] if measures & set(STRUCTURE) else []


VERB = Verb(
    "--table",
    table,
    (
        *("--paper", "--stored", "--time", "--protocol", "--on", "--fill"),
        *("--data", "--partial", "--device", "--precision", "-o", "--force"),
    ),
    "one table, by its number in the paper: 3, A",
    {"metavar": "N"},
)
