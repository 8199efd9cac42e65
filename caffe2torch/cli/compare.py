"""--diff: FILE beside OTHER."""

from __future__ import annotations

import argparse
from dataclasses import replace
from functools import partial

from caffe2torch.cli.source import naming, read_source
from caffe2torch.command_line import Answer
from caffe2torch.opening import defines_net, look_at_model, vgg16_origin
from caffe2torch.plan import plan
from caffe2torch.untrusted.kinds import File, Kind
from caffe2torch.writing.model import Model, model_of


def compare(options: argparse.Namespace) -> Answer:
    """What differs between FILE and OTHER; exit code 1 if anything does."""
    from caffe2torch.comparing.files import between
    from caffe2torch.comparing.nets import TOLERANCE

    tolerance = TOLERANCE if options.tolerance is None else options.tolerance
    files = (look_at_model(options.file), look_at_model(options.diff))
    read = partial(_side, options, files)
    found = between(*files, read, tolerance, run=options.run, on=options.on, trust=options.trust)
    return Answer(str(found), found.as_dict(), 0 if found.same else 1)


def _side(options: argparse.Namespace, files: tuple[File, File], file: File) -> Model | None:
    """A side of --diff; None where none defines its net. A --prototxt is for HDF5 files, or else for FILE."""
    hdf5 = [each for each in files if each.kind is Kind.HDF5]
    prototxt = options.prototxt if file in (hdf5 or files[:1]) else None
    if not defines_net(file) and (prototxt is None or file.kind is not Kind.HDF5):
        return None
    own = {"file": file, "prototxt": prototxt, "mean": options.mean if vgg16_origin(file) else None}
    own["trained_on"] = options.trained_on if vgg16_origin(file) == "torchvision" else None
    with naming(str(file)):
        source = read_source(argparse.Namespace(**{**vars(options), **own}))
        planned = plan(source.net, allow_missing=options.allow_missing)
    return replace(model_of(planned), **vars(source.knowledge), origin=source.origin)
