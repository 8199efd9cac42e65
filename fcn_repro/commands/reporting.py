"""-o: reports of tables and evaluations."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from caffe2torch.command_line import UsageError
from fcn_repro.commands.asked import tell, workspace
from fcn_repro.files import refuse_existing

if TYPE_CHECKING:
    from fcn_repro.report.report import TableReport


def report_folder(args: argparse.Namespace, name: str) -> Path | None:
    """The folder for the report `name`, if -o names one.

    Raises UsageError for the folder of the stored runs; WriteError for files of these names that are no
    earlier report, unless --force.
    """
    folder: Path | None = args.output
    if folder is None:
        return None
    from fcn_repro.report.files import is_ours, paths_of  # loads torch

    if folder.resolve() == workspace(args).results.resolve():
        raise UsageError(f"-o {folder}: the stored runs are there; name another folder for reports")
    refuse_existing(paths_of(folder, name), args.force or is_ours(folder, name))
    return folder


def publish(report: TableReport, folder: Path, name: str) -> None:
    """Writes a report in all its forms, and says where, and what it replaced."""
    from fcn_repro.report.files import paths_of, publish

    before = {path for path in paths_of(folder, name) if path.exists()}
    for path in publish(report, folder, name):
        tell(f"{'replaced' if path in before else 'wrote'} {path}")
