"""Message classes made of the golden table of Caffe's fields alone, for oracles that know nothing of ours."""

from __future__ import annotations

import csv
from functools import cache
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from tests.places import GOLDEN

TABLE = GOLDEN / "caffe-fields.tsv"
Proto = descriptor_pb2.FieldDescriptorProto


@cache
def message(name: str) -> type[Any]:
    """The class of a Caffe message, such as `message("SolverState")`."""
    return message_factory.GetMessageClass(_pool().FindMessageTypeByName(f"plain.{name}"))


@cache
def _pool() -> descriptor_pool.DescriptorPool:
    with TABLE.open(newline="") as lines:
        rows = list(csv.DictReader(lines, delimiter="\t"))
    file = descriptor_pb2.FileDescriptorProto(name="plain.proto", package="plain", syntax="proto2")
    messages = {row["scope"]: None for row in rows if row["kind"] == "field"}
    for name in messages:
        messages[name] = file.message_type.add(name=name)
    enums: dict[str, Any] = {}
    for row in rows:
        if row["kind"] == "enum":
            _enum(file, messages, enums, row["scope"]).value.add(name=row["name"], number=int(row["number"]))
    for row in rows:
        if row["kind"] == "field":
            _field(messages[row["scope"]].field.add(), row, enums)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return pool


def _enum(file: Any, messages: dict[str, Any], enums: dict[str, Any], scope: str) -> Any:
    if scope not in enums:
        outer, _, name = scope.rpartition(".")
        enums[scope] = (messages[outer] if outer else file).enum_type.add(name=name)
    return enums[scope]


def _field(field: Any, row: dict[str, str], enums: dict[str, Any]) -> None:
    field.name, field.number = row["name"], int(row["number"])
    field.label = Proto.Label.Value(f"LABEL_{row['label'].upper()}")
    if row["type"] in ("int32", "int64", "uint32", "float", "double", "bool", "string", "bytes"):
        field.type = Proto.Type.Value(f"TYPE_{row['type'].upper()}")
    else:
        field.type = Proto.TYPE_ENUM if row["type"] in enums else Proto.TYPE_MESSAGE
        field.type_name = f".plain.{row['type']}"
    if row["default"]:
        field.default_value = row["default"].strip("'") if row["type"] != "bool" else row["default"].lower()
    field.options.packed = bool(row["packed"])
