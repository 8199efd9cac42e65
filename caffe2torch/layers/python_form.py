"""A layer as a person would write it in PyTorch: what its converter returns for the `py` format.

Names from strangers' files never get here: a converter is given identifiers, and returns expressions made
only of them and of numbers.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

Value: TypeAlias = "float | Sequence[Value]"
"""What `literal` writes: a number, a bool, or a tuple or list of them."""


@dataclass(frozen=True)
class Place:
    """A layer's place in a generated file."""

    name: str
    """Its own attribute: `self.conv1_1`."""
    bottoms: tuple[str, ...]
    """Expressions for its bottoms, mostly variables."""
    shapes: Mapping[str, tuple[int, ...]]
    """The shapes of its blobs as stored, by their names in `blob_specs`."""
    affine: bool = False
    """The Scale after it is written as part of it."""


@dataclass(frozen=True)
class PythonForm:
    """A layer in Python: an expression for its top, or one for each, joined by commas.

    It may use `torch`, `nn` and `F`, torch.nn.functional, which the file imports.
    """

    expression: str
    attributes: Mapping[str, str] = field(default_factory=dict)
    """Its attributes, by the suffix of their names: `{"": "nn.Conv2d(3, 64, 3)"}`."""
    parts: tuple[Callable[..., Tensor], ...] = ()
    """Functions that the expression calls and torch does not have; the file gets their source."""

    @staticmethod
    def module(place: Place, module: str) -> PythonForm:
        """A torch module that takes the bottoms."""
        return PythonForm(f"{place.name}({', '.join(place.bottoms)})", {"": module})


def call(function: str, *values: Value, **options: Value | None) -> str:
    """A call with numbers: `nn.Conv2d(3, 64, 3, padding=100)`; options that are None are left out."""
    given = [literal(value) for value in values]
    given += [f"{name}={literal(value)}" for name, value in options.items() if value is not None]
    return f"{function}({', '.join(given)})"


def unless(value: float | tuple[int, ...], default: float | tuple[int, ...]) -> Value | None:
    """The value, or None if it is the default; sizes that are equal on all axes become one number."""
    if isinstance(value, tuple):
        value = alike(value)
    return None if value == default else value


def alike(sizes: tuple[int, ...]) -> int | tuple[int, ...]:
    """One number if the sizes are equal on all axes."""
    return sizes[0] if len(set(sizes)) == 1 else sizes


def literal(value: Value) -> str:
    """The value in Python; a float32 gets the fewest digits that it needs."""
    if isinstance(value, (tuple, list)):
        inner = ", ".join(map(literal, value))
        return f"[{inner}]" if isinstance(value, list) else f"({inner}{',' * (len(value) == 1)})"
    if isinstance(value, float):
        return _decimal(value)
    if not isinstance(value, int):
        raise TypeError(f"{value!r} is not a number")
    return repr(value)


def _decimal(value: float) -> str:
    with np.errstate(over="ignore"):
        shortest = float(str(np.float32(value)))
    if math.isfinite(shortest):
        return repr(shortest)
    return "torch.nan" if math.isnan(shortest) else "torch.inf" if shortest > 0 else "-torch.inf"


def operand(expression: str) -> str:
    """The expression, in parentheses unless it is a name or a call; `.method` or `** 2` may follow."""
    body = ast.parse(expression, mode="eval").body
    return expression if isinstance(body, (ast.Name, ast.Attribute, ast.Call)) else f"({expression})"
