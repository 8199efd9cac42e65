"""FILE -> a checked file for PyTorch."""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from caffe2torch.cli.existing import replaced
from caffe2torch.cli.screen import Outcome, compared, numbers, verified
from caffe2torch.cli.source import insisted, read_source
from caffe2torch.command_line import Answer, NotVerified, ProgressLine, UsageError
from caffe2torch.errors import MissingData
from caffe2torch.formats import format_for, formats, write
from caffe2torch.net import Net
from caffe2torch.net.classes import read_classes, with_classes
from caffe2torch.net.knowledge import Knowledge
from caffe2torch.net.preprocessing import with_mean
from caffe2torch.opening import vgg16_origin
from caffe2torch.plan import Plan, plan
from caffe2torch.plan.phase import without_splits
from caffe2torch.plan.warnings import warnings_of
from caffe2torch.untrusted.mapped import AnyPath
from caffe2torch.writing.digest import Digest
from caffe2torch.writing.model import Engine, Model, model_of

if TYPE_CHECKING:
    from torch import nn

    from caffe2torch.modules.report import Report

_SUFFIXES = (".caffemodel.h5", ".caffemodel", ".safetensors", ".prototxt", ".h5", ".pth")


def convert(options: argparse.Namespace) -> Answer:
    """Writes what FILE holds, verified if asked for."""
    start, digest = time.perf_counter(), Digest(options.file)
    target, kind = _target(options)
    old = replaced(target, kind, [*filter(None, (options.file, options.prototxt))], options.force)
    run = options.check == "run" or formats()[kind].read is None
    shapes = insisted(options, run)
    if kind == "safetensors":
        digest.begin()  # while the file is read and checked
    source = read_source(options)
    if not source.net.weights and kind != "prototxt":
        problem = "is a prototxt, without weights; give the caffemodel, and this as --prototxt"
        raise MissingData(f"{options.file}: {problem}")
    planned = plan(source.net, allow_missing=options.allow_missing)
    warnings = tuple(f"{options.file}: {warning}" for warning in warnings_of(planned))
    if options.arch is not None:
        from caffe2torch.zoo.recognition import insist

        insist(planned, options.arch)
    told = _told(options, planned, source)
    warnings += tuple(_contradicted(options.file, source.knowledge, told))
    model = replace(
        _complete(planned, source),
        digest=digest,
        **vars(told),
        origin=source.origin,
        shapes=shapes,
        engine=_engine(options),
    )
    if options.form == "train":
        model = _as_trained(model, source.net, kind)
    reports = {} if options.verify is None else _verified(model, options.verify)
    rest = "running it on random inputs of two sizes, to compare" if run else ""
    progress = ProgressLine("MB", 1e6, rest)
    try:
        check = write(model, target, kind, options.dtype, progress, True, run, options.force)
    finally:
        progress.wipe()
    seconds = time.perf_counter() - start
    outcome = Outcome(model, reports, str(target), kind, options.dtype, seconds, check, warnings, old)
    return Answer(str(outcome), outcome.facts(), warnings=warnings)


def _engine(options: argparse.Namespace) -> Engine:
    """What the options ask of a graph."""
    return Engine(
        opset=options.opset,
        size=options.size or (),
        batch=options.batch,
        upsampling=options.upsampling,
        elide=options.elide,
        check_in=tuple(options.check_in),
    )


def _told(options: argparse.Namespace, planned: Plan, source: Model) -> Knowledge:
    """What the file says of its net, and what the user does."""
    known = source.knowledge
    if options.classes is not None:
        told, _ = read_classes(options.classes)
        known = replace(known, labellings=with_classes(known.labellings, planned.output_shapes, told))
    if options.mean is None or vgg16_origin(options.file):
        return known
    return replace(known, preprocessing=with_mean(known.preprocessing, planned.inputs, options.mean))


def _contradicted(path: AnyPath, before: Knowledge, after: Knowledge) -> Iterator[str]:
    """Which means and classes of the file others replace."""
    for blob, known in before.preprocessing.items():
        if known.mean and known.mean != after.preprocessing[blob].mean:
            own, given = numbers(known.mean), numbers(after.preprocessing[blob].mean)
            yield f"{path}: says that the mean of {blob} is {own}; --mean replaces it by {given}"
    for blob, named in before.labellings.items():
        if named.classes != after.labellings[blob].classes:
            yield f"{path}: names the classes of {blob} otherwise; --classes replaces them"


def _target(options: argparse.Namespace) -> tuple[Path, str]:
    """The file to write, by default beside FILE, under its name; and its format."""
    if options.output is not None:
        return Path(options.output), format_for(options.output, options.format).name
    folder, name = os.path.split(options.file)
    stem = next((name.removesuffix(suffix) for suffix in _SUFFIXES if name.endswith(suffix)), name)
    chosen = format_for("", options.format or "safetensors")
    return Path(folder, stem + chosen.suffixes[0]), chosen.name


def _as_trained(model: Model, net: Net, kind: str) -> Model:
    """The model with all layers of the net, also those that only training uses."""
    if not formats()[kind].keeps_training:
        whole = ", ".join(name for name, known in formats().items() if known.keeps_training)
        raise UsageError(f"--form train is for {whole}; {kind} holds a net to run")
    return replace(model, net=without_splits(net), planned=None)


def _complete(planned: Plan, source: Model) -> Model:
    """The plan to write; parameters without values get Caffe's filler, the same numbers every time."""
    if source.net.weights and any(parameter.blob is None for parameter in planned.parameters()):
        from caffe2torch._torch import torch
        from caffe2torch.modules.caffe_net import CaffeNet

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return model_of(CaffeNet(planned))
    return model_of(planned)


def _verified(model: Model, reference: str) -> dict[str, Report]:
    """The reports of the net as built, and of the hand-written module of a zoo's FCN, if all is well."""
    from caffe2torch.modules.caffe_net import CaffeNet
    from caffe2torch.modules.report import verify

    built = CaffeNet(model.plan)
    roads: dict[str, nn.Module] = {"build": built}
    if model.architecture is not None:
        from caffe2torch.modules.fcn_general import poured

        roads[model.architecture.name] = poured(built, model.architecture)
    reports = {road: verify(module, reference) for road, module in roads.items()}
    if failed := [road for road, report in reports.items() if not report.ok]:
        by = " and ".join(failed)
        problem = f"{model.net.weights}: differs from {reference} by {by}; nothing was written"
        raise NotVerified(problem, Answer(compared(reports), {"verified": verified(reports)}))
    return reports
