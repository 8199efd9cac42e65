"""Caffe's files as they are on disk -> nets: prototxt, caffemodel, .caffemodel.h5, .binaryproto, .solverstate(.h5).

    prototxt   --read_prototxt-->   message
    caffemodel --read_caffemodel--> message + blobs (views of the memory-mapped file)
    both       --read-->            Net (upgraded, blobs matched to layers by name)

What a file is, its content tells, never its name.
"""

from __future__ import annotations

import mmap
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf import text_format

from caffe2torch import schema, upgrade
from caffe2torch.errors import MissingData, ReadError, SyntaxRefused
from caffe2torch.net import Array, Blob, Net, from_message
from caffe2torch.wire import scan

PathLike = str | Path


@dataclass(frozen=True)
class Caffemodel:
    """What a caffemodel holds."""

    message: Any
    blobs: tuple[Blob, ...]
    unknown: tuple[str, ...] = ()


@dataclass(frozen=True)
class SolverState:
    """Where a solver stopped: Caffe's SolverState."""

    iter: int
    learned_net: str
    history: tuple[Blob, ...]
    current_step: int


def read(prototxt: PathLike | None = None, weights: PathLike | None = None, *, ignore_unknown: bool = False) -> Net:
    """A net."""
    if prototxt is None and weights is None:
        raise ReadError("a net is read from a prototxt, a caffemodel or both; neither was given")
    stored = None if weights is None else read_caffemodel(weights)
    if prototxt is None:
        return _upgraded(stored.message, stored.blobs, str(weights), str(weights))
    message = read_prototxt(prototxt, ignore_unknown=ignore_unknown)
    net = _upgraded(message, (), str(prototxt), "" if stored is None else str(weights))
    if stored is None:
        return net
    trained = _upgraded(stored.message, stored.blobs, str(weights), str(weights))
    blobs = {layer.name: layer.blobs for layer in trained.layers}
    return replace(net, layers=tuple(replace(layer, blobs=blobs.get(layer.name, ())) for layer in net.layers))


def _upgraded(message, blobs, source, weights):
    message, notes = upgrade.upgrade_net(message, source)
    return replace(from_message(message, blobs, source, weights), notes=tuple(notes))


def read_prototxt(path: PathLike, kind: str = "NetParameter", ignore_unknown: bool = False) -> Any:
    text = Path(path).read_text()
    try:
        return text_format.Parse(text, schema.message(kind)(), allow_unknown_field=ignore_unknown)
    except text_format.ParseError as error:
        line = error.GetLine() or 1
        raise SyntaxRefused(str(path), line, error.GetColumn() or 1, str(error), text.splitlines()[line - 1]) from None


def read_caffemodel(path: PathLike) -> Caffemodel:
    skeleton, blobs = scan(_mapped(path))
    return Caffemodel(schema.message("NetParameter").FromString(skeleton), tuple(blobs))


def read_binaryproto(path: PathLike) -> Array:
    return scan(_mapped(path), "BlobProto")[1][0].read()


def read_solverstate(path: PathLike) -> SolverState:
    skeleton, blobs = scan(_mapped(path), "SolverState")
    state = schema.message("SolverState").FromString(skeleton)
    return SolverState(state.iter, state.learned_net, tuple(blobs), state.current_step)


def _mapped(path: PathLike) -> mmap.mmap:
    if not Path(path).exists():
        raise MissingData(f"{path}: no such file")
    with Path(path).open("rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
