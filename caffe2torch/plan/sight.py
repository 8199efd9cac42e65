"""How each blob of a net sees the inputs, followed layer by layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from caffe2torch.layers.converter import Converter, Shape
from caffe2torch.layers.geometry import View
from caffe2torch.net import Layer

MAX_VIEWED = 32
"""How many inputs are followed, the first ones: enough for any net with images, and for a net of a thousand
inputs it takes no thousand views of each layer."""


class Sight:
    """The views of all blobs so far."""

    def __init__(self) -> None:
        self._views: dict[str, dict[str, View]] = {}
        self._inputs = 0

    def of(self, layer: Layer) -> list[Mapping[str, View]]:
        """The views of a layer's bottoms."""
        return [self._views[bottom] for bottom in layer.bottoms]

    def begin(self, layer: Layer, tops: Sequence[Shape | None]) -> dict[str, View]:
        """Adds an input, whose tops see themselves; a shape that is not known is an image's."""
        axes = {top: len(shape or (1,) * 4) - 2 for top, shape in zip(layer.tops, tops, strict=True)}
        followed = list(axes.items())[: max(0, MAX_VIEWED - self._inputs)]
        self._inputs += len(tops)
        return self._add(layer, {top: View.of_input(n) for top, n in followed if n > 0})

    def follow(self, layer: Layer, converter: Converter, bottoms: Sequence[Shape | None]) -> dict[str, View]:
        """Adds a layer: its tops see what its bottoms, of these shapes, see through it."""
        seen: dict[str, View] = {}
        for position, (bottom, shape) in enumerate(zip(layer.bottoms, bottoms, strict=True)):
            if position in converter.shape_only:
                continue
            for name, view in self._views[bottom].items():
                looked = converter.look(view) if _fits(view, shape) else None
                if looked is not None:
                    seen[name] = seen[name].merged(looked) if name in seen else looked
        return self._add(layer, seen)

    def blind(self, layer: Layer) -> None:
        """Adds a layer of which nobody knows what it does."""
        self._add(layer, {})

    def _add(self, layer: Layer, seen: dict[str, View]) -> dict[str, View]:
        self._views |= dict.fromkeys(layer.tops, seen)
        return seen


def _fits(view: View, shape: Shape | None) -> bool:
    """Whether a view has as many axes as a blob has besides items and channels, if it has any."""
    return shape is None or len(shape) in (0, 1, 2, 2 + len(view.stride))
