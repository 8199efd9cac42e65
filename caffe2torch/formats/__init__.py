"""Models -> files, one module per format, each found by itself.

    module, Plan or Net ─ model_of ─→ Model ─ a format's writer ─→ a file, whole or not at all

A format is one module of this package, with the format's name; its FORMAT says how it is written, and how the
written file is read back or run, to check it before it takes its name (writing/checking.py).
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from functools import cache
from os import PathLike
from typing import TYPE_CHECKING

from caffe2torch.errors import MissingData, WriteError
from caffe2torch.writing import UPSAMPLING

if TYPE_CHECKING:
    from torch import nn

    from caffe2torch.net import Net
    from caffe2torch.plan import Plan
    from caffe2torch.writing.checking import Check
    from caffe2torch.writing.format import Format
    from caffe2torch.writing.model import Engine, Model
    from caffe2torch.writing.output import Progress


def names() -> tuple[str, ...]:
    """The formats' names: those of this package's modules, with a dot for an underscore; imports none."""
    return tuple(sorted(module.name.replace("_", ".") for module in pkgutil.iter_modules(__path__)))


@cache
def formats() -> dict[str, Format]:
    """Every format by name."""
    modules = {name: importlib.import_module(f"{__name__}.{name.replace('.', '_')}") for name in names()}
    return {name: module.FORMAT for name, module in modules.items()}


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
    shapes: Mapping[str, tuple[int, ...]] | None = None,
    opset: int | None = None,
    size: tuple[int, int] | None = None,
    batch: int = 1,
    upsampling: str = "grouped",
    elide: bool = False,
    check_in: Sequence[str] = (),
) -> Check | None:
    """Writes a model to `path` in the format `format`, or what the suffix says, and checks what it wrote.

    A module is written with the current values of its parameters. caffemodel, caffemodel.h5 and prototxt hold
    all of a Net; everything else is written as the deploy net. `dtype` is "float32", "float16" or "bfloat16".
    The file appears under its name once all of it is written and checked, or not at all.

    A format that holds blobs is read back and compared bit for bit; any other (with `run`, every one) is
    loaded and run on random inputs of two sizes; `shapes` insists on those of some inputs, by blob name.
    Returns what was found, or None without `check`.

    For engines that need them: `opset` is ONNX's; `size` (height, width) and `batch` fix what a graph, ONNX
    or pt2, leaves free; `upsampling` is "grouped", or "dense" for ONNX without groups in deconvolutions;
    with a size, `elide` leaves out of ONNX what no image can change, and puts in what it is.
    `check_in` names engines that are installed, in which ONNX must also give what the model gives.

    Raises WriteError for an unknown format, a dtype or another wish that the format does not grant, or a file
    that cannot be written; WeightsError for a value that `dtype` cannot hold; VerificationFailed for a file
    that differs from what it was written from; MissingData if the format or an engine needs a package that is
    not installed.
    """
    from caffe2torch.writing.model import Engine, model_of

    engine = Engine(opset, size or (), batch, upsampling, elide, tuple(check_in))
    wished = replace(model_of(model), shapes=shapes or {}, engine=engine)
    return write(wished, path, format, dtype, check=check, run=run)


def write(
    model: Model,
    path: str | PathLike[str],
    format: str | None = None,  # noqa: A002
    dtype: str = "float32",
    progress: Progress | None = None,
    check: bool = True,
    run: bool = False,
    force: bool = False,
) -> Check | None:
    """Writes a model as `export` does; `progress` is called with the bytes written and the total.

    With `force`, a file that comes with the one at `path` may replace anything.
    """
    from caffe2torch.writing import DTYPES
    from caffe2torch.writing.checking import check as compared
    from caffe2torch.writing.model import valued
    from caffe2torch.writing.output import create

    chosen = format_for(path, format)
    if dtype not in DTYPES:
        raise WriteError(f"dtype {dtype!r}: parameters are written as {', '.join(DTYPES)}")
    if dtype not in chosen.dtypes:
        raise WriteError(f"{path}: {chosen.name} holds {', '.join(chosen.dtypes)}, not {dtype}")
    _check_engine(model.engine, chosen, path)
    if model.engine.check_in and not check:
        raise WriteError(f"{path}: check_in goes with check")
    if chosen.needs_values:
        for parameter in model.plan.parameters():
            valued(parameter)
    with create(path, model.inputs, progress, chosen.is_folder, force) as output:
        chosen.write(model, output, dtype)
        output.close()
        found = compared(model, chosen, output.path, dtype, run) if check else None
        output.seal()
        return found


def _check_engine(engine: Engine, chosen: Format, path: str | PathLike[str]) -> None:
    """Refuses what a format cannot do for an engine."""
    for wish in fields(engine):
        value = getattr(engine, wish.name)
        if value != wish.default and wish.name not in chosen.engine:
            able = ", ".join(f.name for f in formats().values() if wish.name in f.engine)
            what = wish.name.replace("_", "-")
            raise WriteError(f"{path}: {chosen.name} cannot choose the {what}; {able} can")
    if engine.upsampling not in UPSAMPLING:
        raise WriteError(f"{path}: upsampling {engine.upsampling!r}: it is {' or '.join(UPSAMPLING)}")
    if engine.size and (len(engine.size) != 2 or min(*engine.size, engine.batch) < 1):
        raise WriteError(f"{path}: size {engine.size}, batch {engine.batch}: none can be below 1")
    if engine.elide and not engine.size:
        raise WriteError(f"{path}: elide goes with a size")
    if engine.batch != 1 and not engine.size:
        raise WriteError(f"{path}: batch {engine.batch} goes with a size")
    for name in engine.check_in:
        _check_engine_is_there(name, chosen, path)


def _check_engine_is_there(name: str, chosen: Format, path: str | PathLike[str]) -> None:
    """Refuses an engine to check in that is unknown or not installed."""
    known = chosen.check_in.get(name)
    if known is None:
        able = ", ".join(chosen.check_in)
        raise WriteError(f"{path}: {chosen.name} is not checked in {name!r}; it can be in {able}")
    if not known.is_installed:
        raise MissingData(f"{path}: to check it in {name}: pip install {known.package}")
