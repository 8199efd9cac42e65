"""The files on fcn-convert's command line: a model, or Caffe's usual two, told apart by their content."""

from __future__ import annotations

import argparse

from caffe2torch.command_line import UsageError
from caffe2torch.opening import look_at_model
from caffe2torch.untrusted.kinds import File, Kind


def with_files(options: argparse.Namespace) -> argparse.Namespace:
    """The options with `file`, the model, and `prototxt`, which may have been given as a second FILE.

    Raises UsageError without a file, for more than two, and for two that are not a prototxt and its weights.
    """
    if len(options.files) == 2:
        file, prototxt = _told_apart(options)
        return argparse.Namespace(**{**vars(options), "file": file, "prototxt": prototxt})
    return argparse.Namespace(**{**vars(options), "file": only_file(options)})


def only_file(options: argparse.Namespace) -> str:
    """The one FILE. Raises UsageError without any or with more."""
    if not options.files:
        raise UsageError("give a FILE; see fcn-convert --help")
    if len(options.files) > 1:
        takes = "--survey takes one folder" if options.survey else "give a model, and its prototxt if needed"
        raise UsageError(f"{len(options.files)} files were given; {takes}; see fcn-convert --help")
    return str(options.files[0])


def _told_apart(options: argparse.Namespace) -> tuple[File, File]:
    """The weights and the prototxt, given in either order."""
    names = " and ".join(options.files)
    if options.prototxt is not None:
        raise UsageError(f"{names}, and a --prototxt: give the weights and one prototxt")
    files = [look_at_model(file) for file in options.files]
    texts = [file for file in files if file.kind is Kind.PROTOTXT]
    if len(texts) == 2:
        raise UsageError(f"{names}: both are text; give one prototxt and the weights")
    if not texts:
        raise UsageError(f"{names}: neither is a prototxt; to compare two models, use --diff")
    (prototxt,) = texts
    (weights,) = (file for file in files if file is not prototxt)
    return weights, prototxt
