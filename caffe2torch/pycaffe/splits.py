"""Split layers where Caffe inserts them, under the names that Caffe gives (insert_splits.cpp).

A blob that several layers read gets a copy for each, and a loss weight counts as a reader, which comes first.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from caffe2torch.net import Layer
from caffe2torch.net.fields import Fields

Version = tuple[int, int]
"""A blob as one layer made it: the layer's position, and the top's."""


def split_name(blob: str, layer: str, top: int) -> str:
    """The name of the Split layer of a blob that `layer` made as its top number `top`."""
    return f"{blob}_{layer}_{top}_split"


def with_splits(layers: Sequence[Layer]) -> tuple[Layer, ...]:
    """The layers with a Split after each that makes a blob with several readers."""
    count = _readers(layers)
    used: Counter[Version] = Counter()
    made: dict[str, Version] = {}
    whole: list[Layer] = []
    for position, layer in enumerate(layers):
        bottoms = []
        for bottom in layer.bottoms:
            version = made[bottom]
            maker = layers[version[0]].name
            copy = f"{split_name(bottom, maker, version[1])}_{used[version]}"
            bottoms.append(copy if count[version] > 1 else bottom)
            used[version] += 1
        made |= {top: (position, place) for place, top in enumerate(layer.tops)}
        whole += _followed(replace(layer, bottoms=tuple(bottoms)), position, count, used)
    return tuple(whole)


def _readers(layers: Sequence[Layer]) -> Counter[Version]:
    """How many read each blob as one layer made it."""
    count: Counter[Version] = Counter()
    made: dict[str, Version] = {}
    for position, layer in enumerate(layers):
        count.update(made[bottom] for bottom in layer.bottoms)
        made |= {top: (position, place) for place, top in enumerate(layer.tops)}
        weights = layer.fields.loss_weight
        count.update((position, place) for place, weight in enumerate(weights) if weight)
    return count


def _followed(layer: Layer, position: int, count: Counter[Version], used: Counter[Version]) -> list[Layer]:
    """The layer, and the Splits of its tops; the weight of one that is split moves to its first copy."""
    splits = []
    weights: tuple[float, ...] = layer.fields.loss_weight
    for place, top in enumerate(layer.tops):
        if (copies := count[position, place]) < 2:
            continue
        weight = weights[place] if place < len(weights) else 0.0
        splits.append(_split(top, split_name(top, layer.name, place), copies, weight))
        if weight:
            layer = replace(layer, fields=layer.fields.replace(loss_weight=None))
            used[position, place] += 1
    return [layer, *splits]


def _split(blob: str, name: str, copies: int, weight: float) -> Layer:
    tops = tuple(f"{name}_{copy}" for copy in range(copies))
    fields = Fields("LayerParameter", {})
    if weight:
        fields = fields.replace(loss_weight=(weight, *(0.0,) * (copies - 1)))
    return Layer(name, "Split", (blob,), tops, fields)
