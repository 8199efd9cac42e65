"""How large each blob is, as a formula of the inputs' batch, height and width: `(H + 5) // 32 + 1`.

No converter knows formulas. The layers are asked for their shapes at many sizes, and the formula is the one of
the form `m * ((H + a) // d) + c` that gives them all; where none does, nothing is said.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain, pairwise

from caffe2torch.errors import Caffe2TorchError, NetError
from caffe2torch.plan import Plan, Step
from caffe2torch.registry import Shape

Formulas = tuple[str, ...]
"""The axes of a blob, each a number or a formula."""
_Walk = list[tuple["Shape | None", ...]]
"""The shapes of the tops of each step."""

_AXES = {"N": 0, "H": 2, "W": 3}
"""The axes of the inputs that may be free, by what they are called."""
_OPEN = (1, 3, 256, 256)
"""Sizes to begin with where the file leaves them open."""
_RANGES = {"N": 3, "H": 100, "W": 100}
"""How many sizes are tried one after the other; the strides of the zoo go up to 32."""
_FAR = (1009, 2027, 4051)
"""Sizes that confirm what the others tell."""


class Sizes:
    """The shapes of a net's blobs in formulas, as far as they can be told.

    `channels` are those of inputs of which the plan does not tell them. An axis at which the net takes one size
    alone, as the height is before an InnerProduct, is a number.
    """

    def __init__(self, plan: Plan, channels: Mapping[str, int]) -> None:
        self._plan = plan
        self._inputs = {blob: _whole(shape, channels.get(blob)) for blob, shape in plan.inputs.items()}
        self._first = self._walk({})
        self._series = {symbol: self._walks(symbol) for symbol in _AXES} if self._first else {}

    def of_input(self, blob: str) -> Formulas | None:
        """The shape of an input."""
        for place, step in enumerate(self._plan.steps):
            if step.layer.type == "Input" and blob in step.layer.tops:
                return self.of(place, step.layer.tops.index(blob))
        return None

    def of(self, step: int, top: int = 0) -> Formulas | None:
        """The shape of a step's top, by their places in the plan; None where no formulas give it."""
        shape = self._first[step][top] if self._first else None
        if shape is None:
            return None
        axes = [self._formula(step, top, axis) for axis in range(len(shape))]
        known = tuple(axis for axis in axes if axis is not None)
        return known if len(known) == len(axes) else None

    def _formula(self, step: int, top: int, axis: int) -> str | None:
        varying = {}
        for symbol, walks in self._series.items():
            values = {size: (walk[step][top] or ())[axis] for size, walk in walks.items()}
            if len(set(values.values())) > 1:
                varying[symbol] = values
        if len(varying) > 1:
            return None
        return formula(*varying.popitem()) if varying else str((self._first[step][top] or ())[axis])

    def _walks(self, symbol: str) -> dict[int, _Walk]:
        """The net at many sizes of one axis; none where it takes one alone, or its inputs differ there."""
        axis = _AXES[symbol]
        first = {shape[axis] for shape in self._inputs.values() if len(shape) > max(axis, 1)}
        walks: dict[int, _Walk] = {}
        if len(first) == 1:
            (start,) = first
            for size in chain(range(start, start + _RANGES[symbol]), _FAR):
                if not (walk := self._walk({axis: size})):
                    return {}
                walks[size] = walk
        return walks

    def _walk(self, axes: Mapping[int, int]) -> _Walk:
        """The shapes of all tops, some axes of the inputs changed; none where a layer refuses them."""
        shapes: dict[str, Shape | None] = {blob: _changed(shape, axes) for blob, shape in self._inputs.items()}
        walk: _Walk = []
        for step in self._plan.steps:
            try:
                tops = tuple(shapes[top] for top in step.layer.tops) if step.layer.type == "Input" else _tops(step, shapes)
            except (Caffe2TorchError, ValueError):
                return []
            shapes |= zip(step.layer.tops, tops, strict=True)
            walk.append(tops)
        return walk


def _whole(shape: Shape | None, channels: int | None) -> tuple[int, ...]:
    """An input's shape, what is open filled in."""
    open_ = (1, channels or 3, *_OPEN[2:])
    sizes = (None,) * 4 if shape is None else shape
    return tuple(open_[min(axis, 3)] if size is None else size for axis, size in enumerate(sizes))


def _changed(shape: tuple[int, ...], axes: Mapping[int, int]) -> Shape:
    return tuple(axes.get(axis, size) if len(shape) == 4 or axis == 0 else size for axis, size in enumerate(shape))


def _tops(step: Step, shapes: Mapping[str, Shape | None]) -> tuple[Shape | None, ...]:
    """The shapes of a step's tops. Raises NetError where its blobs do not fit its bottoms."""
    converter = type(step.converter)(step.layer, tuple(shapes[bottom] for bottom in step.layer.bottoms))
    for spec, parameter in zip(converter.blob_specs(), step.parameters, strict=True):
        needed = zip(spec.shape, parameter.shape, strict=True)
        if any(None not in pair and pair[0] != pair[1] for pair in needed):
            raise NetError(f"'{parameter.key}' is {parameter.shape}, not {spec.shape}")
    return converter.top_shapes()


def formula(symbol: str, values: Mapping[int, int | None]) -> str | None:
    """The formula that gives these values at these sizes, the most of which follow each other; None if none."""
    sizes = [size for size, after in pairwise(values) if after == size + 1]
    jumps = [size + 1 for size in sizes if values[size] != values[size + 1]]
    if len(jumps) < 2 or None in values.values():
        return None
    divisor, first = jumps[1] - jumps[0], jumps[0]
    height, offset = (values[first] or 0) - (values[first - 1] or 0), -first % divisor
    constant = (values[first] or 0) - height * ((first + offset) // divisor)
    if any(height * ((size + offset) // divisor) + constant != value for size, value in values.items()):
        return None
    return _written(symbol, offset, divisor, height, constant)


def _written(symbol: str, offset: int, divisor: int, height: int, constant: int) -> str:
    inner = f"({symbol} + {offset})" if offset else symbol
    stepped = inner if divisor == 1 else f"{inner} // {divisor}"
    if height != 1:
        stepped = f"{height} * ({stepped})" if divisor > 1 else f"{height} * {stepped}"
    return stepped if not constant else f"{stepped} {'+' if constant > 0 else '-'} {abs(constant)}"
