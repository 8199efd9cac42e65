"""What fcn-convert can be asked to do, and the options that each verb takes.

Each verb imports its own modules when it runs, so that the others start faster.
"""

from __future__ import annotations

import argparse

from caffe2torch.command_line import Answer, UsageError, Verb

_MEANT = ("--mean", "--trained-on", "--ignore-unknown-fields", "--align-crops")
_READING = ("FILE", "--prototxt", "--convolutionalize", "--stage", *_MEANT)
_WRITING = ("-o", "--force", "--format", "--dtype", "--form", "--arch", "--verify", "--check", "--shape")

_KNOWING = ("--allow-missing", "--classes")
_ENGINE = ("--opset", "--size", "--batch", "--upsampling", "--elide", "--check-in")


def _convert(options: argparse.Namespace) -> Answer:
    from caffe2torch.cli.convert import convert
    from caffe2torch.cli.files import with_files
    from caffe2torch.cli.inspect import inspect_mean
    from caffe2torch.cli.source import naming
    from caffe2torch.opening import is_mean, look_at_model

    options = with_files(options)
    options.file = look_at_model(options.file)
    if is_mean(options.file):
        return inspect_mean(options)  # refuses it
    with naming(str(options.file)):
        return convert(options)


def _inspect(options: argparse.Namespace) -> Answer:
    from caffe2torch.cli.files import with_files
    from caffe2torch.cli.inspect import inspect, inspect_mean
    from caffe2torch.cli.source import naming
    from caffe2torch.opening import is_mean, look_at_model

    options = with_files(options)
    options.file = look_at_model(options.file)
    if is_mean(options.file):
        if any(getattr(options, name.lstrip("-").replace("-", "_")) for name in _READING[1:]):
            raise UsageError(f"{options.file}: is a mean; leave out the options for reading a net")
        return inspect_mean(options)
    with naming(str(options.file)):
        return inspect(options)


def _compare(options: argparse.Namespace) -> Answer:
    from caffe2torch.cli.compare import compare
    from caffe2torch.cli.files import with_files

    return compare(with_files(options))


def _survey(options: argparse.Namespace) -> Answer:
    from caffe2torch.cli.survey_folder import survey_folder

    return survey_folder(options)


def _list_layers(options: argparse.Namespace) -> Answer:
    from caffe2torch.cli.list_layers import list_layers

    return list_layers(options)


VERBS = (
    Verb("", _convert, (*_READING, *_KNOWING, *_WRITING, *_ENGINE), name="converting"),
    Verb("--inspect", _inspect, _READING, "print the table of layers; write nothing"),
    Verb(
        "--diff",
        _compare,
        (*_READING, "--allow-missing", "--run", "--on", "--trust", "--tolerance"),
        "compare FILE with OTHER; write nothing, exit with 1 if they differ",
        {"metavar": "OTHER"},
    ),
    Verb(
        "--survey",
        _survey,
        ("FILE", "--run", "--shape", "--ignore-unknown-fields"),
        "FILE is a folder: print how far each net in it gets",
    ),
    Verb("--list-layers", _list_layers, (), "print the layer types that are converted"),
)
