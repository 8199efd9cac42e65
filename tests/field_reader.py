"""A reader of Caffe's binary files that knows protobuf's wire format and caffe-fields.tsv, and nothing else.

Facts: protobuf.dev/programming-guides/encoding. A message is a list of (tag, value), a tag is
8 * field number + wire type; wire types are 0 varint, 1 eight bytes, 2 length and bytes, 5 four bytes.
"""

from __future__ import annotations

import csv
import struct
from typing import Any

from tests.places import GOLDEN

TABLE = GOLDEN / "caffe-fields.tsv"
FIXED = {"float": ("<f", 5), "double": ("<d", 1)}

with TABLE.open(newline="") as rows:
    ROWS = list(csv.DictReader(rows, delimiter="\t"))
FIELDS = {(row["scope"], int(row["number"])): row for row in ROWS if row["kind"] == "field"}
ENUMS = {(row["scope"], int(row["number"])): row["name"] for row in ROWS if row["kind"] == "enum"}
ENUM_TYPES = {scope for scope, _ in ENUMS}


def varint(data: memoryview, at: int) -> tuple[int, int]:
    """The number that begins at a byte, and the byte after it."""
    value = shift = 0
    while True:
        byte = data[at]
        value, shift, at = value | (byte & 0x7F) << shift, shift + 7, at + 1
        if byte < 0x80:
            return value, at


def raw(data: memoryview, at: int, wire: int) -> tuple[Any, int]:
    """What follows a tag: an int, or bytes."""
    if wire == 0:
        return varint(data, at)
    size, at = varint(data, at) if wire == 2 else ({1: 8, 5: 4}[wire], at)
    assert at + size <= len(data), f"{size} bytes at {at} of {len(data)}"
    return data[at : at + size], at + size


def scalar(kind: str, value: Any) -> Any:
    """A varint or fixed value as its type has it."""
    if kind in FIXED:
        return struct.unpack(FIXED[kind][0], value)[0]
    if kind in ENUM_TYPES:
        return ENUMS[kind, value]
    if kind == "bool":
        return bool(value)
    return value - (1 << 64) if value >> 63 else value  # a negative int32 has ten bytes, too


def packed(kind: str, data: memoryview) -> list[Any]:
    """Repeated numbers in one run of bytes."""
    if kind in FIXED:
        return [value for (value,) in struct.iter_unpack(FIXED[kind][0], data)]
    values, at = [], 0
    while at < len(data):
        value, at = varint(data, at)
        values.append(scalar(kind, value))
    return values


def read(message: str, data: bytes | memoryview) -> dict[str, Any]:
    """A message's fields by name: values, lists of them where the field is repeated, dictionaries inside."""
    data, at, found = memoryview(data), 0, dict[str, Any]()
    while at < len(data):
        tag, at = varint(data, at)
        value, at = raw(data, at, tag & 7)
        row = FIELDS[message, tag >> 3]  # a KeyError: no field of Caffe's
        kind, name = row["type"], row["name"]
        if kind in ("string", "bytes"):
            value = str(value, "utf-8") if kind == "string" else bytes(value)
        elif tag & 7 == 2 and (kind in FIXED or kind in ENUM_TYPES or kind[:3] in ("int", "uin", "boo")):
            assert row["packed"] == "packed", f"{message}.{name} is not packed in Caffe's schema"
            found.setdefault(name, []).extend(packed(kind, value))
            continue
        else:
            value = read(kind, value) if tag & 7 == 2 else scalar(kind, value)
        if row["label"] == "repeated":
            found.setdefault(name, []).append(value)
        else:
            found[name] = value
    return found
