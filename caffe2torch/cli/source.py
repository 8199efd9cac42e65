"""FILE and its companions, read as the options say."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from caffe2torch.cli.answer import UsageError
from caffe2torch.errors import NetError
from caffe2torch.formats.opening import (
    ModelFile,
    open_model,
    vgg16_origin,
)


@contextmanager
def naming(path: str) -> Iterator[None]:
    """Puts the file's name before what is wrong with its net, unless it is there."""
    try:
        yield
    except NetError as error:
        if path in str(error):
            raise
        raise NetError(f"{path}: {error}") from error


def read_source(options: argparse.Namespace) -> ModelFile:
    """FILE, with --prototxt and --convolutionalize."""
    if options.mean is not None and not vgg16_origin(options.file):
        raise UsageError("--mean is for weights of torchvision or Keras; other models have their own")
    unknown, mean = options.ignore_unknown_fields, options.mean
    source = open_model(options.file, options.prototxt, ignore_unknown=unknown, mean=mean)
    build = f"model = c2t.build(net{', allow_missing=True' if options.allow_missing else ''})"
    if not options.convolutionalize:
        return replace(source, code=(*source.code, build))
    from caffe2torch.weights.surgery import convolutionalize

    lines = ("from caffe2torch.weights.surgery import convolutionalize", "net = convolutionalize(net)")
    return replace(source, net=convolutionalize(source.net), code=(*source.code, *lines, build))
