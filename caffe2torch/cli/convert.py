"""FILE -> a checked file for PyTorch."""

from __future__ import annotations

import argparse
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from caffe2torch.cli.answer import Answer, NotVerified, UsageError
from caffe2torch.cli.progress import ProgressLine
from caffe2torch.cli.screen import Result, compared, verified
from caffe2torch.cli.source import read_source
from caffe2torch.errors import MissingData
from caffe2torch.formats import format_for, formats, write
from caffe2torch.formats.digest import Digest
from caffe2torch.formats.model import Conversion, conversion
from caffe2torch.formats.opening import (
    ModelFile,
)
from caffe2torch.net import Net
from caffe2torch.plan import Plan, plan
from caffe2torch.plan.phase import without_splits

if TYPE_CHECKING:
    from torch import nn

    from caffe2torch.modules.report import Report

_SUFFIXES = (".caffemodel.h5", ".caffemodel", ".safetensors", ".prototxt", ".h5", ".pth")


def convert(options: argparse.Namespace) -> Answer:
    """Writes what FILE holds, verified if asked for."""
    start, digest = time.perf_counter(), Digest(options.file)
    target, kind = _target(options)
    if kind == "safetensors":
        digest.begin()  # while the file is read and checked
    source = read_source(options)
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
        raise UsageError(f"--form train is for {whole}; {kind} holds a net to run")
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
        from caffe2torch.modules.fcn_general import poured

        roads[converted.architecture.name] = poured(built, converted.architecture)
    reports = {road: verify(model, reference) for road, model in roads.items()}
    if failed := [road for road, report in reports.items() if not report.ok]:
        by = " and ".join(failed)
        problem = f"{converted.net.weights}: differs from {reference} by {by}; nothing was written"
        raise NotVerified(problem, Answer(compared(reports), {"verified": verified(reports)}))
    return reports
