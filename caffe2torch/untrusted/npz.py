"""The arrays of an .npz, each size checked before it is read."""

from __future__ import annotations

import math
import re
import struct
import warnings
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike
from typing import IO

import numpy as np

from caffe2torch.blob import Array, DType
from caffe2torch.errors import MissingData, ReadError

MAX_ARRAY = 1 << 30
"""Bytes of one array of a reference; the largest blob of an FCN-8s takes 100 MB."""
_DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    OSError,
    EOFError,
    ValueError,
    RuntimeError,
    KeyError,
)
_NAME = re.compile(r"(?:(\d+)\.)?(in|out|blob)\.(.+)")


def stored_inputs(reference: str | PathLike[str]) -> Iterator[tuple[str, dict[str, Array]]]:
    """The inputs in a reference, set by set, float32; raises the errors of `verify`."""
    arrays = _Arrays(reference)
    for key in arrays.sets:
        yield key, {blob: array.astype(np.float32) for blob, array in arrays.of(key, "in")}


class _Arrays:
    """The arrays of an .npz by set and role, read one at a time, each size checked before it is read."""

    def __init__(self, path: str | PathLike[str]) -> None:
        self.path = str(path)
        with self._opened() as archive:
            names = [info.filename.removesuffix(".npy") for info in archive.infolist()]
        self.names = {m.groups(default=""): name for name in names if (m := _NAME.fullmatch(name))}
        self.sets = sorted(
            {key for key, role, _ in self.names if role == "in"}, key=lambda key: int(key or -1)
        )
        if not self.sets:
            raise ReadError(
                f"{path}: has no inputs; they are arrays named in.<blob>, or 0.in.<blob>, 1.in.<blob>"
            )

    def of(self, key: str, *roles: str) -> Iterator[tuple[str, Array]]:
        """Blob names and arrays of a set, in the file's order."""
        for (found, role, blob), name in self.names.items():
            if found == key and role in roles:
                yield blob, self._read(name)

    def _read(self, name: str) -> Array:
        with self._opened() as archive, archive.open(f"{name}.npy") as member:
            shape, by_column, dtype = _header(member)
            if dtype.kind not in "fiub":
                raise ReadError(f"{self.path}: {name} holds {dtype}, not numbers")
            size = math.prod(shape) * dtype.itemsize
            stored = archive.getinfo(f"{name}.npy").file_size - member.tell()
            if size != stored or size > MAX_ARRAY:
                raise ReadError(f"{self.path}: {name} declares {shape}, {size} bytes; {stored} are there")
            values: Array = np.frombuffer(member.read(size), dtype)
            return values.reshape(shape, order="F" if by_column else "C")

    @contextmanager
    def _opened(self) -> Iterator[zipfile.ZipFile]:
        try:
            with zipfile.ZipFile(self.path) as archive:
                yield archive
        except FileNotFoundError:
            problem = "no such file; give an .npz with inputs and, to verify, Caffe's outputs"
            raise MissingData(f"{self.path}: {problem}") from None
        except _DAMAGE as error:
            raise ReadError(f"{self.path}: is not an .npz, or is damaged: {error}") from None


def _header(member: IO[bytes]) -> tuple[tuple[int, ...], bool, DType]:
    """Shape, whether by column, and dtype of an .npy file; leaves `member` where the values begin."""
    version = np.lib.format.read_magic(member)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Python 2 wrote it: so did many of Caffe's users
            header: tuple[tuple[int, ...], bool, DType] = read(member)
    except Exception as error:  # a header is a Python literal, and can fail in many ways
        raise ValueError(f"the header of {member.name}: {error}") from None
    return header
