"""Which converter handles which Caffe layer type.

A converter is all that this package knows about a type; `layers/` has one class for each and finds them by
itself. Reading, checking and shapes need no torch; only `forward` computes.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from functools import cache
from typing import TypeVar

from caffe2torch.errors import UnsupportedLayer
from caffe2torch.layers.converter import Converter, Shape
from caffe2torch.net import Layer
from caffe2torch.upgrades.speed import SPEED

_C = TypeVar("_C", bound=type[Converter])
_CONVERTERS: dict[str, type[Converter]] = {}


def converts(*types: str) -> Callable[[_C], _C]:
    """Registers the decorated Converter for Caffe layer types."""

    def register(converter: _C) -> _C:
        for layer_type in types:
            if layer_type in _CONVERTERS:
                raise RuntimeError(f"{layer_type} has two converters")
            _CONVERTERS[layer_type] = converter
        return converter

    return register


@cache
def converters() -> dict[str, type[Converter]]:
    """Every converter by layer type; importing the modules of `layers/` registers them."""
    from caffe2torch import layers

    for module in pkgutil.walk_packages(layers.__path__, f"{layers.__name__}."):
        importlib.import_module(module.name)
    return dict(sorted(_CONVERTERS.items()))


def converter_type(layer_type: str) -> type[Converter] | None:
    """The converter for a layer type, or None."""
    return converters().get(layer_type)


def converter_of(layer: Layer) -> type[Converter] | None:
    """The converter for a layer, None if its type has none."""
    known = converter_type(layer.type)
    return known and known.of(layer)


_NO_EFFECT = SPEED | {"diag_val", "norm_region", "reshape_every_iter"}
"""Fields of forks that say how fast to compute, when to reshape or how to fill, but change no result.

A Pooling's `norm_region` of 2014 was never read; an LRN's is Caffe's own, and not among these.
"""


def converter_for(layer: Layer, bottoms: tuple[Shape | None, ...]) -> Converter:
    """The converter for one layer.

    Raises UnsupportedLayer for an unknown type, and for fields of forks that it does not honour.
    """
    known = converter_of(layer)
    if known is None:
        raise UnsupportedLayer(
            layer.name, layer.type, "no converter for this layer type; --list-layers shows the known ones"
        )
    check_counts(layer, known)
    converter = known(layer, bottoms)
    for field in layer.fields.fork_fields():
        path = field.split(".")
        honoured = {".".join(path[: length + 1]) for length in range(len(path))} & known.fork_fields
        if not honoured and path[-1] not in _NO_EFFECT:
            raise converter.refuse(
                f"{field} is a field of a fork of Caffe, which this converter does not honour"
            )
    return converter


def check_counts(layer: Layer, known: type[Converter]) -> None:
    """Raises UnsupportedLayer unless Caffe takes so many bottoms, tops, propagate_down and loss_weight."""
    counted = (("bottom", layer.bottoms, known.bottom_count), ("top", layer.tops, known.top_count))
    for what, names, (least, most) in counted:
        if not least <= len(names) <= (len(names) if most is None else most):
            more = "" if least == most else f" to {most}" if most else " or more"
            plural = "" if (least, most) == (1, 1) else "s"
            problem = f"needs {least or 'no'}{more} {what}{plural}, has {len(names)}"
            raise UnsupportedLayer(layer.name, layer.type, problem)
    each = (("bottom", layer.bottoms, "propagate_down"), ("top", layer.tops, "loss_weight"))
    for what, names, field in each:
        given = len(getattr(layer.fields, field))
        if given not in (0, len(names)):
            problem = f"{given} {field}; give none, or one per {what}"
            raise UnsupportedLayer(layer.name, layer.type, problem)
