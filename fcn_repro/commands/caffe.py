"""--caffe: a recipe as Caffe's own two files."""

from __future__ import annotations

import argparse
from pathlib import Path

from caffe2torch.command_line import Answer, UsageError, Verb, print_answer
from fcn_repro.commands.asked import workspace


def for_caffe(args: argparse.Namespace) -> int:
    """A recipe's train.prototxt and solver.prototxt."""
    from fcn_repro.training.caffe_files import write_for_caffe
    from fcn_repro.training.run import adjusted, at_home

    if args.output is None:
        raise UsageError("--caffe needs -o DIR, the folder to write to")
    recipe = adjusted(args.caffe)
    place = at_home(args.caffe, recipe, workspace(args))
    written = write_for_caffe(Path(args.caffe).stem, recipe, place, args.output, args.force)
    files = [str(path) for path in written]
    print_answer(Answer("\n".join(files), {"files": files}), args.json)
    return 0


VERB = Verb(
    "--caffe",
    for_caffe,
    ("-o", "--force", "--data", "--partial"),
    "its train.prototxt and solver.prototxt, into -o DIR",
    {"metavar": "RECIPE"},
)
