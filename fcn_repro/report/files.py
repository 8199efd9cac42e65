"""A report as files, each self-contained."""

from __future__ import annotations

from pathlib import Path

from fcn_repro.files import write, write_json
from fcn_repro.report.markdown import as_markdown
from fcn_repro.report.page import page
from fcn_repro.report.report import TableReport


def publish(report: TableReport, folder: Path, name: str) -> tuple[Path, ...]:
    """Writes NAME.html, NAME.md and NAME.json to the folder; returns their paths. Raises WriteError."""
    paths = tuple(folder / f"{name}{suffix}" for suffix in (".html", ".md", ".json"))
    write(paths[0], page(report))
    write(paths[1], as_markdown(report))
    write_json(paths[2], report.as_data())
    return paths
