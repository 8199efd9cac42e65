"""Layers that only change the shape (reshape_layer.cpp, flatten_layer.cpp)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeVar

from caffe2torch.layers.axes import canonical, product
from caffe2torch.layers.converter import Converter, Shape
from caffe2torch.layers.geometry import View
from caffe2torch.layers.python_form import Place, PythonForm, operand
from caffe2torch.layers.registry import converts
from caffe2torch.net import Layer

if TYPE_CHECKING:
    from torch import Tensor

_Size = TypeVar("_Size", int, "int | None")


@converts("Flatten")
class Flatten(Converter):
    """The axes from `axis` to `end_axis`, inclusive, merged into one."""

    def top_shapes(self) -> tuple[Shape | None, ...]:
        bottom, p = self.bottoms[0], self.layer.fields.flatten_param
        if bottom is None:
            return (None,)
        start, end = (canonical(self, bottom, axis) for axis in (p.axis, p.end_axis))
        if start > end:
            raise self.refuse(f"axis: {p.axis} comes after end_axis: {p.end_axis}")
        return ((*bottom[:start], product(bottom[start : end + 1]), *bottom[end + 1 :]),)

    def shares_memory(self) -> bool:
        return True

    def look(self, view: View) -> View | None:
        return None

    def forward(self, *bottoms: Tensor, **blobs: Tensor) -> Tensor:
        p = self.layer.fields.flatten_param
        return bottoms[0].flatten(p.axis, p.end_axis)

    def python(self, place: Place) -> PythonForm:
        p = self.layer.fields.flatten_param
        axes = (p.axis,) if p.end_axis == -1 else (p.axis, p.end_axis)
        return PythonForm(f"{operand(place.bottoms[0])}.flatten({', '.join(map(str, axes))})")


@converts("Reshape")
class Reshape(Converter):
    """The `num_axes` axes from `axis` on as `shape`, where 0 keeps an axis and one -1 is inferred."""

    def __init__(self, layer: Layer, bottoms: tuple[Shape | None, ...]) -> None:
        super().__init__(layer, bottoms)
        self.p = layer.fields.reshape_param
        self.dims = tuple(self.p.shape.dim)
        if self.dims.count(-1) > 1 or min(self.dims, default=0) < -1:
            raise self.refuse(f"shape: {self.dims}; dims must be positive or 0, and one may be -1")
        if self.p.num_axes < -1:
            raise self.refuse(f"num_axes: {self.p.num_axes} must be -1 or more")

    def _span(self, axes: int) -> tuple[int, int]:
        """The first axis to reshape and the one after the last; an axis of -1 stands after all axes."""
        start = self.p.axis if self.p.axis >= 0 else axes + self.p.axis + 1
        end = axes if self.p.num_axes == -1 else start + self.p.num_axes
        if not 0 <= start <= end <= axes:
            raise self.refuse(
                f"axis: {self.p.axis} and num_axes: {self.p.num_axes} reach outside its bottom of {axes} axes"
            )
        if any(dim == 0 and start + i >= axes for i, dim in enumerate(self.dims)):
            raise self.refuse(
                f"shape: {self.dims} has a 0 for an axis that its bottom of {axes} axes does not have"
            )
        return start, end

    def top_shapes(self) -> tuple[Shape | None, ...]:
        bottom = self.bottoms[0]
        if bottom is None:
            return (None,)
        start, end = self._span(len(bottom))
        kept = (*bottom[:start], *self._dims(bottom, start), *bottom[end:])
        count, given = product(bottom), product(tuple(size for size in kept if size != -1))
        if count is not None and given is not None and (count % given if -1 in kept else count != given):
            raise self.refuse(f"shape: {self.dims} does not fit its bottom {bottom}")
        left = None if count is None or given is None else count // given
        return (tuple(left if size == -1 else size for size in kept),)

    def _dims(self, bottom: Sequence[_Size], start: int) -> list[_Size | int]:
        return [bottom[start + i] if dim == 0 else dim for i, dim in enumerate(self.dims)]

    def shares_memory(self) -> bool:
        return True

    def look(self, view: View) -> View | None:
        return None

    def forward(self, *bottoms: Tensor, **blobs: Tensor) -> Tensor:
        (x,) = bottoms
        start, end = self._span(x.ndim)
        sizes = [*x.shape[:start], *self._dims(x.shape, start), *x.shape[end:]]
        given = math.prod(size for size in sizes if size != -1)
        if x.numel() % given if -1 in self.dims else x.numel() != given:
            raise self.refuse(f"shape: {self.dims} does not fit its bottom {tuple(x.shape)}")
        return x.reshape(sizes)

    def python(self, place: Place) -> PythonForm:
        (x,), bottom = place.bottoms, self.bottoms[0]
        if bottom is None:
            return super().python(place)
        start, end = self._span(len(bottom))
        sizes = [f"{x}.shape[{axis}]" for axis in range(len(bottom))]
        given = [sizes[start + i] if dim == 0 else str(dim) for i, dim in enumerate(self.dims)]
        return PythonForm(f"{x}.reshape({', '.join([*sizes[:start], *given, *sizes[end:]])})")
