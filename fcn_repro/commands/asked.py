"""What the options shared by several verbs mean."""

from __future__ import annotations

import argparse
import shlex
import sys
from typing import TYPE_CHECKING

from caffe2torch.command_line import UsageError, say
from fcn_repro.workspace import Workspace, named

if TYPE_CHECKING:
    from fcn_repro.scoring.run import ModelRun

RUN = (
    *("--on", "--data", "--partial", "--name", "--device", "--precision", "--mean"),
    *("--save-predictions", "-o"),
)
"""The options of a model run over a data set."""


def workspace(args: argparse.Namespace) -> Workspace:
    """The workspace that --home, --data and --partial describe."""
    return Workspace.at(args.home, args.data, args.partial)


def images(args: argparse.Namespace) -> str:
    """The split that --on names, as DATASET/SPLIT."""
    if not args.on:
        raise UsageError("--on is needed: the split, such as seg11valid or nyudv2/test")
    return named(args.on)


def run_of(args: argparse.Namespace, model: str) -> ModelRun:
    """A model and the data set to run it on."""
    from fcn_repro.scoring.run import ModelRun

    return ModelRun(
        workspace(args),
        model,
        images(args),
        name=args.name or "",
        device=args.device,
        precision=args.precision or "fp32",
        mean_bgr=args.mean,
        save_predictions=args.save_predictions,
        show=args.output is not None,
        command=typed(),
    )


def typed() -> str:
    """The command line, as a record of how a result was made."""
    return shlex.join(["fcn-repro", *sys.argv[1:]])


def program(args: argparse.Namespace) -> str:
    """How suggested commands begin: with the same --home."""
    return f"fcn-repro --home {shlex.quote(str(args.home))}" if args.home else "fcn-repro"


def tell(text: str) -> None:
    """One line on stderr."""
    say("fcn-repro", text)
