"""A file that appears under its name when it is whole, and the values that go into it, piece by piece."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import IO, Any, TypeVar

import numpy as np

from caffe2torch.blob import Array
from caffe2torch.cut_short import CUT_SHORT
from caffe2torch.errors import WeightsError, WriteError
from caffe2torch.partial import finishing, partial

Progress = Callable[[int, int], None]
_T = TypeVar("_T")

PIECE = 1 << 22
"""Values that are converted and written at a time; bounds the memory that a conversion takes."""


class Output:
    """A file, or a folder of files, on its way: nobody sees it under its name before it is whole.

    `expected` is its size, once the format knows it. With `force`, what comes with it may replace anything.
    """

    def __init__(
        self, path: Path, target: Path, progress: Progress | None = None, force: bool = False
    ) -> None:
        self.path, self.target, self._progress = path, target, progress
        """Where it lies meanwhile, under its own name, for libraries that write by path; and at the end."""
        self.force = force
        self.expected = self.written = 0
        self._others: list[Output] = []
        self._last: Callable[[IO[bytes]], None] | None = None

    @cached_property
    def file(self) -> IO[bytes]:
        """The file, open for writing."""
        return self.path.open("x+b")

    def write(self, data: bytes | Array) -> None:
        """Appends bytes, or the bytes of an array."""
        self.file.write(data.data if isinstance(data, np.ndarray) else data)
        self.written += data.nbytes if isinstance(data, np.ndarray) else len(data)
        if self._progress is not None:
            self._progress(self.written, max(self.expected, self.written))

    def another(self, name: str) -> Output:
        """A file that appears together with this one: beside it, or in it where this is a folder."""
        inside = self.path.is_dir()
        path, target = (x / name if inside else x.with_name(name) for x in (self.path, self.target))
        self._others.append(Output(path, target, self._progress))
        return self._others[-1]

    def at_last(self, write: Callable[[IO[bytes]], None]) -> None:
        """Has `write` called with the file, open for changes, when all else was written and checked."""
        self._last = write

    def seal(self) -> None:
        """Writes what comes last, which may take the time of the check to be known."""
        for output in (self, *self._others):
            if output._last is not None:
                with output.path.open("r+b") as file:
                    output._last(file)

    def close(self) -> None:
        """Ends the writing: what was written can be read at `path`."""
        for output in (self, *self._others):
            if "file" in vars(output):
                output.file.close()


class _Patient:
    """A file that takes all that is written, and keeps what went wrong."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.problem: OSError | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def write(self, data: Any) -> int:
        """Writes, unless something went wrong before."""
        self._try(lambda: self._file.write(data))
        return memoryview(data).nbytes

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Moves, which writes what is held back."""
        place = self._try(lambda: self._file.seek(offset, whence))
        return offset if place is None else place

    def readinto(self, buffer: memoryview) -> int:
        """Reads, which writes what is held back; nothing, after something went wrong."""
        return self._try(lambda: int(self._file.readinto(buffer))) or 0  # type: ignore[attr-defined]

    def truncate(self, size: int) -> int:
        """Gives the file a size, which HDF5 does at its end."""
        self._try(lambda: self._file.truncate(size))
        return size

    def flush(self) -> None:
        """Writes what is held back."""
        self._try(self._file.flush)

    def _try(self, action: Callable[[], _T]) -> _T | None:
        if self.problem is None:
            try:
                return action()
            except OSError as error:
                self.problem = error
        return None


@contextmanager
def patiently(opened: IO[bytes]) -> Iterator[Any]:
    """A file for a library that does not bear a full disk: it hears of none. Raises OSError in the end."""
    file = _Patient(opened)
    try:
        yield file
    finally:
        file.flush()
        if file.problem is not None:  # also where the library stumbles over what it then reads
            raise file.problem from None


@contextmanager
def create(
    path: str | PathLike[str],
    inputs: Sequence[str] = (),
    progress: Progress | None = None,
    folder: bool = False,
    force: bool = False,
) -> Iterator[Output]:
    """A new file or folder that takes the name `path` at the end; nothing is left of it when anything fails.

    Until then it is under its own name in a hidden folder beside `path`, with the files that belong to it. A
    folder takes the place of one that holds nothing but files of the same names. Raises WriteError where it
    cannot be written, or would be one of the files `inputs`.
    """
    target = Path(path)
    try:
        _check(target, inputs, folder)
        with partial(target, folder=True) as place:
            output = Output(place / target.name, target, progress, force)
            if folder:
                output.path.mkdir()
            try:
                yield output
            finally:
                output.close()
            with finishing():
                _move(output.path, target, inputs)
    except OSError as error:
        # The system cannot read what it is to write: a mapped file became shorter.
        problem = CUT_SHORT if error.errno == errno.EFAULT else error.strerror or error
        raise WriteError(f"{target}: cannot be written: {problem}") from None


def _move(made: Path, target: Path, inputs: Sequence[str]) -> None:
    """Gives everything beside `made`, and `made` last, its place beside `target`."""
    others = [path for path in made.parent.iterdir() if path != made]
    for path in others:
        _check(target.with_name(path.name), inputs)
    for path in others:
        path.replace(target.with_name(path.name))
    if target.is_dir():
        _check_names(target, made)
        target.rename(made.with_name(f"{made.name[:200]}.old"))
    made.replace(target)


def _check(target: Path, inputs: Sequence[str], folder: bool = False) -> None:
    if target.is_dir() and not folder:
        raise WriteError(f"{target}: is a folder; name the file to write with -o")
    for name in inputs:
        if target.exists() and Path(name).exists() and target.samefile(name):
            raise WriteError(f"{target}: is the file that is converted; name another with -o")


def _check_names(folder: Path, new: Path) -> None:
    """A folder is replaced with all that is in it: nothing that we did not write may be lost."""
    strange = {path.name for path in folder.iterdir()} - {path.name for path in new.iterdir()}
    if strange:
        raise WriteError(f"{folder}: also holds {min(strange)!r}; name a new folder with -o")


def encoded(values: Array, dtype: str, name: str) -> Iterator[Array]:
    """The bytes of 1-D float `values` in `dtype`, in pieces: views where the values already have it.

    Raises WeightsError, with `name`, for a finite value that overflows.
    """
    for start in range(0, values.size, PIECE):
        piece = values[start : start + PIECE]
        yield np.ascontiguousarray(checked(piece, dtype, name)).view(np.uint8)


def checked(values: Array, dtype: str, name: str) -> Array:
    """Float values in `dtype`. Raises WeightsError, with `name`, for a finite value that overflows."""
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
