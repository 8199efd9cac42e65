"""fcn-convert: parse, call, print."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from caffe2torch.cli.progress import ProgressLine
from caffe2torch.cli.screen import Result, compared, numbers, size_text, verified
from caffe2torch.errors import Caffe2TorchError, MissingData, NetError, ReadError, VerificationFailed
from caffe2torch.formats import format_for, formats, write
from caffe2torch.formats.digest import Digest
from caffe2torch.formats.model import Conversion, conversion
from caffe2torch.formats.opening import (
    ModelFile,
    defines_net,
    is_hdf5,
    is_mean,
    open_model,
    vgg16_origin,
    weights_in,
)
from caffe2torch.formats.writing import DTYPES
from caffe2torch.net import Net
from caffe2torch.plan import Plan, plan
from caffe2torch.plan.phase import without_splits
from caffe2torch.plan.table import table_of
from caffe2torch.untrusted.binary import read_binaryproto
from caffe2torch.version import __version__

if TYPE_CHECKING:
    from torch import nn

    from caffe2torch.modules.report import Report

_EPILOG = """\
FILE is told by its content: a .caffemodel of any age, a .caffemodel.h5, a .safetensors or folder that this
command wrote, VGG-16 as torchvision (.pth, .safetensors) or Keras (.h5) has it, or with --inspect a .prototxt
or a mean .binaryproto. Nothing is written unless all checks pass.

exit codes: 0 done, 1 refused (FILE, its net or OUT cannot be) or different from OTHER, 2 usage,
            3 a file or its weights missing, 4 verification failed, 130 interrupted
"""
_FORM = "which net a caffemodel or prototxt gets: as one deploys it (default), or as it was trained"
_CHECK = "run: also a file that can be read back is run on random inputs, before it takes its name"
_SUFFIXES = (".caffemodel.h5", ".caffemodel", ".safetensors", ".prototxt", ".h5", ".pth")


@dataclass(frozen=True)
class Answer:
    """What a command found out: `text` for people, `data` for --json."""

    text: str
    data: dict[str, Any]
    code: int = 0


class _UsageError(Caffe2TorchError):
    exit_code = 2


class _NotVerified(VerificationFailed):
    """Carries the reports to the output."""

    def __init__(self, message: str, answer: Answer) -> None:
        super().__init__(message)
        self.answer = answer


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise _UsageError(f"{message}; see fcn-convert --help")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs fcn-convert with `argv`, or the process's arguments; returns its exit code."""
    given = list(sys.argv[1:] if argv is None else argv)
    try:
        answer = _answer(_parser().parse_args(given))
        _print(answer, "--json" in given)
        return answer.code
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes it once more at exit
        return 141
    except KeyboardInterrupt:
        print("fcn-convert: interrupted", file=sys.stderr)
        return 130
    except Exception as error:
        if "--debug" in given:
            traceback.print_exc()
        return _refuse(error, "--json" in given)


def _refuse(error: Exception, as_json: bool) -> int:
    """One line for what went wrong; its exit code."""
    message, code = str(error), getattr(error, "exit_code", 1)
    if not isinstance(error, Caffe2TorchError):
        message = f"unexpected {type(error).__name__}: {error}; --debug shows where, please report it"
    answer = error.answer if isinstance(error, _NotVerified) else Answer("", {})
    problem = {"error": message, "kind": type(error).__name__.lstrip("_"), "exit_code": code}
    _print(replace(answer, data={**answer.data, **problem}), as_json)
    print(f"fcn-convert: {_printable(' '.join(message.split()))}", file=sys.stderr)
    return code


def _print(answer: Answer, as_json: bool) -> None:
    text = json.dumps(answer.data, indent=2) if as_json else _printable(answer.text)
    if text:
        print(text, flush=True)


def _printable(text: str) -> str:
    """Names come from files: nothing in them may drive a terminal."""
    encoding = sys.stdout.encoding or "utf-8"
    shown = "".join(c if c.isprintable() or c == "\n" else "?" for c in text)
    return shown.encode(encoding, "backslashreplace").decode(encoding)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
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


