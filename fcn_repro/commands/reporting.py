"""-o: reports of tables and evaluations."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from caffe2torch.command_line import UsageError
from fcn_repro.commands.asked import tell, workspace

if TYPE_CHECKING:
    from fcn_repro.report.report import TableReport


def report_folder(args: argparse.Namespace) -> Path | None:
    """The folder for reports, if -o names one. Raises UsageError for the folder of the stored runs."""
    folder: Path | None = args.output
    if folder is not None and folder.resolve() == workspace(args).results.resolve():
        raise UsageError(f"-o {folder}: the stored runs are there; name another folder for reports")
    return folder


def publish(report: TableReport, folder: Path, name: str) -> None:
    """Writes a report in all its forms, and says where."""
    from fcn_repro.report.files import publish

    for path in publish(report, folder, name):
        tell(f"wrote {path}")
