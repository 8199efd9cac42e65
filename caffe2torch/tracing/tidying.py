"""Drawn layers as the zoo writes them: in place where possible, without what Caffe does by itself.

A drawn net never writes a blob twice; these functions keep its meaning.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

from caffe2torch.net import Layer
from caffe2torch.net.fields import Fields

IN_PLACE = frozenset({"BatchNorm", "Dropout", "ELU", "PReLU", "ReLU", "Scale"})
"""Types that overwrite their bottom in the zoo's nets."""
OVERWRITTEN = frozenset(
    {"BatchNorm", "Concat", "Convolution", "Crop", "Deconvolution", "Dropout", "Eltwise", "InnerProduct"}
    | {"PReLU", "Pooling", "ReLU", "Scale"}
)
"""Types whose top may be overwritten: it has memory of its own, unlike Flatten's or Reshape's, and their
gradient does not need it, unlike LRN's or Sigmoid's (Backward_cpu of each)."""

Layers = tuple[Layer, ...]


def without_flattens(layers: Layers, outputs: Sequence[str]) -> Layers:
    """Removes a Flatten that only InnerProduct layers read: they flatten their bottom themselves."""
    bottoms = {}
    for layer in layers:
        if layer.type == "Flatten" and layer.tops[0] not in outputs and not layer.fields.has("flatten_param"):
            readers = [x for x in layers if layer.tops[0] in x.bottoms]
            if readers and all(_is_flat(x) for x in readers):
                bottoms[layer.tops[0]] = layer.bottoms[0]
    return _renamed(tuple(x for x in layers if x.tops[0] not in bottoms), bottoms)


def in_place(layers: Layers, outputs: Sequence[str]) -> tuple[Layers, dict[str, str]]:
    """Makes ReLU and the like overwrite a bottom that nothing else reads and that is not an output.

    Also returns the new names of blobs, by the old ones.
    """
    readers = Counter(bottom for layer in layers for bottom in layer.bottoms)
    free = {top for layer in layers if layer.type in OVERWRITTEN for top in layer.tops} - {*outputs}
    names: dict[str, str] = {}
    for layer in layers:
        if layer.type in IN_PLACE and len(layer.bottoms) == 1 and layer.bottoms[0] in free:
            (bottom,), (top,) = layer.bottoms, layer.tops
            if readers[bottom] == 1:
                names[top] = names.get(bottom, bottom)
    return _renamed(layers, names), names


def silenced(layers: Layers, outputs: Sequence[str]) -> Layers:
    """Adds a Silence for a layer's tops that nothing reads: Caffe would make them outputs of the net."""
    read = {*outputs, *(bottom for layer in layers for bottom in layer.bottoms)}
    tidy: list[Layer] = []
    for layer in layers:
        tidy.append(layer)
        if layer.type == "Slice" and (idle := tuple(top for top in layer.tops if top not in read)):
            tidy.append(Layer(f"{layer.name}/silence", "Silence", idle, (), Fields("LayerParameter", {})))
    return tuple(tidy)


def called(layers: Layers, names: Mapping[str, str]) -> Layers:
    """The layers with some blobs renamed."""
    return _renamed(layers, names)


def _is_flat(layer: Layer) -> bool:
    return layer.type == "InnerProduct" and layer.fields.inner_product_param.axis == 1


def _renamed(layers: Layers, names: Mapping[str, str]) -> Layers:
    def rename(blobs: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(names.get(blob, blob) for blob in blobs)

    return tuple(replace(x, bottoms=rename(x.bottoms), tops=rename(x.tops)) for x in layers)