def _answer(options: argparse.Namespace) -> Answer:
    if options.list_layers:
        return _list_layers()
    if options.file is None:
        raise _UsageError("give a FILE to convert; see fcn-convert --help")
    if options.inspect and (options.output or options.verify):
        raise _UsageError("--inspect compares and writes nothing; leave out --verify and -o")
    if options.diff and (options.output or options.verify or options.inspect):
        raise _UsageError("--diff compares and writes nothing; leave out -o, --verify and --inspect")
    if options.diff is None and (options.on or options.tolerance is not None):
        raise _UsageError("--on and --tolerance belong to --diff")
    if options.survey:
        return _survey(options)
    options.file = weights_in(options.file)
    if options.diff is not None:
        return _diff(options)
    if is_mean(options.file):
        return _inspect_mean(options)
    with _naming(options.file):
        return _inspect(options) if options.inspect else _convert(options)


@contextmanager
def _naming(path: str) -> Iterator[None]:
    """Puts the file's name before what is wrong with its net, unless it is there."""
    try:
        yield
    except NetError as error:
        if path in str(error):
            raise
        raise NetError(f"{path}: {error}") from error


def _list_layers() -> Answer:
    from caffe2torch.cli import catalogue

    return Answer(catalogue.table(), {"layers": [asdict(entry) for entry in catalogue.entries()]})


def _survey(options: argparse.Namespace) -> Answer:
    from caffe2torch.cli.survey import facts, find, summary, survey

    folder = Path(options.file)
    if not folder.is_dir():
        raise MissingData(f"{folder}: is no folder; --survey takes one")
    cases = list(find(folder))
    progress = ProgressLine("nets")
    rows = survey(cases, options.run, lambda done: progress(done, len(cases)))
    return Answer(summary(rows, folder), facts(rows))


def _inspect_mean(options: argparse.Namespace) -> Answer:
    try:
        mean = read_binaryproto(options.file)
    except ReadError:
        raise ReadError(
            f"{options.file}: starts like a mean or a .solverstate; give the caffemodel"
        ) from None
    if not options.inspect:
        raise ReadError(f"{options.file}: is a mean, no model; --inspect shows it")
    channels = mean.reshape(-1, *mean.shape[-2:]).mean((1, 2), dtype=float).tolist()
    text = f"{options.file}: binaryproto, {mean.dtype} {mean.shape}\nper channel: {numbers(channels)}"
    return Answer(text, {"file": options.file, "shape": mean.shape, "mean": channels})


def _inspect(options: argparse.Namespace) -> Answer:
    source = _read(options)
    table = table_of(source.net)
    head = f"{source.file}: {source.format}, {size_text(source.file)}\nnet {source.net.name!r}\n"
    notes = "".join(f"\n- {note}" for note in source.net.notes)
    facts = {"file": source.file, "format": source.format, "notes": source.net.notes, **table.as_dict()}
    return Answer(f"{head}\n{table}{notes}", facts)


def _diff(options: argparse.Namespace) -> Answer:
    from caffe2torch.comparing.files import between
    from caffe2torch.comparing.nets import TOLERANCE

    tolerance = TOLERANCE if options.tolerance is None else options.tolerance
    options.diff = weights_in(options.diff)
    read = partial(_compared, options)
    found = between(options.file, options.diff, read, tolerance, run=options.run, on=options.on)
    return Answer(str(found), found.as_dict(), 0 if found.same else 1)


def _compared(options: argparse.Namespace, path: str) -> Conversion | None:
    """A side of --diff; None where none defines its net. A --prototxt is for HDF5 files, or else for FILE."""
    hdf5 = list(filter(is_hdf5, (options.file, options.diff)))
    prototxt = options.prototxt if path in (hdf5 or [options.file]) else None
    if not defines_net(path) and (prototxt is None or not is_hdf5(path)):
        return None
    own = {"file": path, "prototxt": prototxt, "mean": options.mean if vgg16_origin(path) else None}
    with _naming(path):
        source = _read(argparse.Namespace(**{**vars(options), **own}))
        planned = plan(source.net, allow_missing=options.allow_missing)
    return replace(conversion(planned), preprocessing=source.preprocessing)


