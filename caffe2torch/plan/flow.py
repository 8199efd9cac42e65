"""Who makes, reads and overwrites each blob of a net, and what counts as its loss (net.cpp)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain

from caffe2torch.errors import NetError
from caffe2torch.layers.converter import Converter
from caffe2torch.net import Layer
from caffe2torch.plan.backward import can_be_forced


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


class Memory:
    """Which blobs are one piece of memory in Caffe, so that a layer in place on one of them changes all."""

    def __init__(self) -> None:
        self._pieces: dict[str, set[str]] = {}
        """The blobs in the memory of each; those of one memory have the same set."""

    def written(self, layer: Layer, converter: Converter) -> dict[str, str]:
        """Takes note of a layer; returns the blobs that it changes besides its tops, each with the top."""
        changed: dict[str, str] = {}
        for position, top in enumerate(layer.tops):
            if top in layer.bottoms[position : position + 1]:
                changed |= dict.fromkeys(self._pieces[top] - {top}, top)
            else:
                self._pieces[top] = self._pieces[layer.bottoms[0]] if converter.shares_memory() else set()
                self._pieces[top].add(top)
        return changed


@dataclass(frozen=True)
class LossTerm:
    """A top that counts as a loss."""

    blob: str
    weight: float
    learns: bool
    """Whether its weight has a gradient: in Caffe, a reader that leads to another loss overwrites it."""


def loss_weights(layer: Layer) -> tuple[float, ...]:
    """The weights of the layer's first tops in the loss of the net."""
    given: tuple[float, ...] = layer.fields.loss_weight
    return given or ((1.0,) if layer.type.endswith("Loss") else ())


class Backward:
    """Which layers of a net learn from its losses."""

    def __init__(self, converters: Sequence[Converter], learn: Sequence[bool], forced: bool) -> None:
        """`learn` says which layers have parameters to be learned, `forced` is the net's `force_backward`."""
        self._layers, self._converters = [converter.layer for converter in converters], converters
        self._readers = _readers(self._layers)
        self._flows = _flows(self._layers, learn, forced)
        self._under_loss = self._leads_to_loss()

    def _leads_to_loss(self) -> list[bool]:
        under = [any(loss_weights(layer)) for layer in self._layers]
        for place in reversed(range(len(self._layers))):
            readers = chain.from_iterable(self._readers[place])
            under[place] |= any(under[reader] and self._flows[reader][bottom] for reader, bottom in readers)
        return under

    def check(self) -> None:
        """Raises UnsupportedLayer for a learned bottom that can have no gradient, on which Caffe aborts.

        Raises NetError for a loss on which a layer computes in place: Caffe scales its weight at every step.
        """
        for layer, top, _, readers in self._losses():
            if any(top in self._layers[reader].tops for reader in readers):
                raise NetError(f"layer {layer.name!r}: its loss {top!r} is computed on in place; rename it")
        for converter, flows, under in zip(self._converters, self._flows, self._under_loss, strict=True):
            for bottom in sorted(converter.no_gradient):
                if under and any(flows[bottom : bottom + 1]):
                    name = converter.layer.bottoms[bottom]
                    raise converter.refuse(f"has no gradient for its bottom {name!r}, which needs one")

    def terms(self) -> tuple[LossTerm, ...]:
        """The tops that count as losses, in the net's order."""
        terms = []
        for layer, top, weight, readers in self._losses():
            given = bool(layer.fields.loss_weight)
            overwritten = any(self._under_loss[reader] for reader in readers)
            terms.append(LossTerm(top, weight, given or not overwritten))
            if given and readers and layer.type.endswith("Loss"):
                # The weight goes to a copy of the top (insert_splits.cpp), and the layer takes its default.
                terms.append(LossTerm(top, 1, False))
        return tuple(terms)

    def _losses(self) -> Iterator[tuple[Layer, str, float, list[int]]]:
        """Each top with a weight in the loss, with its layer and the layers that read it."""
        for layer, readers in zip(self._layers, self._readers, strict=True):
            for top, weight, by in zip(layer.tops, loss_weights(layer), readers, strict=False):
                if weight:
                    yield layer, top, weight, [reader for reader, _ in by]


def _readers(layers: Sequence[Layer]) -> list[list[list[tuple[int, int]]]]:
    """By layer and top: the layers, and which of their bottoms, that read the blob as that layer made it."""
    readers: list[list[list[tuple[int, int]]]] = []
    current: dict[str, list[tuple[int, int]]] = {}
    for place, layer in enumerate(layers):
        for position, bottom in enumerate(layer.bottoms):
            current[bottom].append((place, position))
        readers.append([[] for _ in layer.tops])
        current |= zip(layer.tops, readers[-1], strict=True)
    return readers


def _flows(layers: Sequence[Layer], learn: Sequence[bool], forced: bool) -> list[tuple[bool, ...]]:
    """By layer and bottom: whether Caffe computes a gradient there, as far as a loss asks for one."""
    learned: dict[str, bool] = {}
    flows = []
    for layer, learns in zip(layers, learn, strict=True):
        asked = layer.fields.propagate_down or [learned[bottom] for bottom in layer.bottoms]
        flows.append(tuple(flow or (forced and can_be_forced(layer, i)) for i, flow in enumerate(asked)))
        learned |= dict.fromkeys(layer.tops, learns or any(flows[-1]))
    return flows
