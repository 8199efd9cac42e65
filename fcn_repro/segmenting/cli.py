"""fcn-segment: parse, call, print."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from caffe2torch import command_line
from caffe2torch.command_line import Answer, Parser, UsageError, Verb, mean_bgr

OUTPUT = Path("segmented")
_USAGE = "fcn-segment PHOTO... --model MODEL [-o DIR] [options]"
_EPILOG = """\
PHOTO is a JPEG, PNG, TIFF, BMP or WebP file, told by its content, or a folder of such. For each, DIR gets a
PNG with the class of each pixel, and a picture with a legend; for several also a page to look at, index.html.

exit codes: 0 done, 1 refused, or a photo that cannot be read, 2 usage, 3 a photo or the model missing,
            130 interrupted, 141 broken pipe
"""
_MODEL = "a caffemodel, a safetensors file or folder, or the name of a recipe or of a zoo model"
_MEAN = "what the model subtracts, if it does not know"
_MEMORY = "what a net may take; larger photos are segmented in tiles (default: 2)"
_TAKES = ("PHOTO", "--model", "-o", "--force", "--mean", "--device", "--memory", "--home")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs fcn-segment with `argv`, or the process's arguments; returns its exit code."""
    return command_line.run("fcn-segment", argv, _act)


def _act(argv: Sequence[str]) -> int:
    asked = command_line.chosen(parser(), (VERB,), argv)
    answer = asked.run()
    command_line.print_answer(answer, asked.options.json)
    for warning in answer.warnings:
        command_line.say("fcn-segment", warning)
    return answer.code


def _segment(options: argparse.Namespace) -> Answer:
    from fcn_repro.segmenting.run import segment  # the help needs no torch

    if not options.photos:
        raise UsageError("give a PHOTO, or a folder of photos; see fcn-segment --help")
    if options.model is None:
        raise UsageError("--model is needed: a model's file, or a name that fcn-repro --list shows")
    return segment(options)


def parser() -> Parser:
    """Every option of the command."""
    parser = Parser(
        "fcn-segment",
        usage=_USAGE,
        description="Shows what a model sees in photos: the class of each pixel, painted over them.",
        epilog=_EPILOG,
    )
    add = parser.add_argument_group("photos").add_argument
    add("photos", metavar="PHOTO", type=Path, nargs="*", default=[], help="files, or folders of files")
    add("-o", "--output", metavar="DIR", type=Path, default=OUTPUT,
        help=f"the folder to write to (default: {OUTPUT})")  # fmt: skip
    add("--force", action="store_true", help="replace an index.html in DIR that is not ours")
    add = parser.add_argument_group("the model").add_argument
    add("--model", metavar="MODEL", help=_MODEL)
    add("--mean", metavar="B,G,R", type=mean_bgr, help=_MEAN)
    add("--home", metavar="DIR", type=Path, help="where models are, in models/ (default: .)")
    add("--device", metavar="D", default="cpu", help="cpu (default), cuda, cuda:1")
    add("--memory", metavar="GB", type=_memory, default=2e9, help=_MEMORY)
    parser.add_always()
    return parser


def _memory(text: str) -> float:
    if not 0 < float(text) < 1e6:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of gigabytes, such as 4")
    return 1e9 * float(text)


VERB = Verb("", _segment, _TAKES, name="fcn-segment")

if __name__ == "__main__":
    sys.exit(main())
