"""Layers that put blobs together, take them apart, or only take them."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from caffe2torch._torch import torch
from caffe2torch.layers.axes import canonical, product
from caffe2torch.layers.geometry import View
from caffe2torch.layers.python_form import Place, Source, literal, operand
from caffe2torch.layers.registry import Converter, Shape, converts
from caffe2torch.net import Layer

if TYPE_CHECKING:
    from torch import Tensor


@converts("Concat")
class Concat(Converter):
    """Bottoms one after the other along `axis` (or the older `concat_dim`)."""

    def __init__(self, layer: Layer, bottoms: tuple[Shape | None, ...]) -> None:
        super().__init__(layer, bottoms)
        p = layer.fields.concat_param
        self.axis = p.concat_dim if p.has("concat_dim") else p.axis

    def look(self, view: View) -> View | None:
        return view if self.axis in (0, 1) else None

    def top_shapes(self) -> tuple[Shape | None, ...]:
        known = [bottom for bottom in self.bottoms if bottom is not None]
        if len(known) != len(self.bottoms):
            return (None,)
        axis = canonical(self, known[0], self.axis)
        for bottom in known[1:]:
            if not _agree(known[0][:axis] + known[0][axis + 1 :], bottom[:axis] + bottom[axis + 1 :]):
                raise self.refuse(f"its bottoms {known[0]} and {bottom} differ beside axis {axis}")
        sizes = [bottom[axis] for bottom in known]
        total = None if None in sizes else sum(size for size in sizes if size is not None)
        return ((*known[0][:axis], total, *known[0][axis + 1 :]),)

    def forward(self, *bottoms: Tensor, **blobs: Tensor) -> Tensor:
        return torch.cat(bottoms, self.axis)

    def source(self, place: Place) -> Source:
        return Source(f"torch.cat([{', '.join(place.bottoms)}], dim={self.axis})")


def _agree(a: Shape, b: Shape) -> bool:
    return len(a) == len(b) and all(None in (x, y) or x == y for x, y in zip(a, b, strict=True))


def _term(x: str, coeff: float) -> str:
    """A bottom times its coefficient in Python."""
    if coeff in (1, -1):
        return operand(x) if coeff == 1 else f"-{operand(x)}"
    return f"{literal(coeff)} * {operand(x)}"


@converts("Eltwise")
class Eltwise(Converter):
    """SUM with `coeff`, PROD and MAX of two or more bottoms of one shape; and as in FlowNet SUM of one."""

    def __init__(self, layer: Layer, bottoms: tuple[Shape | None, ...]) -> None:
        super().__init__(layer, bottoms)
        p = self.p = layer.fields.eltwise_param
        if len(bottoms) < 2 and p.operation != "SUM":
            raise self.refuse(f"operation: {p.operation} needs two or more bottoms")
        if p.coeff and p.operation == "PROD":
            raise self.refuse("coeff does not go with operation: PROD")
        if p.coeff and len(p.coeff) != len(bottoms):
            raise self.refuse(f"{len(p.coeff)} coeff for {len(bottoms)} bottoms")
        for bottom in bottoms[1:]:
            if bottom is not None and bottoms[0] is not None and not _agree(bottom, bottoms[0]):
                raise self.refuse(f"its bottoms {bottoms[0]} and {bottom} differ")

    def forward(self, *bottoms: Tensor, **blobs: Tensor) -> Tensor:
        # Broadcasting would hide what Caffe refuses.
        if any(bottom.shape != bottoms[0].shape for bottom in bottoms):
            raise self.refuse(f"its bottoms differ: {', '.join(str(tuple(b.shape)) for b in bottoms)}")
        # Caffe takes coeff with MAX, too, and leaves it unused (eltwise_layer.cpp).
        coeff = self.p.coeff if self.p.operation == "SUM" else ()
        y = bottoms[0] * coeff[0] if coeff else bottoms[0]
        for position, x in enumerate(bottoms[1:], start=1):
            if self.p.operation == "PROD":
                y = y * x
            elif self.p.operation == "MAX":
                # Of equals Caffe takes the second bottom, then keeps it; all of the gradient goes there.
                y = torch.where(y > x, y, x) if position == 1 else torch.where(x > y, x, y)
            else:
                y = y + (x * coeff[position] if coeff else x)
        return y

    def source(self, place: Place) -> Source:
        if self.p.operation == "PROD":
            return Source(" * ".join(map(operand, place.bottoms)))
        if self.p.operation == "MAX":
            first, *others = place.bottoms
            for other in others:
                first = f"torch.maximum({first}, {other})"
            return Source(first)
        terms = [
            _term(bottom, coeff)
            for bottom, coeff in zip(place.bottoms, self.p.coeff or (1,) * len(place.bottoms), strict=True)
        ]
        return Source(" + ".join(terms).replace("+ -", "- "))


def crop(x: Tensor, like: Tensor, *offsets: int) -> Tensor:
    """The last axes of `x`, from `offsets` on, at the sizes they have in `like`."""
    for axis, offset in enumerate(offsets, start=x.ndim - len(offsets)):
        x = x.narrow(axis, offset, like.shape[axis])
    return x


@converts("Crop")
class Crop(Converter):
    """The first bottom cut to the second's size from `axis` on, starting at `offset` (crop_layer.cpp).

    The CROP of the CVPR 2015 nets names no offset; it is found from the alignment of the two bottoms.
    """

    shape_only = frozenset({1})

    def __init__(self, layer: Layer, bottoms: tuple[Shape | None, ...]) -> None:
        super().__init__(layer, bottoms)
        self.p = layer.fields.crop_param
        if len(bottoms) != 2:
            raise self.refuse(f"needs 2 bottoms, has {len(bottoms)}")
        axes = next((len(bottom) for bottom in bottoms if bottom is not None), 4)
        self.axis = canonical(self, (None,) * axes, self.p.axis)
        if len(self.p.offset) not in (0, 1, axes - self.axis):
            raise self.refuse(
                f"{len(self.p.offset)} offsets for {axes - self.axis} axes; give one, or one each"
            )
        offsets = tuple(self.p.offset) or (0,)
        self.offsets = offsets * (axes - self.axis) if len(offsets) == 1 else offsets

    def look(self, view: View) -> View | None:
        return view.shifted(self.offsets) if self.axis == 2 else None

    def top_shapes(self) -> tuple[Shape | None, ...]:
        cropped, reference = self.bottoms
        if cropped is None:
            return (None,)
        return ((*cropped[: self.axis], *(reference or (None,) * len(cropped))[self.axis :]),)

    def forward(self, *bottoms: Tensor, **blobs: Tensor) -> Tensor:
        y, reference = bottoms
        for axis, offset in enumerate(self.offsets, start=self.axis):
            if offset + reference.shape[axis] > y.shape[axis]:
                raise self.refuse(
                    f"offset {offset} + {reference.shape[axis]} is past {y.shape[axis]} on axis {axis}"
                )
        return crop(y, reference, *self.offsets)

    def source(self, place: Place) -> Source:
        arguments = [*place.bottoms, *map(str, self.offsets)]
        return Source(f"crop({', '.join(arguments)})", parts=(crop,))


@converts("Split")
class Split(Converter):
    """The same blob under several names."""

    def forward(self, *bottoms: Tensor, **blobs: Tensor) -> tuple[Tensor, ...]:
        return bottoms * len(self.layer.tops)

    def source(self, place: Place) -> Source:
        return Source(", ".join(place.bottoms * len(self.layer.tops)))


@converts("Slice")
class Slice(Converter):
    """The bottom cut along `axis` (or the older `slice_dim`) at each `slice_point`, or into equal parts."""

    def __init__(self, layer: Layer, bottoms: tuple[Shape | None, ...]) -> None:
        super().__init__(layer, bottoms)
        p = layer.fields.slice_param
        if p.has("slice_dim") and p.has("axis"):
            raise self.refuse("axis and slice_dim are both given")
        self.axis = p.slice_dim if p.has("slice_dim") else p.axis
        self.points = p.slice_point
        if self.points and len(self.points) != len(layer.tops) - 1:
            raise self.refuse(f"{len(self.points)} slice_point for {len(layer.tops)} tops; give one less")
        if list(self.points) != sorted({*self.points} - {0}):
            raise self.refuse(f"slice_point: {self.points} must be positive and rise")

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
                raise self.refuse(f"slice_point: {self.points[-1]} is not inside its axis of {size}")
            return (0, *self.points, size)
        if size % tops:
            raise self.refuse(f"{size} values on axis {self.axis} do not part into {tops} equal tops")
        return tuple(size // tops * top for top in range(tops + 1))

    def forward(self, *bottoms: Tensor, **blobs: Tensor) -> tuple[Tensor, ...]:
        (x,) = bottoms
        edges = self._edges(x.shape[self.axis])
        return tuple(x.narrow(self.axis, start, end - start) for start, end in pairwise(edges))

    def source(self, place: Place) -> Source:
        (x,), tops = place.bottoms, len(self.layer.tops)
        if tops == 1:
            return Source(x)
        if self.points:
            return Source(f"{operand(x)}.tensor_split({literal(self.points)}, dim={self.axis})")
        return Source(f"{operand(x)}.chunk({tops}, dim={self.axis})")


@converts("Tile")
class Tile(Converter):
    """`tiles` copies of the bottom one after the other along `axis`."""

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

    def source(self, place: Place) -> Source:
        return Source(f"torch.cat([{place.bottoms[0]}] * {self.p.tiles}, dim={self.p.axis})")


@converts("HDF5Output")
class HDF5Output(Converter):
    """Takes two blobs; no file is written. A deploy net is without it, and its blobs are outputs there."""

    held_against = ""
    is_loss = True

    def forward(self, *bottoms: Tensor, **blobs: Tensor) -> tuple[Tensor, ...]:
        return ()


@converts("Silence")
class Silence(Converter):
    """Takes blobs that nothing else uses, so that they are no outputs."""

    def forward(self, *bottoms: Tensor, **blobs: Tensor) -> tuple[Tensor, ...]:
        return ()
