"""FILE and its companions, read as the options say."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from caffe2torch.command_line import UsageError
from caffe2torch.errors import NetError
from caffe2torch.opening import look_at_model, open_model, vgg16_origin
from caffe2torch.plan.phase import check_stages
from caffe2torch.writing.model import Model


@contextmanager
def naming(path: str) -> Iterator[None]:
    """Puts the file's name in front of an error in its net, unless the error has it."""
    try:
        yield
    except NetError as error:
        if path in str(error):
            raise
        raise NetError(f"{path}: {error}") from error


def insisted(options: argparse.Namespace, run: bool) -> dict[str, tuple[int, ...]]:
    """The shapes of inputs that --shape gives. Raises UsageError if nothing runs, or for two of one input."""
    shapes = dict(options.shape or ())
    if shapes and not run:
        needs = "--run" if options.survey else "--check run, or a format that is always run"
        raise UsageError(f"--shape is the shape to run a net on; it needs {needs}")
    if len(shapes) < len(options.shape or ()):
        raise UsageError("--shape gives an input two shapes; which one is meant?")
    return shapes


def read_source(options: argparse.Namespace) -> Model:
    """FILE, with --prototxt and --convolutionalize; `origin` has the lines of Python that do the same."""
    file = look_at_model(options.file)
    if options.mean is not None and (options.inspect or options.diff) and not vgg16_origin(file):
        raise UsageError("--mean is for converting, or for weights of torchvision or Keras")
    if options.trained_on is not None and vgg16_origin(file) != "torchvision":
        raise UsageError("--trained-on is for weights with torchvision's keys; other models tell it")
    model = open_model(
        file,
        options.prototxt,
        ignore_unknown=options.ignore_unknown_fields,
        align_crops=options.align_crops,
        mean=options.mean if vgg16_origin(file) else None,
        trained_on=options.trained_on,
    )
    more = f", stages={options.stage}" if options.stage else ""
    more += ", allow_missing=True" if options.allow_missing else ""
    lines = [f"model = c2t.build(net{more})"]
    if options.stage:
        check_stages(model.net, options.stage)
        model = replace(model, net=replace(model.net, stages=(*model.net.stages, *options.stage)))
    if options.convolutionalize:
        from caffe2torch.weights.surgery import convolutionalize

        model = replace(model, net=convolutionalize(model.net))
        lines.insert(0, "net = c2t.convolutionalize(net)")
    assert model.origin is not None  # noqa: S101 (it was read from a file)
    return replace(model, origin=replace(model.origin, code=(*model.origin.code, *lines)))
