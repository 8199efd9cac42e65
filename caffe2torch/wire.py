"""Where the blobs of a binary Caffe file lie: a scan of its wire format that copies everything but the values.

    buffer (a memory-mapped file) --scan--> skeleton (the definition, small) + blobs (views of the buffer)

A message is a row of fields, each a tag (field number and wire type in one varint) and a payload; see "Encoding"
in the Protocol Buffers documentation. Only messages on the way to a BlobProto are walked; other fields go into
the skeleton as they are, for protobuf to parse. Every length is checked against the message around it before
it is used, and nothing is allocated for a size that is only declared.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import DecodeError

from caffe2torch import schema
from caffe2torch.errors import ReadError
from caffe2torch.net import Array, Blob

VARINT, FIXED64, LENGTH, FIXED32 = 0, 1, 2, 5

MAX_FIELDS = 1 << 18
"""Fields walked in one file: many times what a net of a thousand layers has."""
MAX_DEFINITION = 8 << 20
"""Bytes of a skeleton: the definitions of the largest nets stay under one megabyte."""
MAX_AXES = 32  # kMaxBlobAxes (blob.hpp)
MAX_COUNT = (1 << 31) - 1  # Caffe counts the values of a blob in an int (blob.cpp, Reshape)

LEGACY_SHAPE = ("num", "channels", "height", "width")
_FIELDS = schema.descriptor("BlobProto").fields_by_name
_SHAPE = {_FIELDS[name].number for name in (*LEGACY_SHAPE, "shape")}
_DIFF = {_FIELDS[name].number for name in ("diff", "double_diff")}
_VALUES = {
    (_FIELDS["data"].number, LENGTH): np.dtype("<f4"),
    (_FIELDS["data"].number, FIXED32): np.dtype("<f4"),
    (_FIELDS["double_data"].number, LENGTH): np.dtype("<f8"),
    (_FIELDS["double_data"].number, FIXED64): np.dtype("<f8"),
}


def scan(buffer: Any, kind: str = "NetParameter") -> tuple[bytes, list[Blob]]:
    """The definition in the serialized message of type `kind` that fills `buffer`, and the blobs in it.

    In the definition a BlobProto keeps its shape and gets `index`, its position in the list; a field of it that
    the schema lacks keeps its number and loses its content. The values are read-only views of `buffer`, which
    they keep alive (float64 where the file has `double_data`, else float32); `diff` is left out.

    Raises ReadError, with the byte and the place, where `buffer` is cut short or makes no sense.
    """
    walk = _Walk(memoryview(buffer).toreadonly(), kind)
    return walk.message(kind, 0, len(walk.buffer)), walk.blobs


def shape_of(proto: Any) -> tuple[int, ...]:
    """The shape that a BlobProto declares."""
    # One legacy size is enough for four axes, whatever `shape` says (blob.cpp, FromProto).
    if any(proto.HasField(name) for name in LEGACY_SHAPE):
        return tuple(getattr(proto, name) for name in LEGACY_SHAPE)
    return tuple(proto.shape.dim)


def shape_problem(shape: tuple[int, ...]) -> str:
    """Why no blob can have this shape; empty when one can."""
    if len(shape) > MAX_AXES:
        return f"{len(shape)} axes, Caffe allows {MAX_AXES}"
    if min(shape, default=0) < 0:
        return f"shape {shape} has a negative size"
    if math.prod(shape) > MAX_COUNT:
        return f"shape {shape} asks for {math.prod(shape)} values, Caffe allows {MAX_COUNT}"
    return ""


class _Field(NamedTuple):
    """A field as it lies in the buffer: its tag at `start`, its content from `payload` to `end`."""

    number: int
    wire: int
    start: int
    payload: int
    end: int


@cache
def _ways(kind: str) -> dict[int, FieldDescriptor]:
    """The fields of a message that lead to blobs, by number."""

    def leads(field: FieldDescriptor) -> bool:
        inner = field.message_type
        return inner is not None and (inner.name == "BlobProto" or bool(_ways(inner.name)))

    return {field.number: field for field in schema.descriptor(kind).fields if leads(field)}


class _Walk:
    """One pass over a buffer, with the blobs found so far."""

    def __init__(self, buffer: memoryview, kind: str) -> None:
        self.buffer = buffer
        self.blobs: list[Blob] = []
        self.place = [kind]
        self.fields_left, self.bytes_left = MAX_FIELDS, MAX_DEFINITION

    def message(self, kind: str, start: int, end: int) -> bytes:
        """The message between `start` and `end`, without the values of its blobs."""
        if kind == "BlobProto":
            return self.blob(start, end)
        parts, at = [], start
        seen = dict.fromkeys(_ways(kind), 0)
        while at < end:
            field = self.field(at, end)
            at = field.end
            if field.number in seen and field.wire == LENGTH:
                way = _ways(kind)[field.number]
                self.place.append(f"{way.name}[{seen[field.number]}]")
                parts.append(_delimited(field.number, self.message(way.message_type.name, field.payload, at)))
                self.place.pop()
                seen[field.number] += 1
            else:
                parts.append(self.keep(kind, field))
        return b"".join(parts)

    def blob(self, start: int, end: int) -> bytes:
        """The BlobProto between `start` and `end`, without its values; they go to `blobs`."""
        parts, at = [], start
        pieces: dict[np.dtype[Any], list[Array]] = {}
        while at < end:
            field = self.field(at, end)
            count, at = self.run(field, end)
            if dtype := _VALUES.get((field.number, field.wire)):
                pieces.setdefault(dtype, []).append(self.piece(field, count, dtype))
            elif field.number in _SHAPE:
                parts.append(self.keep("BlobProto", field))
            elif field.number not in _DIFF:
                parts.append(_delimited(field.number, b""))
        try:
            proto = schema.message("BlobProto").FromString(b"".join(parts))
        except DecodeError:
            raise self.refusal(start, "its shape does not parse") from None
        self.blobs.append(self.stored(start, shape_of(proto), pieces))
        proto.index = len(self.blobs) - 1
        return bytes(proto.SerializeToString())

    def stored(self, start: int, shape: tuple[int, ...], pieces: dict[np.dtype[Any], list[Array]]) -> Blob:
        """The Blob of these values, once they are as many as the shape asks for."""
        if problem := shape_problem(shape):
            raise self.refusal(start, problem)
        # double_data comes before data (blob.cpp, FromProto).
        for dtype in (np.dtype("<f8"), np.dtype("<f4")):
            parts = [piece for piece in pieces.get(dtype, []) if piece.size]
            count = sum(piece.size for piece in parts)
            if count and count != math.prod(shape):
                raise self.refusal(start, f"shape {shape} asks for {math.prod(shape)} values, {count} are there")
            if count:
                return Blob(shape, dtype, lambda: _joined(parts))
        if math.prod(shape) == 0:
            return Blob.of(np.zeros(shape, np.float32))
        return Blob(shape, np.dtype("<f4"), None)

    def piece(self, field: _Field, count: int, dtype: np.dtype[Any]) -> Array:
        """The values of a packed field, or those of a run of `count` unpacked ones."""
        stride = dtype.itemsize
        if field.wire == LENGTH:
            count, rest = divmod(field.end - field.payload, dtype.itemsize)
            if rest:
                raise self.refusal(field.start, f"packed {dtype} values end after {rest} bytes of the last one")
        else:
            stride = field.end - field.start
        return np.ndarray((count,), dtype, self.buffer, field.payload, (stride,))

    def run(self, field: _Field, end: int) -> tuple[int, int]:
        """How many fields from this one on are its like, and where they end; 1 unless they are unpacked values."""
        stride = field.end - field.start
        if field.wire not in (FIXED32, FIXED64) or field.payload - field.start > 1:
            return 1, field.end
        tags = np.ndarray(((end - field.start) // stride,), np.uint8, self.buffer, field.start, (stride,))
        count, step = 1, 64
        while count < tags.size:
            differs = tags[count : count + step] != tags[0]
            if differs.any():
                count += int(differs.argmax())
                break
            count, step = min(count + step, tags.size), min(2 * step, 1 << 20)
        return count, field.start + count * stride

    def keep(self, kind: str, field: _Field) -> bytes:
        """The bytes of a field that belongs into the definition."""
        self.bytes_left -= field.end - field.start
        if self.bytes_left < 0:
            raise self.refusal(field.start, f"the definition without its blobs is over {MAX_DEFINITION} bytes")
        kept = bytes(self.buffer[field.start : field.end])
        name = schema.descriptor(kind).fields_by_name.get("name")
        if name and name.number == field.number and field.wire == LENGTH:
            text = bytes(self.buffer[field.payload : field.end][:80]).decode(errors="replace")
            self.place[-1] += f" '{text}'"
        return kept

    def field(self, at: int, end: int) -> _Field:
        """The field at `at` of a message that ends at `end`."""
        self.fields_left -= 1
        if self.fields_left < 0:
            raise self.refusal(at, f"more than {MAX_FIELDS} fields")
        tag, payload = self.varint(at, end)
        number, wire = tag >> 3, tag & 7
        if not 0 < number < 1 << 29 or wire not in (VARINT, FIXED64, LENGTH, FIXED32):
            raise self.refusal(at, f"no field starts here (field number {number}, wire type {wire})")
        if wire == VARINT:
            size = self.varint(payload, end)[1] - payload
        elif wire == LENGTH:
            size, payload = self.varint(payload, end)
        else:
            size = 4 if wire == FIXED32 else 8
        if size > end - payload:
            raise self.refusal(at, f"field {number} takes {size} bytes, {end - payload} are left")
        return _Field(number, wire, at, payload, payload + size)

    def varint(self, at: int, end: int) -> tuple[int, int]:
        """The number at `at`, and where it ends."""
        value = 0
        for i, byte in enumerate(self.buffer[at : min(at + 10, end)]):
            value |= (byte & 0x7F) << (7 * i)
            if byte < 0x80:
                return value, at + i + 1
        raise self.refusal(at, "a number is cut short" if end - at < 10 else "a number takes more than 10 bytes")

    def refusal(self, at: int, problem: str) -> ReadError:
        """The error that says what is wrong at a byte."""
        return ReadError(f"byte {at}, in {'.'.join(self.place)}: {problem}")


def _joined(pieces: list[Array]) -> Array:
    """One piece as the view that it is; several, or unpacked values, in a copy."""
    if len(pieces) == 1 and pieces[0].flags.c_contiguous:
        return pieces[0]
    joined = np.concatenate(pieces)
    joined.flags.writeable = False
    return joined


def _delimited(number: int, content: bytes) -> bytes:
    """A field of wire type LENGTH."""
    return _varint(number << 3 | LENGTH) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes((*out, value))
