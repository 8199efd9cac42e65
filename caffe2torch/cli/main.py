"""fcn-convert: parse, call, print."""

from __future__ import annotations

import argparse
import json
import os
import sys
import traceback
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

from caffe2torch.cli.answer import Answer, NotVerified, UsageError
from caffe2torch.cli.compare import compare
from caffe2torch.cli.convert import convert
from caffe2torch.cli.inspect import inspect, inspect_mean
from caffe2torch.cli.options import parser
from caffe2torch.cli.progress import ProgressLine
from caffe2torch.cli.source import naming
from caffe2torch.errors import Caffe2TorchError, MissingData
from caffe2torch.formats.opening import (
    is_mean,
    look_at_model,
)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs fcn-convert with `argv`, or the process's arguments; returns its exit code."""
    given = list(sys.argv[1:] if argv is None else argv)
    try:
        answer = _answer(parser().parse_args(given))
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
    answer = error.answer if isinstance(error, NotVerified) else Answer("", {})
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


def _answer(options: argparse.Namespace) -> Answer:
    if options.list_layers:
        return _list_layers()
    if options.file is None:
        raise UsageError("give a FILE to convert; see fcn-convert --help")
    if options.inspect and (options.output or options.verify):
        raise UsageError("--inspect compares and writes nothing; leave out --verify and -o")
    if options.diff and (options.output or options.verify or options.inspect):
        raise UsageError("--diff compares and writes nothing; leave out -o, --verify and --inspect")
    if options.diff is None and (options.on or options.tolerance is not None):
        raise UsageError("--on and --tolerance belong to --diff")
    if options.survey:
        return _survey(options)
    if options.diff is not None:
        return compare(options)
    options.file = look_at_model(options.file)
    if is_mean(options.file):
        return inspect_mean(options)
    with naming(str(options.file)):
        return inspect(options) if options.inspect else convert(options)


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


if __name__ == "__main__":
    sys.exit(main())
