"""A matrix from a MATLAB 5 file ("MATLAB MAT-File Format", MathWorks), and nothing else that it may hold.

A file is a list of elements, each with its type and its size in bytes; those not wanted are skipped.
scipy reads far more than label files need, and a damaged file can crash it.
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from caffe2torch.errors import MissingData, ReadError

MAX_BYTES = 1 << 25
"""Of a file, and of all that is inflated from it: a label map of doubles, 2000 x 2000."""
MAX_PARTS = 100
"""Of a variable: its elements, or a struct's fields."""
MAX_VARIABLES = 1000

_HEADER = 128
_MATRIX, _COMPRESSED = 14, 15
_STRUCT = 2
_NUMBERS = range(6, 16)  # the classes from double to uint64
_COMPLEX = 0x0800
_DTYPES = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}


def read_matrix(path: Path, variable: str, field: str = "") -> npt.NDArray[Any]:
    """The real numbers (H, W) in a variable, or in a field of it if it is a struct, as stored.

    Raises MissingData without the file, and ReadError if they are not in it.
    """
    content = _content(path)
    order = "<" if content[126:_HEADER] == b"IM" else ">"
    try:
        for matrix in _matrices(memoryview(content)[_HEADER:], order):
            if len(matrix) > 2 and matrix[2][1] == variable.encode():
                return _numbers(_field(matrix, field, order) if field else matrix, order)
        raise ValueError("there is no such variable")
    except (ValueError, struct.error, zlib.error) as error:
        name = f"{variable}.{field}" if field else variable
        raise ReadError(f"{path}: no labels in {name}: {error}") from error


def _content(path: Path) -> bytes:
    try:
        size = path.stat().st_size
        content = path.read_bytes() if size <= MAX_BYTES else b""
    except FileNotFoundError as error:
        raise MissingData(f"{path}: no such file") from error
    except OSError as error:
        raise ReadError(f"{path}: {error}") from error
    if size > MAX_BYTES:
        raise ReadError(f"{path}: {size} bytes; a label file has at most {MAX_BYTES}")
    # The version is 0x0100 in the order of the letters after it; HDF5, from MATLAB 7.3 on, has 0x0200.
    if content[124:_HEADER] not in (b"\x00\x01IM", b"\x01\x00MI"):
        raise ReadError(f"{path}: not a MATLAB 5 file (MATLAB writes one with save -v7 or -v6)")
    return content


def _elements(content: memoryview, order: str) -> Iterator[tuple[int, memoryview]]:
    """The elements one after another: (type, data)."""
    at = 0
    while at + 8 <= len(content):
        kind, size = struct.unpack_from(f"{order}II", content, at)
        start = at + 8
        if kind >> 16:  # the small form: size and type share a word, and at most 4 bytes follow it
            kind, size, start = kind & 0xFFFF, kind >> 16, at + 4
        if start + size > len(content):
            raise ValueError(f"an element of {size} bytes where {len(content) - start} are left")
        yield kind, content[start : start + size]
        # Elements start at multiples of 8, except after a compressed one.
        at = start + size if kind == _COMPRESSED else at + 8 * math.ceil((start + size - at) / 8)


def _matrices(content: memoryview, order: str) -> Iterator[list[tuple[int, memoryview]]]:
    """The variables of a file, each as its elements: flags, shape, name, and then by its class."""
    left = MAX_BYTES
    for number, (kind, data) in enumerate(_elements(content, order)):
        if number >= MAX_VARIABLES:
            raise ValueError(f"over {MAX_VARIABLES} variables")
        if kind == _COMPRESSED:  # one element
            inflated = _inflated(data, left)
            left -= len(inflated)
            kind, data = next(_elements(inflated, order), (_COMPRESSED, data))
        if kind == _MATRIX:
            yield _parts(data, order)


def _parts(matrix: memoryview, order: str) -> list[tuple[int, memoryview]]:
    return list(islice(_elements(matrix, order), MAX_PARTS))


def _inflated(data: memoryview, most: int) -> memoryview:
    inflater = zlib.decompressobj()
    content = inflater.decompress(data, most + 1)
    if len(content) > most:
        raise ValueError(f"the file inflates to more than {MAX_BYTES} bytes")
    if not inflater.eof:
        raise ValueError("it is truncated")
    return memoryview(content)


def _field(matrix: list[tuple[int, memoryview]], name: str, order: str) -> list[tuple[int, memoryview]]:
    """One field of a struct, as its elements."""
    flags, shape = _head(matrix, order)
    if flags & 0xFF != _STRUCT or shape != (1, 1) or len(matrix) < 5:
        raise ValueError("the variable is not a struct")
    (width,) = struct.unpack(f"{order}i", matrix[3][1])
    names = bytes(matrix[4][1])
    fields = [names[at : at + width].split(b"\0")[0].decode() for at in range(0, len(names), max(width, 1))]
    values = dict(zip(fields, matrix[5:], strict=False))
    if name not in values:
        raise ValueError(f"its fields are {', '.join(fields)}")
    return _parts(values[name][1], order)


def _numbers(matrix: list[tuple[int, memoryview]], order: str) -> npt.NDArray[Any]:
    flags, shape = _head(matrix, order)
    if flags & 0xFF not in _NUMBERS or flags & _COMPLEX or len(shape) != 2 or len(matrix) < 4:
        raise ValueError("it is not a matrix of real numbers")
    kind, data = matrix[3]
    if kind not in _DTYPES:
        raise ValueError(f"numbers of type {kind}")
    values = np.frombuffer(data, f"{order}{_DTYPES[kind]}")  # often shorter than the class
    if values.size != math.prod(shape):
        raise ValueError(f"{values.size} numbers for a matrix of {shape}")
    return values.reshape(shape, order="F")


def _head(matrix: list[tuple[int, memoryview]], order: str) -> tuple[int, tuple[int, ...]]:
    """Flags, with the class in the low byte, and shape."""
    if len(matrix) < 3:
        raise ValueError("it is empty")
    (_, flags), (_, shape) = matrix[:2]
    return struct.unpack_from(f"{order}I", flags)[0], struct.unpack(f"{order}{len(shape) // 4}i", shape)
