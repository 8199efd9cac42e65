"""Who makes, reads and overwrites each blob of a net (net.cpp)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from caffe2torch.errors import NetError
from caffe2torch.layers.converter import Converter
from caffe2torch.net import Layer

MAX_CHANGES = 1 << 18
"""Blobs that layers in place change besides their own: many names for one memory make them many."""


@dataclass
class _Version:
    """A blob as one layer made it, until another computes in place on it."""

    maker: Layer
    weighted: bool
    """Its maker gives it a `loss_weight`, which Caffe counts as a reader."""
    readers: list[Layer] = field(default_factory=list)


def check_blobs(layers: Sequence[Layer]) -> None:
    """Raises NetError where Caffe aborts: for a bottom that no layer before makes, and a top made twice.

    A layer computes in place where a top is its bottom at the same position, and nothing else reads that
    bottom: Caffe gives each of several readers a copy under another name.
    """
    versions: dict[str, _Version] = {}
    for layer in layers:
        for bottom in layer.bottoms:
            if bottom not in versions:
                raise NetError(f"layer {layer.name!r}: no layer before it makes its bottom {bottom!r}")
            versions[bottom].readers.append(layer)
        for position, top in enumerate(layer.tops):
            if (old := versions.get(top)) is not None:
                _check_in_place(layer, position, old)
            versions[top] = _Version(layer, any(layer.fields.loss_weight[position : position + 1]))


def _check_in_place(layer: Layer, position: int, old: _Version) -> None:
    top = layer.tops[position]
    if old.maker is layer or top not in layer.bottoms[position : position + 1]:
        if old.maker is layer:
            raise NetError(f"layer {layer.name!r} makes {top!r} twice; rename one")
        raise NetError(f"layers {old.maker.name!r} and {layer.name!r} both make {top!r}; rename one")
    others = [f"layer {reader.name!r} reads too" for reader in old.readers if reader is not layer]
    others += ["it reads twice"] * (len(old.readers) - len(others) > 1)
    others += [f"layer {old.maker.name!r} gives a loss_weight"] * old.weighted
    if others:
        raise NetError(f"layer {layer.name!r} computes in place on {top!r}, which {others[0]}; rename it")


def of_other_size(layer: Layer, top: str, blob: str) -> NetError:
    """What is wrong with a layer that gives `top` another size in place, while `blob` shares its memory."""
    problem = f"gives {top!r} another size in place, but {blob!r}, which is still read, is in the same memory"
    return NetError(f"layer {layer.name!r}: {problem}; rename its top")


class Memory:
    """Which blobs are one piece of memory in Caffe, so that a layer in place on one of them changes all."""

    def __init__(self) -> None:
        self._pieces: dict[str, set[str]] = {}
        """The blobs in the memory of each; those of one memory have the same set."""
        self._changes = 0

    def written(self, layer: Layer, converter: Converter) -> dict[str, str]:
        """Takes note of a layer; returns the blobs that it changes besides its tops, each with the top.

        Raises NetError for more of them than any net has.
        """
        changed: dict[str, str] = {}
        for position, top in enumerate(layer.tops):
            if top in layer.bottoms[position : position + 1]:
                changed |= dict.fromkeys(self._pieces[top] - {top}, top)
            else:
                self._pieces[top] = self._pieces[layer.bottoms[0]] if converter.shares_memory() else set()
                self._pieces[top].add(top)
        self._changes += len(changed)
        if self._changes > MAX_CHANGES:
            problem = f"in place, the net's layers change more than {MAX_CHANGES} other blobs"
            raise NetError(f"layer {layer.name!r}: {problem}; no net needs as many names for one memory")
        return changed
