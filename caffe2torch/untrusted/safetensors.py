"""The tensors in a safetensors file, as views of it. No number in the header is used unchecked."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from caffe2torch.blob import FLOAT32, Array, Blob, DType, dense, shape_problem
from caffe2torch.errors import ReadError
from caffe2torch.untrusted.kinds import Kind, look
from caffe2torch.untrusted.mapped import AnyPath, located, mapped
from caffe2torch.untrusted.tables import MAX_TABLE, parsed_table

NUMPY: dict[str, DType] = {"F32": np.dtype("<f4"), "F16": np.dtype("<f2"), "BF16": np.dtype("<u2")}
"""How values lie in a file, by the name of their dtype; NumPy has no bfloat16."""


@dataclass(frozen=True)
class Stored:
    """A tensor as stored in a file: its dtype, as the format names it, its shape, and its values in 1-D."""

    dtype: str
    shape: tuple[int, ...]
    values: Array

    def widened(self) -> Array:
        """The values as float32."""
        if self.dtype == "BF16":
            return (self.values.astype("<u4") << 16).view("<f4")
        return self.values.astype("<f4", copy=False)

    def blob(self, *, diagonal: bool = False) -> Blob:
        """The tensor as a float32 blob; a channel `diagonal` (C, 1, h, w) becomes the dense kernel."""
        return dense(self.shape, self.widened) if diagonal else Blob(self.shape, FLOAT32, self.widened)


def read_tensors(path: AnyPath) -> tuple[dict[str, Stored], dict[str, str]]:
    """The tensors of a safetensors file by key, as views of the memory-mapped file, and its metadata.

    Every number of the header is checked against the file before it is used. Raises MissingData, ReadError.
    """
    file = look(path)
    if file.kind is not Kind.SAFETENSORS:
        mapped(file)  # names the usual mistakes; a real header's length may start like one of them
    buffer = file.buffer
    with located(path):
        length = int.from_bytes(buffer[:8], "little")
        if file.kind is not Kind.SAFETENSORS:
            raise ReadError(f"does not hold a header of {length} bytes; is it safetensors, and whole?")
        if length > MAX_TABLE:
            raise ReadError(
                f"its header has {length} bytes; {MAX_TABLE} are allowed, more than any net needs"
            )
        header = parsed_table(buffer[8 : 8 + length], "its header")
        metadata = header.pop("__metadata__", {})
        if not isinstance(metadata, dict) or not all(isinstance(text, str) for text in metadata.values()):
            raise ReadError("its __metadata__ is not a table of strings")
        data = memoryview(buffer)[8 + length :]
        stored = {key: _stored(key, entry, data) for key, entry in header.items()}
        _check_cover({key: entry["data_offsets"] for key, entry in header.items()}, len(data))
    return stored, metadata


def _stored(key: str, entry: object, data: memoryview) -> Stored:
    if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
        raise ReadError(f"tensor {key!r}: does not have exactly dtype, shape and data_offsets")
    shape, offsets, dtype = entry["shape"], entry["data_offsets"], entry["dtype"]
    if not isinstance(dtype, str) or dtype not in NUMPY:
        raise ReadError(f"tensor {key!r}: its dtype is {dtype!r}; known are {', '.join(NUMPY)}")
    if not _are_sizes(shape) or not _are_sizes(offsets) or len(offsets) != 2:
        raise ReadError(f"tensor {key!r}: its shape {shape} or its data_offsets {offsets} are impossible")
    if problem := shape_problem(tuple(shape)):
        raise ReadError(f"tensor {key!r}: {problem}")
    (begin, end), size = offsets, math.prod(shape) * NUMPY[dtype].itemsize
    if end - begin != size or end > len(data):
        raise ReadError(
            f"tensor {key!r}: takes {size} bytes, its data_offsets {offsets} of {len(data)} do not"
        )
    values = np.frombuffer(data[begin:end], NUMPY[dtype])
    return Stored(dtype, tuple(shape), values)


def _are_sizes(values: object) -> bool:
    return isinstance(values, list) and all(type(value) is int and value >= 0 for value in values)


def _check_cover(offsets: dict[str, list[int]], size: int) -> None:
    """Checks that the tensors follow each other and fill the file: no overlaps, nothing hidden between."""
    at = 0
    for key, (begin, end) in sorted(offsets.items(), key=lambda item: item[1]):
        if begin != at:
            raise ReadError(
                f"tensor {key!r}: begins at byte {begin} of the data, the one before it ends at {at}"
            )
        at = end
    if at != size:
        raise ReadError(f"its tensors end at byte {at} of the data, the file at {size}")
