"""How large each blob is, as a formula of the inputs' batch, height and width: `(H + 5) // 32 + 1`.

No converter knows formulas. The layers are asked for their shapes at many sizes, and the formula is the one
of the form `m * ((H + a) // d) + c` that gives them all; if none does, there is no formula.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from itertools import chain, pairwise

from caffe2torch.errors import Caffe2TorchError
from caffe2torch.layers.converter import Shape
from caffe2torch.plan import Plan
from caffe2torch.plan.sizes import tops_at

Formulas = tuple[str, ...]
"""The axes of a blob, each a number or a formula."""
_Walk = list[tuple["Shape | None", ...]]
"""The shapes of the tops of each step; empty if a layer refuses them."""

_AXES = {"N": 0, "H": 2, "W": 3}
"""The axes of the inputs that may be free, by their symbols."""
_OPEN = (1, 3, 256, 256)
"""Sizes to begin with where the file leaves them open."""
_FAR = (1009, 2027, 4051)
"""What is added to them in the end, to confirm what consecutive sizes show."""
_MAX_STRIDE = 64


class Sizes:
    """The shapes of a net's blobs as formulas, as far as they can be found.

    `channels` are those of inputs whose channels the plan does not state. An axis at which the net takes only
    one size, such as the height before an InnerProduct, is a number.
    """

    def __init__(self, plan: Plan, channels: Mapping[str, int]) -> None:
        self._plan = plan
        self._inputs = {blob: _whole(shape, channels.get(blob)) for blob, shape in plan.inputs.items()}
        self._first = self._walk([], 0)
        # One by one, until each stride has come round twice.
        steps = chain(range(3 * _stride(plan) + 1), _FAR)
        self._images = self._walks(["H", "W"], steps)
        self._batches = self._walks(["N"], range(4))
        alone = ["N"] * bool(self._batches) + ["H", "W"] * bool(self._images)
        self._alone = {symbol: self._walk([symbol], _FAR[0]) for symbol in alone}

    def of_input(self, blob: str) -> Formulas | None:
        """The shape of an input."""
        for place, step in enumerate(self._plan.steps):
            if step.layer.type == "Input" and blob in step.layer.tops:
                return self.of(place, step.layer.tops.index(blob))
        return None

    def of(self, step: int, top: int = 0) -> Formulas | None:
        """The shape of a step's top, by their places in the plan; None if no formulas give it."""
        shape = self._first[step][top] if self._first else None
        if shape is None:
            return None
        axes = [self._formula(step, top, axis, size) for axis, size in enumerate(shape)]
        known = tuple(axis for axis in axes if axis is not None)
        return known if len(known) == len(axes) else None

    def _formula(self, step: int, top: int, axis: int, size: int | None) -> str | None:
        """An axis that depends on at most one of the inputs' axes."""
        symbols = [s for s, walk in self._alone.items() if not walk or _at(walk, step, top, axis) != size]
        if not symbols and size is not None:
            return str(size)
        if len(symbols) != 1:
            return None
        first = self._common(symbols[0])
        walks = self._batches if symbols[0] == "N" else self._images
        return formula(symbols[0], {first + more: _at(walk, step, top, axis) for more, walk in walks.items()})

    def _common(self, symbol: str) -> int:
        """The size that the inputs have in common at an axis, 0 for none."""
        axis = _AXES[symbol]
        sizes = {shape[axis] for shape in self._inputs.values() if _has(shape, axis)}
        return sizes.pop() if len(sizes) == 1 else 0

    def _walks(self, symbols: list[str], steps: Iterable[int]) -> dict[int, _Walk]:
        """The net at larger and larger sizes of some axes; none if it does not take them."""
        walks: dict[int, _Walk] = {}
        for more in steps if self._first and all(map(self._common, symbols)) else ():
            if not (walk := self._walk(symbols, more)):
                return {}
            walks[more] = walk
        return walks

    def _walk(self, symbols: list[str], more: int) -> _Walk:
        """The shapes of all tops, some axes of the inputs enlarged."""
        axes = {_AXES[symbol] for symbol in symbols}
        shapes: dict[str, Shape | None] = {
            blob: tuple(size + more * (axis in axes and _has(shape, axis)) for axis, size in enumerate(shape))
            for blob, shape in self._inputs.items()
        }
        try:
            return [tops_at(step, shapes) for step in self._plan.steps]
        except (Caffe2TorchError, ValueError):
            return []


def _has(shape: tuple[int, ...], axis: int) -> bool:
    """Whether an input has the axis that the symbol means: only images have height and width."""
    return len(shape) == 4 or axis == 0 < len(shape)


def _at(walk: _Walk, step: int, top: int, axis: int) -> int | None:
    shape = walk[step][top]
    return None if shape is None else shape[axis]


def _whole(shape: Shape | None, channels: int | None) -> tuple[int, ...]:
    """An input's shape, with open sizes filled in."""
    open_ = (1, channels or 3, *_OPEN[2:])
    sizes = (None,) * 4 if shape is None else shape
    return tuple(open_[min(axis, 3)] if size is None else size for axis, size in enumerate(sizes))


def _stride(plan: Plan) -> int:
    """The largest stride in which a blob of the plan sees an input."""
    strides = (stride for step in plan.steps for view in step.views.values() for stride in view.stride)
    return min(math.ceil(max(strides, default=1)), _MAX_STRIDE)


def formula(symbol: str, values: Mapping[int, int | None]) -> str | None:
    """The formula that gives these values at these sizes, most of them consecutive; or None."""
    known = {size: value for size, value in values.items() if value is not None}
    jumps = [b for a, b in pairwise(known) if b == a + 1 and known[a] != known[b]]
    if len(jumps) < 2 or len(known) != len(values):
        return None
    (first, second), sizes = jumps[:2], known
    divisor, height = second - first, sizes[first] - sizes[first - 1]
    offset = -first % divisor
    constant = sizes[first] - height * ((first + offset) // divisor)
    if any(height * ((size + offset) // divisor) + constant != value for size, value in known.items()):
        return None
    return _written(symbol, offset, divisor, height, constant)


def _written(symbol: str, offset: int, divisor: int, height: int, constant: int) -> str:
    inner = f"({symbol} + {offset})" if offset else symbol
    stepped = inner if divisor == 1 else f"{inner} // {divisor}"
    if height != 1:
        stepped = f"{height} * ({stepped})" if divisor > 1 else f"{height} * {stepped}"
    return stepped if not constant else f"{stepped} {'+' if constant > 0 else '-'} {abs(constant)}"
