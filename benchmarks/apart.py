"""A drawn net rewritten so that Caffe cannot overwrite what it still needs: the same function, by copies.

Each layer in place gets a top of its own. What else is its bottom's memory, under other names, is made anew
from that top for whoever reads it later. And no blob shares its gradient's memory with another one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

from drawn_layers import message
from drawn_nets import DrawnNet, LayerText

SEEN_OTHERWISE = ("Flatten", "Reshape", "Split")


class Apart:
    """Rewrites a net; `kind` is the one type of layers to free from being in place, empty for all of them."""

    def __init__(self, net: DrawnNet, kind: str = "") -> None:
        self.net, self.kind = net, kind
        self.layers = [layer for layer in net.layers if layer.included]
        self.names: dict[str, str] = {}
        """The last name of each blob that has a new one."""
        self._memory: dict[str, set[str]] = {}
        """By blob: all that are in its memory."""

    def rewritten(self) -> DrawnNet:
        """The net; afterwards, `names` says what its blobs are called."""
        layers = [new for place in range(len(self.layers)) for new in self._layer(place)]
        return replace(self.net, layers=tuple(layers))

    def _layer(self, place: int) -> Iterator[LayerText]:
        layer = self.layers[place]
        written = [top for top in layer.tops if top in layer.bottoms]
        bottoms = self._named(layer.bottoms)
        if self.kind in ("", layer.kind):
            self.names |= {top: f"{top}_{place}" for top in written}
        yield from self._copying(replace(layer, bottoms=bottoms, tops=self._named(layer.tops)))
        self._remember(layer)
        if self.kind in ("", layer.kind):
            for top in written:
                yield from self._made_anew(top, place)

    def _named(self, blobs: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(self.names.get(blob, blob) for blob in blobs)

    def _remember(self, layer: LayerText) -> None:
        """Which blobs are in one memory."""
        for top in layer.tops:
            if top not in layer.bottoms:
                shared = layer.kind in SEEN_OTHERWISE or _renames(layer)
                self._memory[top] = self._memory[layer.bottoms[0]] if shared else set()
                self._memory[top].add(top)

    def _made_anew(self, written: str, place: int) -> Iterator[LayerText]:
        """The other blobs of a memory, from the one that a layer has just written there."""
        for blob in sorted(self._memory[written] - {written}):
            if self._matters(blob, place):
                source, self.names[blob] = self.names[written], f"{blob}_{place}"
                dims = message("shape", *(f"dim: {size}" for size in self.net.shapes[blob]))
                tops, fields = (self.names[blob],), message("reshape_param", dims)
                yield from self._copying(LayerText(f"{blob}_{place}", "Reshape", (source,), tops, fields))

    def _matters(self, blob: str, place: int) -> bool:
        """Whether a later layer reads it, or none does at all."""
        readers = [i for i, layer in enumerate(self.layers) if blob in layer.bottoms]
        return not readers or readers[-1] > place

    def _copying(self, layer: LayerText) -> Iterator[LayerText]:
        """The layer, so that its top's gradient has its own memory, where all of the net is to be apart."""
        if self.kind:
            yield layer
        elif _renames(layer):
            fields = re.sub(r"(slice|concat)_param { [^}]*}", "", layer.fields)
            yield replace(layer, kind="Power", fields=fields)
        elif layer.kind in ("Flatten", "Reshape"):
            copy = f"{layer.name}_copy"
            yield LayerText(copy, "Power", layer.bottoms, (copy,))
            yield replace(layer, bottoms=(copy,))
        else:
            yield layer


def _renames(layer: LayerText) -> bool:
    """Whether a layer gives its bottom on as it is."""
    return layer.kind in ("Slice", "Concat") and len(layer.bottoms) == len(layer.tops) == 1
