"""--predict: a VOC test set, packed for the evaluation server."""

from __future__ import annotations

import argparse

from caffe2torch.command_line import Answer, Verb, print_answer
from fcn_repro.commands.asked import RUN, run_of
from fcn_repro.files import refuse_existing


def predict(args: argparse.Namespace) -> int:
    """A VOC test set, predicted and packed for the evaluation server."""
    run = run_of(args, args.predict)
    archive = args.output or run.workspace.results / f"{run.stem}.tgz"
    if args.output:  # before hours of work; by default, it is an earlier run's
        refuse_existing((archive,), args.force)
    said = run.pack(archive)
    after = f"fcn-repro --server-result FILE --name {run.called} --on {run.images}"
    print_answer(Answer(f"{said}\nThen: {after}", {"archive": str(archive), "then": after}), args.json)
    return 0


VERB = Verb(
    "--predict",
    predict,
    (*RUN, "--force"),
    "a VOC test set, packed for its evaluation server",
    {"metavar": "MODEL"},
)
