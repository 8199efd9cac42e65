"""--render: a split of a rendered data set, as a folder of PNGs."""

from __future__ import annotations

import argparse

from caffe2torch.command_line import Answer, ProgressLine, UsageError, Verb, print_answer
from fcn_repro.commands.asked import workspace
from fcn_repro.data.datasets import dataset, names
from fcn_repro.data.datasets.folder import save_folder
from fcn_repro.workspace import named


def render(args: argparse.Namespace) -> int:
    """Writes a split of a rendered data set as a folder that --on folder/all opens."""
    if not args.output:
        raise UsageError("--render needs -o DIR: a new folder for images, labels and classes.txt")
    images = named(args.render)
    if not dataset(images.partition("/")[0]).rendered:
        known = ", ".join(name for name in names() if dataset(name).rendered)
        raise UsageError(f"--render {images}: only {known} is rendered; the others are files already")
    opened = workspace(args).open(images)
    save_folder(opened, args.output, ProgressLine("images"))
    said = f"{args.output}: {len(opened)} images with their labels; --on folder/all --data DIR opens them"
    print_answer(Answer(said, {"folder": str(args.output), "images": len(opened)}), args.json)
    return 0


VERB = Verb(
    "--render",
    render,
    ("-o",),
    "a split of shapes, as a folder of PNGs: shapes/val",
    {"metavar": "SPLIT"},
)