def _convert(options: argparse.Namespace) -> Answer:
    start, digest = time.perf_counter(), Digest(options.file)
    target, kind = _target(options)
    if kind == "safetensors":
        digest.begin()  # while the file is read and checked
    source = _read(options)
    if not source.net.weights and kind != "prototxt":
        problem = "is a prototxt, without weights; give the caffemodel, and this as --prototxt"
        raise MissingData(f"{source.file}: {problem}")
    planned = plan(source.net, allow_missing=options.allow_missing)
    if options.arch is not None:
        from caffe2torch.zoo.recognition import insist

        insist(planned, options.arch)
    converted = replace(_complete(planned, source), source=digest, preprocessing=source.preprocessing)
    if options.form == "train":
        converted = _as_trained(converted, source.net, kind)
    reports = {} if options.verify is None else _verified(converted, options.verify)
    run = options.check == "run" or formats()[kind].read is None
    rest = "running it on random inputs of two sizes, to compare" if run else ""
    progress = ProgressLine("MB", 1e6, rest)
    try:
        check = write(converted, target, kind, options.dtype, progress, True, run)
    finally:
        progress.wipe()
    seconds = time.perf_counter() - start
    result = Result(source, converted, reports, str(target), kind, options.dtype, seconds, check)
    return Answer(str(result), result.facts())


def _read(options: argparse.Namespace) -> ModelFile:
    """FILE, with --prototxt and --convolutionalize."""
    if options.mean is not None and not vgg16_origin(options.file):
        raise _UsageError("--mean is for weights of torchvision or Keras; other models have their own")
    unknown, mean = options.ignore_unknown_fields, options.mean
    source = open_model(options.file, options.prototxt, ignore_unknown=unknown, mean=mean)
    build = f"model = c2t.build(net{', allow_missing=True' if options.allow_missing else ''})"
    if not options.convolutionalize:
        return replace(source, code=(*source.code, build))
    from caffe2torch.weights.surgery import convolutionalize

    lines = ("from caffe2torch.weights.surgery import convolutionalize", "net = convolutionalize(net)")
    return replace(source, net=convolutionalize(source.net), code=(*source.code, *lines, build))


def _target(options: argparse.Namespace) -> tuple[Path, str]:
    """The file to write, by default beside FILE, under its name; and its format."""
    if options.output is not None:
        return Path(options.output), format_for(options.output, options.format).name
    folder, name = os.path.split(options.file)
    stem = next((name.removesuffix(suffix) for suffix in _SUFFIXES if name.endswith(suffix)), name)
    chosen = format_for("", options.format or "safetensors")
    return Path(folder, stem + chosen.suffixes[0]), chosen.name


def _as_trained(converted: Conversion, net: Net, kind: str) -> Conversion:
    """The conversion with all layers of the net, also those that only training uses."""
    if not formats()[kind].keeps_training:
        whole = ", ".join(name for name, known in formats().items() if known.keeps_training)
        raise _UsageError(f"--form train is for {whole}; {kind} holds a net to run")
    return replace(converted, net=without_splits(net), planned=None)


def _complete(planned: Plan, source: ModelFile) -> Conversion:
    """The plan to write; parameters without values get Caffe's filler, the same numbers every time."""
    if source.net.weights and any(parameter.blob is None for parameter in planned.parameters()):
        from caffe2torch._torch import torch
        from caffe2torch.modules.caffe_net import CaffeNet

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return conversion(CaffeNet(planned))
    return conversion(planned)


def _verified(converted: Conversion, reference: str) -> dict[str, Report]:
    """The reports of the net as built, and of the hand-written module of a zoo's FCN, if all is well."""
    from caffe2torch.modules.caffe_net import CaffeNet
    from caffe2torch.modules.report import verify

    built = CaffeNet(converted.plan)
    roads: dict[str, nn.Module] = {"build": built}
    if converted.architecture is not None:
        from caffe2torch.modules.fcn import poured

        roads[converted.architecture.name] = poured(built, converted.architecture)
    reports = {road: verify(model, reference) for road, model in roads.items()}
    if failed := [road for road, report in reports.items() if not report.ok]:
        by = " and ".join(failed)
        problem = f"{converted.net.weights}: differs from {reference} by {by}; nothing was written"
        raise _NotVerified(problem, Answer(compared(reports), {"verified": verified(reports)}))
    return reports


if __name__ == "__main__":
    sys.exit(main())
