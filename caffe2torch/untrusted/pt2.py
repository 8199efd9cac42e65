"""The weights in a file of torch.export, as views of it. Its graph is not loaded, its pickles are not read.

    NAME/data/weights/model_weights_config.json   for each key: file, dtype, sizes, strides, offset
    NAME/data/weights/weight_0, ...               the values, stored and not compressed
    NAME/extra/FILE                               what the writer added

torch.export.load unpickles whatever a file asks it to, and so runs what its author chose.
"""

from __future__ import annotations

import math
import struct
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from caffe2torch.blob import Blob, shape_problem
from caffe2torch.errors import ReadError
from caffe2torch.untrusted.kinds import File, look
from caffe2torch.untrusted.mapped import AnyPath, located
from caffe2torch.untrusted.safetensors import NUMPY, Stored
from caffe2torch.untrusted.tables import MAX_TABLE, parsed_table

_CONFIG = "/data/weights/model_weights_config.json"
_FLOATS = {6: "F16", 7: "F32", 13: "BF16"}
"""Names of dtypes by their numbers in torch's schema."""
_OTHERS = (1, 2, 3, 4, 5, 12)
"""Integers and truth values: no weights of a net."""
_LOCAL_HEADER = 30  # bytes, before the name and the extra field of a member
_DAMAGE = (zipfile.BadZipFile, struct.error, EOFError, KeyError, OSError, RuntimeError, ValueError)


def read_pt2(path: AnyPath) -> dict[str, Blob]:
    """The floating-point weights in what torch.export.save wrote, by key, as float32 views of the file.

    Raises ReadError for a file that lacks them, keeps them pickled, as PyTorch used to, or declares
    sizes that it does not have.
    """
    file = look(path)
    with located(path):
        members = _members(file)
        config = next((name for name in members if name.endswith(_CONFIG)), None)
        if config is None:
            raise ReadError("its weights are pickled or missing; recent PyTorch writes them as they are")
        table = _table(file, members, config).get("config")
        if not isinstance(table, dict):
            raise ReadError(f"{config} lists no weights")
        folder = PurePosixPath(config).parent
        stored = {key: _stored(key, entry, file, members, folder) for key, entry in table.items()}
    return {key: tensor.blob() for key, tensor in stored.items() if tensor is not None}


def read_extra(path: AnyPath, name: str) -> dict[str, Any]:
    """The JSON object in an extra file; {} without it. Raises ReadError for one that is damaged."""
    file = look(path)
    with located(path):
        members = _members(file)
        member = next((each for each in members if each.endswith(f"/extra/{name}")), None)
        return {} if member is None else _table(file, members, member)


def _members(file: File) -> dict[str, zipfile.ZipInfo]:
    try:
        with zipfile.ZipFile(file) as archive:
            return {info.filename: info for info in archive.infolist()}
    except _DAMAGE as error:
        raise ReadError(f"is no pt2, or is damaged: {error}") from None


def _table(file: File, members: Mapping[str, zipfile.ZipInfo], name: str) -> dict[str, Any]:
    """The JSON object in a member."""
    if members[name].file_size > MAX_TABLE:
        raise ReadError(f"{name} has {members[name].file_size} bytes; {MAX_TABLE} are allowed")
    return parsed_table(bytes(_bytes(file, members, name)), name)


def _stored(
    key: str, entry: Any, file: File, members: Mapping[str, zipfile.ZipInfo], folder: PurePosixPath
) -> Stored | None:
    """One weight; None for one that is no floating-point tensor."""
    try:
        meta, name = entry["tensor_meta"], str(folder / entry["path_name"])
        sizes, strides = ([size["as_int"] for size in meta[field]] for field in ("sizes", "strides"))
        dtype, offset, pickled = meta["dtype"], meta["storage_offset"]["as_int"], entry["use_pickle"]
    except (KeyError, TypeError):
        raise ReadError(f"weight {key!r}: has no file, dtype, sizes, strides and offset") from None
    if not all(type(number) is int and number >= 0 for number in (*sizes, *strides, dtype, offset)):
        raise ReadError(f"weight {key!r}: its dtype, sizes, strides or offset is no number")
    if dtype in _OTHERS:
        return None
    if pickled is not False:
        raise ReadError(f"weight {key!r}: is pickled, and not opened")
    if dtype not in _FLOATS:
        raise ReadError(f"weight {key!r}: its dtype is {dtype}; known are {', '.join(map(str, _FLOATS))}")
    if problem := shape_problem(tuple(sizes)) or _layout_problem(sizes, strides):
        raise ReadError(f"weight {key!r}: {problem}")
    begin, size = (n * NUMPY[_FLOATS[dtype]].itemsize for n in (offset, math.prod(sizes)))
    data = _bytes(file, members, name)
    if begin + size > len(data):
        raise ReadError(f"weight {key!r}: takes {begin + size} bytes; {name} has {len(data)}")
    return Stored(
        _FLOATS[dtype], tuple(sizes), np.frombuffer(data[begin : begin + size], NUMPY[_FLOATS[dtype]])
    )


def _layout_problem(sizes: Sequence[int], strides: Sequence[int]) -> str:
    """What is wrong with values that do not lie row by row; empty when they do."""
    if len(sizes) != len(strides):
        return f"has {len(sizes)} sizes and {len(strides)} strides"
    rows = [math.prod(sizes[axis + 1 :]) for axis in range(len(sizes))]
    by_row = all(size < 2 or stride == row for size, stride, row in zip(sizes, strides, rows, strict=True))
    return "" if by_row else "its values do not lie row by row"


def _bytes(file: File, members: Mapping[str, zipfile.ZipInfo], name: str) -> memoryview:
    """A member of the zip, as a view of the file."""
    member = members.get(name)
    if member is None or member.compress_type != zipfile.ZIP_STORED:
        raise ReadError(f"{name} is missing or compressed; torch.export does not compress")
    at, buffer = member.header_offset, memoryview(file.buffer)
    if not 0 <= at <= len(buffer) - _LOCAL_HEADER:
        raise ReadError(f"{name} is not all there")
    begin = at + _LOCAL_HEADER + sum(struct.unpack_from("<HH", buffer, at + 26))
    if begin + member.file_size > len(buffer):
        raise ReadError(f"{name} is not all there")
    return buffer[begin : begin + member.file_size]
