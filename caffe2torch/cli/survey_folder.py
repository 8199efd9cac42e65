"""--survey: how far each net in a folder gets."""

from __future__ import annotations

import argparse
from pathlib import Path

from caffe2torch.cli.files import only_file
from caffe2torch.cli.source import insisted
from caffe2torch.command_line import Answer, ProgressLine
from caffe2torch.errors import MissingData


def survey_folder(options: argparse.Namespace) -> Answer:
    """The folder's nets: how many get how far, and why the others do not."""
    from caffe2torch.cli.survey import facts, find, summary, survey

    folder = Path(only_file(options))
    if not folder.is_dir():
        raise MissingData(f"{folder}: is not a folder; --survey takes one")
    shapes = insisted(options, options.run)
    cases = list(find(folder))
    progress = ProgressLine("nets")
    unknown = options.ignore_unknown_fields
    rows = survey(cases, options.run, lambda done: progress(done, len(cases)), shapes, ignore_unknown=unknown)
    return Answer(summary(rows, folder), facts(rows))
