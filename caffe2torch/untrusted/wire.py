"""Where the blobs of a binary Caffe file lie: a scan of its wire format that copies no values.

    buffer (a memory-mapped file) --scan--> skeleton (the definition, small) + blobs (views of the buffer)

A message is a sequence of fields, each a tag (field number and wire type in one varint) and a payload; see
"Encoding" in the Protocol Buffers documentation. Only messages on the way to a BlobProto are walked; other
fields go into the skeleton as they are, for protobuf to parse. Every length is checked against the message
around it before it is used, and nothing is allocated for a size that is only declared.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import cache, partial
from typing import NamedTuple

import numpy as np
from google.protobuf.descriptor import Descriptor
from google.protobuf.message import DecodeError

from caffe2torch import schema
from caffe2torch.blob import Array, Blob, DType, shape_problem
from caffe2torch.errors import ReadError
from caffe2torch.schema import Message
from caffe2torch.untrusted.mapped import Buffer

VARINT, FIXED64, LENGTH, FIXED32 = 0, 1, 2, 5

MAX_FIELDS = 1 << 17
"""Fields walked in one file: many times what a net of a thousand layers has."""
MAX_DEFINITION = 8 << 20
"""Bytes of a skeleton: the definitions of the largest nets stay under one megabyte."""

MAX_TAG = 5
"""Bytes of a tag; protobuf takes no longer one, even where it says nothing more."""

LEGACY_SHAPE = ("num", "channels", "height", "width")
FLOAT, DOUBLE = np.dtype("<f4"), np.dtype("<f8")
_BLOB = schema.descriptor("BlobProto")
_NUMBER = {field.name: field.number for field in _BLOB.fields}
_SHAPE = {_NUMBER[name] for name in (*LEGACY_SHAPE, "shape")}
RAW_TYPE, RAW_DIFF_TYPE, RAW_DATA, RAW_DIFF = 10, 11, 12, 13
"""NVIDIA's Caffe writes a blob's values as bytes, and their type as a number of its own."""
_RAW_TYPES: dict[int, DType] = {0: DOUBLE, 1: FLOAT, 2: np.dtype("<f2")}
_DIFF = {*(_NUMBER[name] for name in ("diff", "double_diff")), RAW_DIFF_TYPE, RAW_DIFF}
_VALUES: dict[tuple[int, int], DType] = {
    (_NUMBER["data"], LENGTH): FLOAT,
    (_NUMBER["data"], FIXED32): FLOAT,
    (_NUMBER["double_data"], LENGTH): DOUBLE,
    (_NUMBER["double_data"], FIXED64): DOUBLE,
}


_DOUBLE_DIFF = _NUMBER["double_diff"], LENGTH
_VIDEO_WIDTH = 5, VARINT
"""C3D's blobs have five axes: num, channels, length, height 1 to 4 as Caffe's four, width 5, data 6."""
_VIDEO_VALUES = {(6, LENGTH), (6, FIXED32)}
_RAW = {(RAW_TYPE, VARINT), (RAW_DATA, LENGTH)}
_DTYPES = tuple(_RAW_TYPES.values())


def scan(buffer: Buffer, kind: str = "NetParameter") -> tuple[bytes, list[Blob]]:
    """The definition in the serialized message of type `kind` that fills `buffer`, and the blobs in it.

    In the definition a BlobProto keeps its shape and gets `index`, its position in the list; fields that the
    schema lacks keep their number and lose their content. The values are read-only views of `buffer`, which
    they keep alive: float64 where there is `double_data`, else float32. `diff` is left out. The float16 of
    NVIDIA's Caffe becomes float32 when it is read.

    Raises ReadError, with the byte and the place, where `buffer` is truncated or malformed.
    """
    walk = _Walk(memoryview(buffer).toreadonly(), kind)
    return walk.message(schema.descriptor(kind), 0, len(walk.buffer)), walk.blobs


def _shape_of(proto: Message) -> tuple[int, ...]:
    # One legacy size is enough for four axes, whatever `shape` says (blob.cpp, FromProto).
    if any(proto.HasField(name) for name in LEGACY_SHAPE):
        return tuple(getattr(proto, name) for name in LEGACY_SHAPE)
    return tuple(proto.shape.dim)


class Field(NamedTuple):
    """A field in the buffer: its tag at `start`, its content from `payload` to `end`."""

    number: int
    wire: int
    start: int
    payload: int
    end: int


def fields(message: Buffer) -> Iterator[Field]:
    """The fields of a serialized message in their order. Raises ReadError where it is malformed."""
    walk, at = _Walk(memoryview(message), "message"), 0
    while at < len(message):
        field = walk.field(at, len(message))
        yield field
        at = field.end


@cache
def _ways(message: Descriptor) -> dict[int, tuple[str, Descriptor]]:
    """The fields of a message in a file that lead to blobs: name and type, by number."""
    ways = {}
    for field in message.fields:
        inner = field.message_type if field.number < schema.PRIVATE else None
        if inner is not None and (inner is _BLOB or _ways(inner)):
            ways[field.number] = field.name, inner
    return ways


class _Walk:
    """One pass over a buffer, with the blobs found so far."""

    def __init__(self, buffer: memoryview, kind: str) -> None:
        self.buffer = buffer
        self.blobs: list[Blob] = []
        self.place = [kind]
        self.fields_left, self.bytes_left = MAX_FIELDS, MAX_DEFINITION

    def message(self, kind: Descriptor, start: int, end: int) -> bytes:
        """The message between `start` and `end`, without the values of its blobs."""
        if kind is _BLOB:
            return self.blob(start, end)
        parts, at = [], start
        seen = dict.fromkeys(_ways(kind), 0)
        while at < end:
            field = self.field(at, end)
            at = field.end
            if field.number in seen and field.wire == LENGTH:
                name, inner = _ways(kind)[field.number]
                self.place.append(f"{name}[{seen[field.number]}]")
                parts.append(delimited(field.number, self.message(inner, field.payload, at)))
                self.place.pop()
                seen[field.number] += 1
            else:
                parts.append(self.keep(field))
                self.note_name(kind, field)
        return b"".join(parts)

    def blob(self, start: int, end: int) -> bytes:
        """The BlobProto between `start` and `end`, without its values; they go to `blobs`."""
        parts, at = [], start
        pieces: dict[DType, list[Array]] = {}
        raw: dict[int, Field] = {}
        video: list[Array] = []
        while at < end:
            field = self.field(at, end)
            count, at = self.run(field, end)
            if (field.number, field.wire) in _RAW:
                raw[field.number] = field  # the last one counts, as in protobuf
            elif dtype := _VALUES.get((field.number, field.wire)):
                pieces.setdefault(dtype, []).append(self.piece(field, count, dtype))
            elif field.number in _SHAPE:
                parts.append(self.keep(field))
            elif (field.number, field.wire) == _VIDEO_WIDTH:
                raw[field.number] = field
            elif (field.number, field.wire) in _VIDEO_VALUES:
                video.append(self.piece(field, count, FLOAT))
            elif (field.number, field.wire) == _DOUBLE_DIFF:
                self.piece(field, count, DOUBLE)  # refuses what protobuf does
            elif field.number not in _DIFF:
                parts.append(delimited(field.number, b""))
        try:
            proto = schema.message("BlobProto").FromString(b"".join(parts))
        except DecodeError:
            raise self.refusal(start, "its shape does not parse") from None
        if RAW_DATA in raw and not any(piece.size for same in pieces.values() for piece in same):
            pieces = self.raw(raw)
        proto.index, shape = len(self.blobs), _shape_of(proto)
        if (width := raw.get(_VIDEO_WIDTH[0])) is not None:
            shape, pieces = (*shape, self.varint(width.payload, width.end)[0]), {FLOAT: video}
        self.blobs.append(self.stored(start, shape, pieces))
        return bytes(proto.SerializeToString())

    def stored(self, start: int, shape: tuple[int, ...], pieces: dict[DType, list[Array]]) -> Blob:
        """The Blob of these values, whose number is checked against its shape."""
        if problem := shape_problem(shape):
            raise self.refusal(start, problem)
        wanted = math.prod(shape)
        # A single double makes Caffe ignore all floats (blob.cpp, FromProto).
        dtype = next((kind for kind in _DTYPES if any(piece.size for piece in pieces.get(kind, ()))), FLOAT)
        found = [piece for piece in pieces.get(dtype, ()) if piece.size]
        count = sum(piece.size for piece in found)
        if found and count != wanted:
            hint = "; its num is missing or 0" if len(shape) == 4 and not shape[0] else ""
            raise self.refusal(start, f"its shape {shape} asks for {wanted} values, {count} are there{hint}")
        if not found and wanted:
            return Blob(shape, dtype, None)
        wide = DOUBLE if dtype == DOUBLE else FLOAT
        return Blob(shape, wide, partial(_joined, found or [np.empty(0, dtype)], wide))

    def raw(self, fields: dict[int, Field]) -> dict[DType, list[Array]]:
        """The values that NVIDIA's Caffe wrote as bytes."""
        kind, data = fields.get(RAW_TYPE), fields[RAW_DATA]
        number = None if kind is None else self.varint(kind.payload, kind.end)[0]
        if number not in _RAW_TYPES:
            found = "has no raw_data_type" if number is None else f"has raw_data_type {number}"
            raise self.refusal(data.start, f"raw_data of NVIDIA's Caffe {found}; 0, 1 and 2 are floats")
        dtype = _RAW_TYPES[number]
        return {dtype: [self.piece(data, 1, dtype)]}

    def piece(self, field: Field, count: int, dtype: DType) -> Array:
        """The values of a packed field, or those of `count` unpacked ones."""
        stride = field.end - field.start
        if field.wire == LENGTH:
            stride = dtype.itemsize
            count, rest = divmod(field.end - field.payload, stride)
            if rest:
                raise self.refusal(field.start, f"the last of its values has {rest} bytes, not {stride}")
        values: Array = np.ndarray((count,), dtype, self.buffer, field.payload, (stride,))
        return values

    def run(self, field: Field, end: int) -> tuple[int, int]:
        """How many unpacked values follow each other here, and where they end; 1 for any other field."""
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
            count, step = count + differs.size, min(2 * step, 1 << 20)
        return count, field.start + count * stride

    def keep(self, field: Field) -> bytes:
        """The bytes of a field that belongs in the definition."""
        self.bytes_left -= field.end - field.start
        if self.bytes_left < 0:
            raise self.refusal(field.start, f"the definition, blobs aside, is over {MAX_DEFINITION} bytes")
        return bytes(self.buffer[field.start : field.end])

    def note_name(self, kind: Descriptor, field: Field) -> None:
        """Lets refusals name the layer whose `name` this is."""
        name = kind.fields_by_name.get("name")
        if name and (name.number, LENGTH) == (field.number, field.wire):
            text = bytes(self.buffer[field.payload : field.end][:80]).decode(errors="replace")
            self.place[-1] += f" {text!r}"

    def field(self, at: int, end: int) -> Field:
        """The field at `at` of a message that ends at `end`."""
        self.fields_left -= 1
        if self.fields_left < 0:
            raise self.refusal(at, f"more than {MAX_FIELDS} fields")
        tag, payload = self.varint(at, end)
        number, wire = tag >> 3, tag & 7
        is_tag = payload - at <= MAX_TAG and 0 < number < 1 << 29
        if not is_tag or wire not in (VARINT, FIXED64, LENGTH, FIXED32):
            raise self.refusal(at, f"no field starts here (number {number}, wire type {wire})")
        if wire == VARINT:
            size = self.varint(payload, end)[1] - payload
        elif wire == LENGTH:
            size, payload = self.varint(payload, end)
        else:
            size = 4 if wire == FIXED32 else 8
        if size > end - payload:
            raise self.refusal(at, f"field {number} takes {size} bytes, {end - payload} are left")
        return Field(number, wire, at, payload, payload + size)

    def varint(self, at: int, end: int) -> tuple[int, int]:
        """The number at `at`, and where it ends."""
        value = 0
        for i, byte in enumerate(self.buffer[at : min(at + 10, end)]):
            value |= (byte & 0x7F) << (7 * i)
            if byte < 0x80:
                return value, at + i + 1
        raise self.refusal(at, "a number is cut short" if end - at < 10 else "a number is over 10 bytes long")

    def refusal(self, at: int, problem: str) -> ReadError:
        """The error that says what is wrong at a byte."""
        return ReadError(f"byte {at}, in {'.'.join(self.place)}: {problem}")


def _joined(pieces: list[Array], dtype: DType) -> Array:
    """A single piece as the view it is; several, unpacked values or shorter floats as a copy."""
    if len(pieces) == 1 and pieces[0].flags.c_contiguous and pieces[0].dtype == dtype:
        return pieces[0]
    joined = np.concatenate(pieces, dtype=dtype)
    joined.flags.writeable = False
    return joined


def delimited(number: int, content: bytes) -> bytes:
    """A field whose content is bytes."""
    return varint(number << 3 | LENGTH) + varint(len(content)) + content


def varint(value: int) -> bytes:
    """A number of 0 or more as protobuf writes it: seven bits a byte, the last byte without its top bit."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes((*out, value))
