"""What a data layer's file reader is to the net that it feeds, and which reader serves which layer type.

    Layer, phase, seed ── source_of ─→ Source ── next ─→ one array for each top

A module of this folder registers its class with `feeds`; `source_of` finds it by itself.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from functools import cache
from typing import TypeVar

from caffe2torch.blob import Array
from caffe2torch.errors import UnsupportedLayer
from caffe2torch.net import Layer

Shape = tuple[int, ...]
Batch = tuple["Array | None", ...]
"""A float32 array for each top; None for a top that keeps the values it has."""


class Source:
    """What fills the tops of a data layer, batch after batch, for as long as its net lives.

    Made when a net is built: what Caffe would abort on by then is raised by the constructor (MissingData,
    ReadError, UnsupportedLayer). Random draws come from a generator seeded with `seed`, never from a global
    one, so that two sources of one seed give the same batches. Only `next` takes a batch.
    """

    def __init__(self, layer: Layer, phase: str, seed: int) -> None:
        """`phase` is "TRAIN" or "TEST"."""
        self.layer, self.phase, self.seed = layer, phase, seed

    def shapes(self) -> tuple[Shape, ...]:
        """The shapes of the tops, as the net is built with them: those of the first batch."""
        raise NotImplementedError

    def start(self) -> Batch:
        """What the tops hold before the first batch; None, for zeros, unless a source says otherwise."""
        return (None,) * len(self.layer.tops)

    def next(self) -> Batch:
        """The next batch: C-contiguous float32 arrays, whose shapes may differ from those before.

        The arrays are the caller's: a source does not write to them again, unless it says so itself.
        """
        raise NotImplementedError


class Sink:
    """What takes the bottoms of a layer without tops, such as an HDF5Output."""

    def __init__(self, layer: Layer, phase: str, seed: int) -> None:
        """As for a Source."""
        self.layer = layer

    def take(self, *bottoms: Array) -> None:
        """One batch; the arrays are only valid until this returns."""
        raise NotImplementedError


_S = TypeVar("_S", bound="type[Source] | type[Sink]")
_SOURCES: dict[str, type[Source] | type[Sink]] = {}


def feeds(*types: str) -> Callable[[_S], _S]:
    """Registers the decorated Source or Sink for Caffe layer types."""

    def register(source: _S) -> _S:
        for layer_type in types:
            if layer_type in _SOURCES:
                raise RuntimeError(f"{layer_type} has two sources")
            _SOURCES[layer_type] = source
        return source

    return register


@cache
def sources() -> dict[str, type[Source] | type[Sink]]:
    """Every Source and Sink by layer type; importing the modules of this folder registers them."""
    from caffe2torch import feeding

    for module in pkgutil.walk_packages(feeding.__path__, f"{feeding.__name__}."):
        importlib.import_module(module.name)
    return dict(sorted(_SOURCES.items()))


def source_of(layer: Layer, phase: str, seed: int) -> Source:
    """The Source of a data layer. Raises UnsupportedLayer for a type that has none, and what it raises."""
    known = sources().get(layer.type)
    if known is None or not issubclass(known, Source):
        raise UnsupportedLayer(layer.name, layer.type, "nothing here reads its data; give the net an Input")
    return known(layer, phase, seed)


def sink_of(layer: Layer, phase: str, seed: int) -> Sink | None:
    """The Sink of a layer; None for a type that has none."""
    known = sources().get(layer.type)
    return known(layer, phase, seed) if known is not None and issubclass(known, Sink) else None
