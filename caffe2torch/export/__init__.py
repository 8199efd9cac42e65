"""Models -> files, one module per format, each found by itself.

    model, Plan or Net ─ conversion ─→ Conversion ─ a format's writer ─→ a file, whole or not at all

A format is one module of this package: a function decorated with `writes`.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from caffe2torch.errors import WriteError
from caffe2torch.export.conversion import Conversion, conversion
from caffe2torch.export.output import DTYPES, Output, Progress, create

if TYPE_CHECKING:
    from torch import nn

    from caffe2torch.net import Net
    from caffe2torch.plan import Plan

Writer = Callable[[Conversion, Output, str], None]
"""Writes a conversion with its parameters in a dtype ("float32", "float16", "bfloat16")."""

_W = TypeVar("_W", bound=Writer)


@dataclass(frozen=True)
class Format:
    """A format: its name, the suffixes of its files, and the function that writes it."""

    name: str
    suffixes: tuple[str, ...]
    write: Writer


_FORMATS: dict[str, Format] = {}


def writes(name: str, *suffixes: str) -> Callable[[_W], _W]:
    """Registers the decorated function as the writer of a format."""

    def register(writer: _W) -> _W:
        _FORMATS[name] = Format(name, suffixes, writer)
        return writer

    return register


@cache
def formats() -> dict[str, Format]:
    """Every format by name; importing the modules of this package registers them."""
    for module in pkgutil.iter_modules(__path__):
        importlib.import_module(f"{__name__}.{module.name}")
    return dict(sorted(_FORMATS.items()))


def format_for(path: str | PathLike[str], name: str | None = None) -> Format:
    """The format called `name`, or else the one of the path's suffix; WriteError when there is none."""
    known = formats()
    if name is not None:
        found = known.get(name)
    else:
        found = next((f for f in known.values() if Path(path).name.endswith(f.suffixes)), None)
    if found is None:
        what = f"format {name!r}" if name is not None else "format of this suffix"
        suffixes = ", ".join(suffix for f in known.values() for suffix in f.suffixes)
        raise WriteError(f"{path}: no {what}; formats are {', '.join(known)} (suffixes {suffixes})")
    return found


def export(
    model: nn.Module | Plan | Net,
    path: str | PathLike[str],
    format: str | None = None,  # noqa: A002 (the field's own word)
    *,
    dtype: str = "float32",
) -> None:
    """Writes a model to `path` as safetensors, pt, caffemodel or prototxt: `format`, or what the suffix says.

    A module gives the values that its parameters have now. A Net is written whole to caffemodel and prototxt;
    all else as the net that one deploys. `dtype` is "float32", "float16" or "bfloat16". The file appears
    under its name when all of it is written, or not at all.

    Raises WriteError for an unknown format, a dtype that the format does not hold, or a file that cannot be
    written; WeightsError for a value that `dtype` cannot hold.
    """
    write(conversion(model), path, format, dtype)


def write(
    converted: Conversion,
    path: str | PathLike[str],
    format: str | None = None,  # noqa: A002
    dtype: str = "float32",
    progress: Progress | None = None,
) -> None:
    """Writes a conversion as `export` does; `progress` is told the bytes written and the bytes in all."""
    writer = format_for(path, format).write
    if dtype not in DTYPES:
        raise WriteError(f"dtype {dtype!r}: parameters are written as {', '.join(DTYPES)}")
    with create(path, converted.inputs, progress) as output:
        writer(converted, output, dtype)
