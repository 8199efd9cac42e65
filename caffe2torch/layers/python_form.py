"""A layer as a person writes it in PyTorch: what its converter tells for the `py` format.

Names come from strangers' files and never through here: a converter gets identifiers and gives expressions
made of them and of numbers.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Place:
    """Where a layer stands in a generated file."""

    name: str
    """Its own attribute: `self.conv1_1`."""
    bottoms: tuple[str, ...]
    """Expressions of its bottoms, mostly variables."""
    shapes: Mapping[str, tuple[int, ...]]
    """The shapes of its blobs as they are kept, by the names of `blob_specs`."""
    affine: bool = False
    """A Scale behind it is written as part of it."""


@dataclass(frozen=True)
class PythonForm:
    """A layer in Python: an expression of its top, or of as many as it has tops."""

    expression: str
    attributes: Mapping[str, str] = field(default_factory=dict)
    """What its attributes are, by what is added to their names: `{"": "nn.Conv2d(3, 64, 3)"}`."""
    parts: tuple[Callable[..., Any], ...] = ()
    """Functions that the expression calls and torch does not have; the file gets their text."""

    @staticmethod
    def module(place: Place, module: str) -> PythonForm:
        """A module of torch that takes the bottom."""
        return PythonForm(f"{place.name}({', '.join(place.bottoms)})", {"": module})


def call(function: str, *values: Any, **options: Any) -> str:
    """A call with numbers: `nn.Conv2d(3, 64, 3, padding=100)`; an option that is None is left out."""
    given = [literal(value) for value in values]
    given += [f"{name}={literal(value)}" for name, value in options.items() if value is not None]
    return f"{function}({', '.join(given)})"


def unless(value: Any, default: Any) -> Any:
    """The value, None when it is the default; sizes that agree on all axes as one number."""
    if isinstance(value, tuple):
        value = alike(value)
    return None if value == default else value


def alike(sizes: tuple[int, ...]) -> int | tuple[int, ...]:
    """One number for all axes where they agree."""
    return sizes[0] if len(set(sizes)) == 1 else sizes


def literal(value: Any) -> str:
    """A number, a bool, or a tuple or list of them, in Python. A float32 has the digits that were written."""
    if isinstance(value, (tuple, list)):
        inner = ", ".join(map(literal, value))
        return f"[{inner}]" if isinstance(value, list) else f"({inner}{',' * (len(value) == 1)})"
    if isinstance(value, float):
        return _decimal(value)
    if type(value) not in (int, bool):
        raise TypeError(f"{value!r} is no number")
    return repr(value)


def _decimal(value: float) -> str:
    with np.errstate(over="ignore"):
        shortest = float(str(np.float32(value)))
    if math.isfinite(shortest):
        return repr(shortest)
    return "torch.nan" if math.isnan(shortest) else "torch.inf" if shortest > 0 else "-torch.inf"


def operand(expression: str) -> str:
    """The expression, in parentheses unless it is a name or a call: to be followed by `.method` or `** 2`."""
    body = ast.parse(expression, mode="eval").body
    return expression if isinstance(body, (ast.Name, ast.Attribute, ast.Call)) else f"({expression})"
