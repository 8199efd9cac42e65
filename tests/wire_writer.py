"""A tiny writer of protobuf's wire format that knows neither protobuf nor this package.

It also writes what no protobuf library does: values in several pieces, wrong lengths, numbers out of place.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

VARINT, FIXED64, LENGTH, FIXED32 = 0, 1, 2, 5


def varint(value: int) -> bytes:
    out = b""
    while value >= 128:
        out += bytes([value % 128 + 128])
        value //= 128
    return out + bytes([value])


def tag(number: int, wire: int) -> bytes:
    return varint(number * 8 + wire)


def integer(number: int, value: int) -> bytes:
    return tag(number, VARINT) + varint(value % 2**64)


def delimited(number: int, content: bytes) -> bytes:
    return tag(number, LENGTH) + varint(len(content)) + content


def packed(number: int, values: Sequence[float], code: str = "f") -> bytes:
    return delimited(number, struct.pack(f"<{len(values)}{code}", *values))


def unpacked(number: int, values: Sequence[float], code: str = "f") -> bytes:
    wire = FIXED32 if code == "f" else FIXED64
    return b"".join(tag(number, wire) + struct.pack(f"<{code}", value) for value in values)


# Of BlobProto: num, channels, height, width 1 to 4; data 5; diff 6; shape 7; double_data 8; double_diff 9.


def shape(*dims: int) -> bytes:
    return delimited(7, delimited(1, b"".join(varint(dim % 2**64) for dim in dims)))


def legacy(**sizes: int) -> bytes:
    numbers = {"num": 1, "channels": 2, "height": 3, "width": 4}
    return b"".join(integer(numbers[name], size) for name, size in sizes.items())


def layer(name: str, *blobs: bytes, type_name: str = "Convolution", more: bytes = b"") -> bytes:
    """A field of NetParameter: layer (100), its name 1, type 2, blobs 7."""
    head = delimited(1, name.encode()) + delimited(2, type_name.encode())
    return delimited(100, head + b"".join(delimited(7, blob) for blob in blobs) + more)


def v1_layer(name: str, *blobs: bytes, number: int = 4, more: bytes = b"") -> bytes:
    """A field of NetParameter: layers (2), its name 4, type 5 (CONVOLUTION = 4), blobs 6."""
    head = delimited(4, name.encode()) + integer(5, number)
    return delimited(2, head + b"".join(delimited(6, blob) for blob in blobs) + more)


def v0_layer(name: str, *blobs: bytes) -> bytes:
    """A field of NetParameter: layers (2), its layer 1, of that name 1, type 2, blobs 50."""
    head = delimited(1, name.encode()) + delimited(2, b"conv")
    return delimited(2, delimited(1, head + b"".join(delimited(50, blob) for blob in blobs)))
