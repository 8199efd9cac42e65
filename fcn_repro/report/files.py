"""A report as files, each self-contained."""

from __future__ import annotations

from pathlib import Path

from fcn_repro.files import write, write_json
from fcn_repro.report.markdown import as_markdown
from fcn_repro.report.page import GENERATOR, page
from fcn_repro.report.report import TableReport

_HEAD = 1 << 10
"""Bytes of a page in which it says who wrote it."""
SUFFIXES = (".html", ".md", ".json")


def paths_of(folder: Path, name: str) -> tuple[Path, ...]:
    """The files of a report."""
    return tuple(folder / f"{name}{suffix}" for suffix in SUFFIXES)


def is_ours(folder: Path, name: str) -> bool:
    """Whether the files of this name are an earlier report: its page says who wrote it."""
    try:
        with paths_of(folder, name)[0].open("rb") as file:
            return f'<meta name="generator" content="{GENERATOR}">'.encode() in file.read(_HEAD)
    except OSError:
        return False


def publish(report: TableReport, folder: Path, name: str) -> tuple[Path, ...]:
    """Writes NAME.html, NAME.md and NAME.json to the folder; returns their paths. Raises WriteError."""
    paths = paths_of(folder, name)
    write(paths[0], page(report))
    write(paths[1], as_markdown(report))
    write_json(paths[2], report.as_data())
    return paths
