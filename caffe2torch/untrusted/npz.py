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
from caffe2torch.untrusted.mapped import regular

MAX_ARRAY, MAX_UNSTORED = 1 << 30, 1 << 27
"""Bytes of one array of a reference, and how many of them it need not store; the largest blob of an FCN-8s
takes 100 MB. Activations compress to a half, not to a thousandth."""
MAX_RATIO = 3
"""How far an array may be compressed beyond that."""
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
_NAME = re.compile(r"(?:(\d{1,9})\.)?(in|out|blob)\.(.+)")


def stored_inputs(reference: str | PathLike[str]) -> Iterator[tuple[str, dict[str, Array]]]:
    """The inputs in a reference, set by set, float32; raises the errors of `verify`."""
    arrays = _Arrays(reference)
    for key in arrays.sets:
        yield key, {blob: array.astype(np.float32, copy=False) for blob, array in arrays.of(key, "in")}


class _Arrays:
    """The arrays of an .npz by set and role, read one at a time, each size checked before it is read."""

    def __init__(self, path: str | PathLike[str]) -> None:
        self.path = str(path)
        with self._refusing():
            regular(self.path)
            # Opened once: it reads the whole directory.
            self._archive = zipfile.ZipFile(self.path)
        sets: dict[str, dict[tuple[str, str], zipfile.ZipInfo]] = {}
        for info in self._archive.infolist():
            if match := _NAME.fullmatch(info.filename.removesuffix(".npy")):
                key, role, blob = match.groups(default="")
                sets.setdefault(key, {})[role, blob] = info
        with_inputs = {key for key, arrays in sets.items() if any(role == "in" for role, _ in arrays)}
        self._sets = {key: sets[key] for key in sorted(with_inputs, key=lambda key: int(key or -1))}
        if not self._sets:
            raise ReadError(
                f"{path}: has no inputs; they are arrays named in.<blob>, or 0.in.<blob>, 1.in.<blob>"
            )

    @property
    def sets(self) -> list[str]:
        """The keys of the sets, in the order of their numbers."""
        return [*self._sets]

    def of(self, key: str, *roles: str) -> Iterator[tuple[str, Array]]:
        """Blob names and arrays of a set, in the file's order."""
        for (role, blob), info in self._sets[key].items():
            if role in roles:
                yield blob, self._read(info)

    def _read(self, info: zipfile.ZipInfo) -> Array:
        name = info.filename.removesuffix(".npy")
        with self._refusing(), self._archive.open(info) as member:
            shape, by_column, dtype = _header(member)
            if dtype.kind not in "fiub":
                raise ReadError(f"{self.path}: {name} holds {dtype}, not numbers")
            size, stored = math.prod(shape) * dtype.itemsize, info.file_size - member.tell()
            if size != stored or size > min(MAX_ARRAY, MAX_UNSTORED + MAX_RATIO * info.compress_size):
                raise ReadError(
                    f"{self.path}: {name} declares {shape}, {size} bytes; {stored} are there, compressed to "
                    f"{info.compress_size}; give an array that is smaller, or stored as it is"
                )
            values: Array = np.frombuffer(member.read(size), dtype)
            return values.reshape(shape, order="F" if by_column else "C")

    @contextmanager
    def _refusing(self) -> Iterator[None]:
        try:
            yield
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
