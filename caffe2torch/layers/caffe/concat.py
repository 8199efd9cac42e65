"""Layers that join, split and repeat blobs: Concat, Slice, Split, Tile."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from caffe2torch._torch import torch
from caffe2torch.layers.axes import canonical, part, product
from caffe2torch.layers.caffe.eltwise import agree
from caffe2torch.layers.converter import Converter, Shape
from caffe2torch.layers.geometry import View
from caffe2torch.layers.python_form import Place, PythonForm, literal, operand
from caffe2torch.layers.registry import converts
from caffe2torch.net import Layer

if TYPE_CHECKING:
    from torch import Tensor


@converts("Concat")
class Concat(Converter):
    """The bottoms concatenated along `axis` (or the older `concat_dim`)."""

    bottom_count = (1, None)

    def __init__(self, layer: Layer, bottoms: tuple[Shape | None, ...]) -> None:
        super().__init__(layer, bottoms)
        p = layer.fields.concat_param
        self.axis = p.concat_dim if p.has("concat_dim") else p.axis

    def shares_memory(self) -> bool:
        return len(self.bottoms) == 1

    def look(self, view: View) -> View | None:
        return view if self.axis in (0, 1) else None

    def top_shapes(self) -> tuple[Shape | None, ...]:
        known = [bottom for bottom in self.bottoms if bottom is not None]
        if len(known) != len(self.bottoms):
            return (None,)
        axis = canonical(self, known[0], self.axis)
        for bottom in known[1:]:
            if not agree(known[0][:axis] + known[0][axis + 1 :], bottom[:axis] + bottom[axis + 1 :]):
                raise self.refuse(f"its bottoms {known[0]} and {bottom} differ on axes other than {axis}")
        sizes = [bottom[axis] for bottom in known]
        total = None if None in sizes else sum(size for size in sizes if size is not None)
        return ((*known[0][:axis], total, *known[0][axis + 1 :]),)

    def forward(self, *bottoms: Tensor, **blobs: Tensor) -> Tensor:
        return torch.cat(bottoms, self.axis)

    def python(self, place: Place) -> PythonForm:
        return PythonForm(f"torch.cat([{', '.join(place.bottoms)}], dim={self.axis})")


@converts("Split")
class Split(Converter):
    """The same blob under several names."""

    top_count = (1, None)

    def shares_memory(self) -> bool:
        return True

    def forward(self, *bottoms: Tensor, **blobs: Tensor) -> tuple[Tensor, ...]:
        return bottoms * len(self.layer.tops)

    def python(self, place: Place) -> PythonForm:
        return PythonForm(", ".join(place.bottoms * len(self.layer.tops)))


@converts("Slice")
class Slice(Converter):
    """The bottom cut along `axis` (or the older `slice_dim`) at each `slice_point`, or into equal parts."""

    top_count = (1, None)

    def __init__(self, layer: Layer, bottoms: tuple[Shape | None, ...]) -> None:
        super().__init__(layer, bottoms)
        p = layer.fields.slice_param
        if p.has("slice_dim") and p.has("axis"):
            raise self.refuse("axis and slice_dim are both given")
        self.axis = p.slice_dim if p.has("slice_dim") else p.axis
        self.points = p.slice_point
        if self.points and len(self.points) != len(layer.tops) - 1:
            raise self.refuse(f"{len(self.points)} slice_point for {len(layer.tops)} tops; give one fewer")
        if list(self.points) != sorted({*self.points} - {0}):
            raise self.refuse(f"slice_point: {self.points} must be positive and increasing")

    def shares_memory(self) -> bool:
        return len(self.layer.tops) == 1

    def look(self, view: View) -> View | None:
        return view if self.axis in (0, 1) else None

    def top_shapes(self) -> tuple[Shape | None, ...]:
        bottom, tops = self.bottoms[0], len(self.layer.tops)
        if bottom is None:
            return (None,) * tops
        axis = canonical(self, bottom, self.axis)
        size = bottom[axis]
        edges = (None,) * (tops + 1) if size is None else self._edges(size)
        sizes = [None if end is None or start is None else end - start for start, end in pairwise(edges)]
        return tuple((*bottom[:axis], size, *bottom[axis + 1 :]) for size in sizes)

    def _edges(self, size: int) -> tuple[int, ...]:
        tops = len(self.layer.tops)
        if self.points:
            if self.points[-1] >= size:
                raise self.refuse(f"slice_point: {self.points[-1]} is not within its axis of {size}")
            return (0, *self.points, size)
        if size % tops:
            raise self.refuse(f"{size} values on axis {self.axis} cannot be split into {tops} equal tops")
        return tuple(size // tops * top for top in range(tops + 1))

    def forward(self, *bottoms: Tensor, **blobs: Tensor) -> tuple[Tensor, ...]:
        (x,) = bottoms
        axis = self.axis % x.ndim
        edges = self._edges(x.shape[axis])
        return tuple(x[part(axis, start, end)] for start, end in pairwise(edges))

    def python(self, place: Place) -> PythonForm:
        (x,), tops = place.bottoms, len(self.layer.tops)
        if tops == 1:
            return PythonForm(x)
        if self.points:
            return PythonForm(f"{operand(x)}.tensor_split({literal(self.points)}, dim={self.axis})")
        return PythonForm(f"{operand(x)}.chunk({tops}, dim={self.axis})")


@converts("Tile")
class Tile(Converter):
    """The bottom repeated `tiles` times along `axis`."""

    def __init__(self, layer: Layer, bottoms: tuple[Shape | None, ...]) -> None:
        super().__init__(layer, bottoms)
        self.p = layer.fields.tile_param
        if self.p.tiles < 1:
            raise self.refuse(f"tiles: {self.p.tiles} must be given and positive")

    def look(self, view: View) -> View | None:
        return view if self.p.axis in (0, 1) else None

    def top_shapes(self) -> tuple[Shape | None, ...]:
        bottom = self.bottoms[0]
        if bottom is None:
            return (None,)
        axis = canonical(self, bottom, self.p.axis)
        return ((*bottom[:axis], product((bottom[axis], self.p.tiles)), *bottom[axis + 1 :]),)

    def forward(self, *bottoms: Tensor, **blobs: Tensor) -> Tensor:
        return torch.cat(bottoms * self.p.tiles, self.p.axis)

    def python(self, place: Place) -> PythonForm:
        return PythonForm(f"torch.cat([{place.bottoms[0]}] * {self.p.tiles}, dim={self.p.axis})")
