"""A file that appears under its name when it is whole, and the values that go into it, piece by piece."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from os import PathLike
from pathlib import Path
from typing import IO, Any

import numpy as np

from caffe2torch.errors import WeightsError, WriteError
from caffe2torch.net import Array

Progress = Callable[[int, int], None]

PIECE = 1 << 22
"""Values that are converted and written at a time; bounds the memory that a conversion takes."""


class Output:
    """The file being written; `expected` is its size, once the format knows it."""

    def __init__(self, file: IO[bytes], progress: Progress | None) -> None:
        self.file, self._progress = file, progress
        self.expected = self.written = 0

    def write(self, data: bytes | Array) -> None:
        """Appends bytes, or the bytes of an array."""
        self.file.write(data.data if isinstance(data, np.ndarray) else data)
        self.written += data.nbytes if isinstance(data, np.ndarray) else len(data)
        if self._progress is not None:
            self._progress(self.written, max(self.expected, self.written))


@contextmanager
def create(
    path: str | PathLike[str], inputs: Sequence[str] = (), progress: Progress | None = None
) -> Iterator[Output]:
    """A new file that takes the name `path` at the end; nothing is left of it when anything goes wrong.

    Raises WriteError where it cannot be written, or `path` is one of the files `inputs`.
    """
    target = Path(path)
    partial = target.with_name(f".{target.name[:200]}.{os.urandom(4).hex()}.part")
    try:
        _check(target, inputs)
        with partial.open("xb") as file:
            yield Output(file, progress)
        partial.replace(target)
    except BaseException as error:
        with suppress(OSError):
            partial.unlink()
        if isinstance(error, OSError):
            raise WriteError(f"{target}: cannot be written: {error.strerror or error}") from None
        raise


@contextmanager
def hdf5_into(output: Output) -> Iterator[Any]:
    """An h5py.File to fill, which is written when it is whole.

    It is built in memory: where a disk is full, the HDF5 library may take the whole process down.
    """
    import h5py  # loads slowly, and few files need it

    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        yield file
    output.write(np.frombuffer(buffer.getbuffer(), np.uint8))


def _check(target: Path, inputs: Sequence[str]) -> None:
    if target.is_dir():
        raise WriteError(f"{target}: is a folder; name the file to write with -o")
    for name in inputs:
        if target.exists() and Path(name).exists() and target.samefile(name):
            raise WriteError(f"{target}: is the file that is converted; name another with -o")


def encoded(values: Array, dtype: str, name: str) -> Iterator[Array]:
    """The bytes of 1-D float `values` in `dtype`, in pieces: views where the values already have it.

    Raises WeightsError, with `name`, for a finite value that overflows.
    """
    for start in range(0, values.size, PIECE):
        piece = values[start : start + PIECE]
        yield np.ascontiguousarray(_checked(piece, dtype, name)).view(np.uint8)


def _checked(values: Array, dtype: str, name: str) -> Array:
    if dtype == "float32" and values.dtype == np.float32:
        return values
    with np.errstate(over="ignore"):
        single = values.astype("<f4", copy=False)
        cast = single if dtype == "float32" else _CASTS[dtype](single)
    lost = _infinite(cast, dtype) & np.isfinite(values)
    if lost.any():
        raise WeightsError(f"{name}: holds {values[lost][0]:.6g}, which {dtype} cannot")
    return cast


def _infinite(values: Array, dtype: str) -> Array:
    return (values & 0x7FFF) == 0x7F80 if dtype == "bfloat16" else np.isinf(values)


def _bfloat16(single: Array) -> Array:
    """The upper halves of float32 values, rounded to nearest, ties to even; numpy lacks the type."""
    bits = np.ascontiguousarray(single).view("<u4")
    rounded = (bits + 0x7FFF + (bits >> 16 & 1)) >> 16
    quiet = bits >> 16 | 0x40  # a NaN stays one: rounding could carry it away
    return np.where(np.isnan(single), quiet, rounded).astype("<u2")


_CASTS: dict[str, Callable[[Array], Any]] = {
    "float32": lambda single: single,
    "float16": lambda single: single.astype("<f2"),
    "bfloat16": _bfloat16,
}
DTYPES = tuple(_CASTS)
