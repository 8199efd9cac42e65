"""The options of fcn-convert."""

from __future__ import annotations

import argparse
from typing import NoReturn

from caffe2torch.cli.answer import UsageError
from caffe2torch.formats import formats
from caffe2torch.formats.writing import DTYPES
from caffe2torch.version import __version__

_EPILOG = """\
FILE is told by its content: a .caffemodel of any age, a .caffemodel.h5, a .safetensors or folder that this
command wrote, VGG-16 as torchvision (.pth, .safetensors) or Keras (.h5) has it, or with --inspect a .prototxt
or a mean .binaryproto. Nothing is written unless all checks pass.

exit codes: 0 done, 1 refused (FILE, its net or OUT cannot be) or different from OTHER, 2 usage,
            3 a file or its weights missing, 4 verification failed, 130 interrupted
"""


_FORM = "which net a caffemodel or prototxt gets: as one deploys it (default), or as it was trained"


_CHECK = "run: also a file that can be read back is run on random inputs, before it takes its name"


class Parser(argparse.ArgumentParser):
    """An ArgumentParser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        """Raises UsageError."""
        raise UsageError(f"{message}; see fcn-convert --help")


def parser() -> argparse.ArgumentParser:
    """Every option of the command."""
    parser = Parser(
        prog="fcn-convert",
        allow_abbrev=False,
        description="Converts a Caffe model into a checked file for PyTorch: FILE.safetensors beside FILE.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("file", metavar="FILE", nargs="?", help="the model")
    add("-o", "--output", metavar="OUT", help="the file to write; its suffix tells the format")
    add("--prototxt", metavar="P", help="the net's definition, instead of the one that FILE holds")
    add("--arch", metavar="NAME", help="insist on an architecture, such as FCN8s")
    add("--format", choices=tuple(formats()), help="default: what OUT's suffix tells, or safetensors")
    add("--form", choices=("deploy", "train"), default="deploy", help=_FORM)
    add("--check", choices=("read", "run"), default="read", help=_CHECK)
    add("--dtype", choices=DTYPES, default="float32", help="of the parameters written (default: float32)")
    add("--inspect", action="store_true", help="print the table of layers; write nothing")
    add("--survey", action="store_true", help="FILE is a folder: print how far each net in it gets")
    add("--diff", metavar="OTHER", help="compare FILE with OTHER; write nothing, exit with 1 if they differ")
    add("--run", action="store_true", help="with --survey or --diff, also run the nets, on random inputs")
    add("--on", metavar="X.npz", help="with --diff, run the nets on its arrays in.<blob> instead")
    add("--tolerance", metavar="T", type=float, help="with --diff, relative (default: 1e-5)")
    add("--list-layers", action="store_true", help="print the layer types that are converted")
    add("--convolutionalize", action="store_true", help="turn InnerProduct layers into convolutions")
    add("--mean", metavar="B,G,R", type=_mean, help="for VGG-16 of others: the mean of the net, not theirs")
    add("--allow-missing", action="store_true", help="leave parameters without values at Caffe's filler")
    add("--ignore-unknown-fields", action="store_true", help="leave out fields that Caffe does not know")
    add("--verify", metavar="REF.npz", help="compare with Caffe's blobs first; write only if they agree")
    add("--json", action="store_true", help="print one JSON object")
    add("--debug", action="store_true", help="show where an error came from")
    add("--version", action="version", version=f"caffe2torch {__version__}")
    return parser


def _mean(text: str) -> tuple[float, ...]:
    return tuple(map(float, text.split(",")))
