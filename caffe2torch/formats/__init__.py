"""Models -> files, one module per format, each found by itself.

    model, Plan or Net ─ conversion ─→ Model ─ a format's writer ─→ a file, whole or not at all

A format is one module of this package: a function decorated with `writes`, which also says how a written file
is read back or run. Every file is, before it takes its name (check.py).
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, partial
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from caffe2torch.blob import Array
from caffe2torch.errors import WriteError
from caffe2torch.formats.checking import Check
from caffe2torch.formats.checking import check as compared
from caffe2torch.formats.model import Model, model_of, valued
from caffe2torch.formats.writing import DTYPES, Output, Progress, create
from caffe2torch.net import Net

if TYPE_CHECKING:
    from torch import nn

    from caffe2torch.plan import Plan

Writer = Callable[[Model, Output, str], None]
"""Writes a conversion with its parameters in a dtype ("float32", "float16", "bfloat16")."""
Reader = Callable[[Path, Model], Net]
"""Reads back the net in a written file, with its blobs as float32; needs no torch if writing needs none."""
Run = Callable[[Mapping[str, Array]], Mapping[str, Array]]
"""Float32 inputs by blob name -> outputs by blob name."""
Runner = Callable[[Path, Model], Run]
"""Loads a written file afresh, as its user would, to be run; of the conversion it may use the names alone."""
Opener = Callable[[Path], Run]
"""The same for a file that needs no conversion: it tells its names."""

_W = TypeVar("_W", bound=Writer)


def _deployed(model: Model) -> Net:
    return model.deployed


def _opened(opener: Opener, path: Path, model: Model) -> Run:
    return opener(path)


@dataclass(frozen=True)
class Format:
    """A format: its name, the suffixes of its files, the function that writes it, and how that is checked.

    A suffix "/" is that of a folder. Every format has `read` or `run`, or both.
    """

    name: str
    suffixes: tuple[str, ...]
    write: Writer
    read: Reader | None = None
    """Reads it back, to be compared with what it `holds`."""
    holds: Callable[[Model], Net] = _deployed
    run: Runner | None = None
    """Loads it to be run on random inputs; without it, what was read back is."""
    open: Opener | None = None
    """Loads any file of this format to be run; it is `run` as well."""
    dtypes: tuple[str, ...] = ("float32",)
    """What parameters can be written as."""
    needs_values: bool = True
    """Whether each parameter must have values; a definition does without, and a graph gets Caffe's filler."""
    code: tuple[str, ...] = ()
    """Lines of Python that load and run it: `{path!r}`, `{inputs}` as keywords, `{arrays}` as a dictionary,
    `{reading}` for the lines that make a `net` and a `model` of the file that it was converted from."""

    @property
    def keeps_training(self) -> bool:
        """Whether it holds a net whole, also with the layers that only training uses."""
        return self.holds is not _deployed

    @property
    def is_folder(self) -> bool:
        """Whether it is a folder of files."""
        return "/" in self.suffixes


_FORMATS: dict[str, Format] = {}


def writes(
    name: str,
    *suffixes: str,
    read: Reader | None = None,
    holds: Callable[[Model], Net] = _deployed,
    run: Runner | None = None,
    open: Opener | None = None,  # noqa: A002
    dtypes: tuple[str, ...] = ("float32",),
    needs_values: bool = True,
    code: tuple[str, ...] = (),
) -> Callable[[_W], _W]:
    """Registers the decorated function as the writer of a format; see Format."""
    if open is not None:
        run = partial(_opened, open)
    if read is None and run is None:
        raise RuntimeError(f"format {name}: no way to check what it writes")

    def register(writer: _W) -> _W:
        _FORMATS[name] = Format(name, suffixes, writer, read, holds, run, open, dtypes, needs_values, code)
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
        found = next((f for f in known.values() if str(path).endswith(f.suffixes)), None)
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
    check: bool = True,
    run: bool = False,
) -> Check | None:
    """Writes a model to `path` in the format `format`, or what the suffix says, and checks what it wrote.

    A module gives the values that its parameters have now. A Net is written whole to caffemodel,
    caffemodel.h5 and prototxt; all else as the net that one deploys. `dtype` is "float32", "float16" or
    "bfloat16". The file appears under its name when all of it is written and found right, or not at all.

    A format that holds blobs is read back and compared to the bit; any other, and with `run` each, is loaded
    and run on random inputs of two sizes. What was found is returned, None without `check`.

    Raises WriteError for an unknown format, a dtype that the format does not hold, or a file that cannot be
    written; WeightsError for a value that `dtype` cannot hold; VerificationFailed for a file that is not what
    it was written from; MissingData where the format needs a package that is not installed.
    """
    return write(model_of(model), path, format, dtype, check=check, run=run)


def write(
    model: Model,
    path: str | PathLike[str],
    format: str | None = None,  # noqa: A002
    dtype: str = "float32",
    progress: Progress | None = None,
    check: bool = True,
    run: bool = False,
) -> Check | None:
    """Writes a conversion as `export` does; `progress` is told the bytes written and the bytes in all."""
    chosen = format_for(path, format)
    if dtype not in DTYPES:
        raise WriteError(f"dtype {dtype!r}: parameters are written as {', '.join(DTYPES)}")
    if dtype not in chosen.dtypes:
        raise WriteError(f"{path}: {chosen.name} holds {', '.join(chosen.dtypes)}, not {dtype}")
    if chosen.needs_values:
        for parameter in model.plan.parameters():
            valued(parameter)
    with create(path, model.inputs, progress, chosen.is_folder) as output:
        chosen.write(model, output, dtype)
        output.close()
        found = compared(model, chosen, output.path, dtype, run) if check else None
        output.seal()
        return found
