"""--inspect: the table of a net, or the values of a mean."""

from __future__ import annotations

import argparse
import math

from caffe2torch.cli.screen import numbers, origin_facts, origin_text
from caffe2torch.cli.source import read_source
from caffe2torch.command_line import Answer
from caffe2torch.errors import ReadError
from caffe2torch.plan.phase import of_other_stages
from caffe2torch.plan.table import table_of
from caffe2torch.untrusted.binary import read_binaryproto, read_solverstate
from caffe2torch.untrusted.mapped import AnyPath


def inspect_mean(options: argparse.Namespace) -> Answer:
    """The shape of a mean image and its average colour."""
    try:
        mean = read_binaryproto(options.file)
    except ReadError as error:
        if _is_solverstate(options.file):
            raise ReadError(f"{options.file}: is a .solverstate; give the caffemodel") from None
        raise ReadError(f"{error} (it starts like a mean)") from None
    if not options.inspect:
        raise ReadError(f"{options.file}: is a mean, not a model; --inspect shows it")
    axes = 3 if mean.ndim > 4 else 2  # C3D's mean has a length, too
    channels = mean.reshape(-1, math.prod(mean.shape[-axes:])).mean(1, dtype=float).tolist()
    text = f"{options.file}: binaryproto, {mean.dtype} {mean.shape}\nper channel: {numbers(channels)}"
    return Answer(text, {"file": str(options.file), "shape": mean.shape, "mean": channels})


def _is_solverstate(file: AnyPath) -> bool:
    try:
        read_solverstate(file)
    except ReadError:
        return False
    return True


def inspect(options: argparse.Namespace) -> Answer:
    """The layers of a net, as a table."""
    model = read_source(options)
    table = table_of(model.net)
    head = f"{origin_text(model)}\nnet {model.net.name!r}\n"
    notes = tuple(dict.fromkeys((*table.notes, *of_other_stages(model.net))))
    facts = {**origin_facts(model), "notes": notes, **table.as_dict()}
    listed = "".join(f"\n- {note}" for note in notes)
    return Answer(f"{head}\n{table}{listed}", facts)
