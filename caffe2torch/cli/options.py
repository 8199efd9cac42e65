"""The options of fcn-convert."""

from __future__ import annotations

from argparse import ArgumentTypeError
from argparse import _ArgumentGroup as Group

from caffe2torch.cli.verbs import VERBS
from caffe2torch.command_line import Parser, mean
from caffe2torch.formats import names
from caffe2torch.weights import TRAINED_ON
from caffe2torch.writing import DTYPES, UPSAMPLING

_USAGE = """\
fcn-convert FILE [-o OUT] [options]
       fcn-convert net.prototxt net.caffemodel [options]
       fcn-convert FILE --inspect | --diff OTHER
       fcn-convert FOLDER --survey
       fcn-convert --list-layers"""
_EPILOG = """\
FILE is recognized by its content: a .caffemodel of any age, a .caffemodel.h5, a .safetensors or folder that
this command wrote, VGG-16 as torchvision (.pth, .safetensors) or Keras (.h5) has it, or with --inspect a
.prototxt or a mean .binaryproto. Nothing is written unless all checks pass.

exit codes: 0 done, 1 refused (FILE, its net or OUT cannot be) or different from OTHER, 2 usage,
            3 a file or its weights missing, 4 verification failed, 130 interrupted, 141 broken pipe
"""
_FILE = "the model; its prototxt may be given before or after it"
_CLASSES = "names the classes that an output scores: a line for each, NAME or NAME R G B"
_FORM = "which net a caffemodel or prototxt gets: the one to deploy (default) or the one that was trained"
_CHECK = "run: run the written file on random inputs, even if reading it back would do"

_CHECK_IN = "also run the written file in engines that are installed: mnn, opencv, openvino, reference, tract"


def parser() -> Parser:
    """Every option of the command."""
    parser = Parser(
        "fcn-convert",
        usage=_USAGE,
        description="Converts a Caffe model into a checked file for PyTorch: FILE.safetensors next to FILE.",
        epilog=_EPILOG,
    )
    files = parser.add_argument_group("files")
    files.add_argument("files", metavar="FILE", nargs="*", default=[], help=_FILE)
    parser.add_verbs("commands, instead of converting", VERBS)
    _reading(parser.add_argument_group("reading FILE: to convert, --inspect or --diff"))
    _writing(parser.add_argument_group("converting"))
    _engines(parser.add_argument_group("converting for an engine that needs it (docs/deploy.md)"))
    _running(parser.add_argument_group("running nets"))
    parser.add_always()
    return parser


def _reading(group: Group) -> None:
    add = group.add_argument
    add("--prototxt", metavar="P", help="the net's definition, instead of the one in FILE")
    add("--convolutionalize", action="store_true", help="turn InnerProduct layers into convolutions")
    add(
        "--stage",
        metavar="NAME,…",
        type=_names,
        default=[],
        help="choose layers of an all-in-one net (DIGITS)",
    )
    add(
        "--mean",
        metavar="B,G,R",
        type=mean,
        help="what the net subtracts from an image; adapts VGG-16 from elsewhere",
    )
    add("--classes", metavar="FILE", help=_CLASSES)
    add("--trained-on", choices=TRAINED_ON, help="for VGG-16 with torchvision's keys: which images")
    add("--ignore-unknown-fields", action="store_true", help="leave out fields that Caffe does not know")
    add("--align-crops", action="store_true",
        help="cut at the alignment, not at 0, where a Crop has no crop_param (HED)")  # fmt: skip
    add("--allow-missing", action="store_true",
        help="leave parameters without values at Caffe's filler (not with --inspect)")  # fmt: skip


def _writing(group: Group) -> None:
    add = group.add_argument
    add("-o", "--output", metavar="OUT", help="the file to write; its suffix says in which format")
    add("--format", metavar="NAME", choices=names(),
        help="%(choices)s (default: the one of OUT's suffix, or safetensors)")  # fmt: skip
    add(
        "--dtype",
        choices=DTYPES,
        default="float32",
        help="of the written parameters (default: float32)",
    )
    add("--force", action="store_true", help="replace what is at OUT, even if it was not converted from FILE")
    add("--form", choices=("deploy", "train"), default="deploy", help=_FORM)
    add("--arch", metavar="NAME", help="insist on an architecture, such as FCN8s")
    add("--verify", metavar="REF.npz", help="compare with Caffe's blobs first; write only if they agree")
    add("--check", choices=("read", "run"), default="read", help=_CHECK)


def _engines(group: Group) -> None:
    add = group.add_argument
    add("--opset", metavar="N", type=int, help="ONNX's (default: 17, or 18 where an operator needs it)")
    add("--size", metavar="HxW", type=_size, help="fix the height and width of the images: onnx, pt2")
    add("--batch", metavar="N", type=int, default=1, help="with --size: how many images (default: 1)")
    add("--upsampling", choices=UPSAMPLING, default="grouped",
        help="dense: deconvolutions without groups, for IREE and onnx2tf (default: grouped)")  # fmt: skip
    add("--elide", action="store_true", help="with --size: leave out what no image can change, onnx")
    add("--check-in", metavar="ENGINE,…", type=_names, default=[], help=_CHECK_IN)


def _running(group: Group) -> None:
    add = group.add_argument
    add("--shape", metavar="BLOB=N,C,H,W", action="append", type=_shape,
        help="with --check run or --survey --run: insist on an input's shape; may be repeated")  # fmt: skip
    add("--run", action="store_true", help="with --survey or --diff: also run the nets, on random inputs")
    add("--on", metavar="X.npz", help="with --diff: run the nets on its arrays in.<blob> instead")
    add("--trust", action="store_true",
        help="with --diff: run a .pt2 or .py, and so whatever its author wrote")  # fmt: skip
    add("--tolerance", metavar="T", type=float, help="with --diff: relative (default: 1e-5)")


def _names(text: str) -> list[str]:
    return text.split(",")


def _size(text: str) -> tuple[int, ...]:
    sizes = text.split("x")
    if len(sizes) != 2 or not all(map(str.isdecimal, sizes)) or min(map(int, sizes)) < 1:
        raise ArgumentTypeError(f"{text!r} is not a height and a width, such as 375x500")
    return tuple(map(int, sizes))


def _shape(text: str) -> tuple[str, tuple[int, ...]]:
    blob, equals, sizes = text.rpartition("=")
    try:
        shape = tuple(map(int, sizes.split(",")))
    except ValueError:
        shape = ()
    if not (blob and equals and shape) or min(shape) < 1:
        raise ArgumentTypeError(f"{text!r} is not a blob and its sizes, such as data=1,3,48,48")
    return blob, shape
