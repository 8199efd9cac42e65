"""--diff: FILE beside OTHER."""

from __future__ import annotations

import argparse
from dataclasses import replace
from functools import partial

from caffe2torch.cli.answer import Answer
from caffe2torch.cli.source import naming, read_source
from caffe2torch.formats.model import Conversion, conversion
from caffe2torch.formats.opening import (
    defines_net,
    is_hdf5,
    vgg16_origin,
    weights_in,
)
from caffe2torch.plan import plan


def compare(options: argparse.Namespace) -> Answer:
    """What differs between FILE and OTHER; exit code 1 if anything does."""
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
    with naming(path):
        source = read_source(argparse.Namespace(**{**vars(options), **own}))
        planned = plan(source.net, allow_missing=options.allow_missing)
    return replace(conversion(planned), preprocessing=source.preprocessing)
